"""Local inversion against posteriors that are known in closed form."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
import torch
from collabplan.defenses import CustomStage, Defense
from collabplan.estimators.input_directions import InputDirections
from collabplan.estimators.inversion import LocalInversion
from collabplan.estimators.jacobian import EdgeJacobian
from collabplan.records import CollabplanError, Crossing, Layout
from defense_records import defense_record
from torch import Tensor

WIDTH = 24
COUNT = 3000


def white() -> InputDirections:
    """Of white noise: every direction has the same variance."""
    pixels = torch.rand(COUNT, WIDTH, generator=torch.Generator().manual_seed(0))
    return InputDirections.of(pixels, 0, 256, torch.Generator().manual_seed(1))


def inverted(matrix: Tensor, spec: dict[str, object], directions: InputDirections | None = None) -> tuple[float, float]:
    """Value and high end for the release of the linear map `matrix` `[m, d]` under a defense."""
    found = directions or white()
    crossing = Crossing(name="t", node="t", dtype="float32", sample_shape=(len(matrix),), layout=Layout())
    rows = torch.rand(200, matrix.shape[1], generator=torch.Generator().manual_seed(2)) @ matrix.T
    defense = Defense(defense_record(**spec), (crossing,)).calibrate([rows])  # type: ignore[arg-type]
    slopes = found.basis @ matrix.T
    jacobian = EdgeJacobian(((rows[:1],), (rows[1:2],)), ((slopes,), (slopes,)), (found,))
    index = LocalInversion(jacobian, defense.private.transforms, (), 0).index(defense.tail.private)
    return index.value, index.high


def orthogonal(outputs: int) -> Tensor:
    torch.manual_seed(0)
    return torch.nn.init.orthogonal_(torch.empty(outputs, WIDTH))


@pytest.mark.parametrize("outputs", [3, 12, 24])
def test_a_projection_tells_its_share_of_white_noise(outputs: int) -> None:
    value, high = inverted(orthogonal(outputs), {})
    assert value == pytest.approx(outputs / WIDTH, abs=0.02)
    assert high >= value


def test_noise_is_weighed_against_the_prior() -> None:
    """Per number, the posterior share is variance / (variance + noise variance)."""
    value, _ = inverted(orthogonal(WIDTH), {"noise": "gaussian", "noise_std": 0.2, "bits": None})
    rows = torch.rand(200, WIDTH, generator=torch.Generator().manual_seed(2)) @ orthogonal(WIDTH).T
    std = 0.2 * float(rows.max() - rows.min())
    assert value == pytest.approx(1 / 12 / (1 / 12 + std**2), abs=0.02)


def test_the_high_end_is_that_of_ten_releases() -> None:
    """Ten releases divide the variance of the noise by ten; ten masks at a rate of 0.5 show every number."""
    _, high = inverted(orthogonal(WIDTH), {"noise": "gaussian", "noise_std": 0.2, "bits": None})
    rows = torch.rand(200, WIDTH, generator=torch.Generator().manual_seed(2)) @ orthogonal(WIDTH).T
    std = 0.2 * float(rows.max() - rows.min())
    assert high == pytest.approx(1 / 12 / (1 / 12 + std**2 / 10), abs=0.02)
    value, high = inverted(orthogonal(WIDTH), {"dropout": "element", "rate": 0.5})
    assert value < 0.65
    assert high > 0.97


def test_dropout_drops_rows_of_the_jacobian() -> None:
    """Half of as many numbers as pixels tell half; half of four times as many tell all."""
    square, tall = orthogonal(WIDTH), torch.randn(4 * WIDTH, WIDTH, generator=torch.Generator().manual_seed(3))
    half, all_of_it = (inverted(matrix, {"dropout": "element", "rate": 0.5})[0] for matrix in (square, tall))
    assert half == pytest.approx(0.5, abs=0.15)
    assert all_of_it > 0.97


def test_more_dropout_never_tells_more() -> None:
    matrix = torch.randn(2 * WIDTH, WIDTH, generator=torch.Generator().manual_seed(3))
    rates = (0.1, 0.3, 0.5, 0.7, 0.9)
    found = [inverted(matrix, {"dropout": "element", "rate": rate})[0] for rate in rates]
    assert found == sorted(found, reverse=True)
    assert found[-1] < 0.3


def test_a_constant_release_tells_nothing() -> None:
    assert inverted(torch.zeros(5, WIDTH) + 0.0, {})[1] == 0.0


def test_numbers_cannot_tell_more_than_as_many_dimensions() -> None:
    """Only 8 of 24 directions are followed, and all of them are found: the ceiling counts the rest."""
    pixels = torch.rand(COUNT, WIDTH, generator=torch.Generator().manual_seed(0))
    few = InputDirections.of(pixels, 0, 8, torch.Generator().manual_seed(1))
    value, _ = inverted(orthogonal(12), {}, few)
    assert value == pytest.approx(0.5, abs=0.05)


@dataclass(frozen=True)
class Doubled(CustomStage):
    name = "doubled"

    def apply(self, rows: Tensor, crossing: Crossing, source: object) -> Tensor:  # noqa: ARG002
        return 2 * rows


class Blind(Doubled):
    name = "blind"
    differentiable = False


def test_a_custom_stage_with_a_derivative_counts_and_another_is_refused() -> None:
    directions = white()
    rows, slopes = torch.rand(1, WIDTH), directions.basis @ orthogonal(WIDTH).T
    jacobian = EdgeJacobian(((rows,),), ((slopes,),), (directions,))
    crossing = Crossing(name="t", node="t", dtype="float32", sample_shape=(WIDTH,), layout=Layout())

    def through(stage: CustomStage) -> LocalInversion:
        from collabplan.defenses.transforms import Transforms

        return LocalInversion(jacobian, Transforms((stage,), (crossing,)), (), 0)

    defense = Defense(defense_record(), (crossing,)).calibrate([torch.rand(50, WIDTH)])
    assert through(Doubled()).index(defense.private).value > 0.99
    with pytest.raises(CollabplanError, match="stage blind has no derivative"):
        through(Blind())
