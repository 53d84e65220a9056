"""The upper end of what data shows is that of ten releases, whatever is random in them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import pytest
import torch
from collabplan.defenses import CustomStage, Defense, Randomness, register
from collabplan.estimators import Components, CutLeakage, EdgeActivations, Secrets
from collabplan.estimators.combined import REPEATS, combined_index
from collabplan.estimators.inversion import MANY, InversionIndex
from collabplan.estimators.ridge import TESTED, Kernels, RidgeIndex, ridge_index
from collabplan.records import Crossing, Interval, Leakage
from collabplan.targets import Data
from defense_records import defense_record
from known_maps import PIXELS, SCALING, SIDE, cut_behind, images, linear
from torch import Tensor, nn

SLACK = 0.02


def angles() -> tuple[Tensor, Tensor]:
    """One number in [0, 1], and the point of a circle that it crosses as: `[n, 1]` and `[n, 2]`."""
    inputs = torch.rand(400, 1, generator=torch.Generator().manual_seed(0))
    return inputs, torch.cat([torch.sin(6 * inputs), torch.cos(6 * inputs)], dim=1)


def shown(rows: Tensor, inputs: Tensor, cut_of, **spec: object) -> Leakage:
    """What data alone shows: no edge half is given."""
    crossing = Crossing(name="t", node="t", dtype="float32", sample_shape=tuple(rows.shape[1:]))
    defense = Defense(defense_record(**spec), (crossing,)).calibrate([rows])  # type: ignore[arg-type]
    leakage = CutLeakage([rows], Components.of(inputs), cut_of(defense), rates=(0.5, 0.9))
    return leakage.under(defense, generator=torch.Generator().manual_seed(1))


def nearest_angle(std: float) -> float:
    """The index of who averages ten releases of `angles` and takes the angle of their mean."""
    inputs, rows = angles()
    mean = rows + std / math.sqrt(MANY) * torch.randn(rows.shape, generator=torch.Generator().manual_seed(2))
    found = torch.remainder(torch.atan2(mean[:, :1], mean[:, 1:]), 2 * math.pi).div(6).clamp(0, 1)
    return 1 - float((found - inputs).square().mean() / inputs.var())


@pytest.mark.parametrize(
    "spec",
    [
        {"noise": "gaussian", "noise_std": 0.1},
        {"noise": "gaussian", "noise_std": 0.2, "bits": None},
        {"noise": "laplace", "noise_std": 0.2},
        {"noise": "gaussian", "noise_std": 0.1, "bits": 4},
        {"noise": "gaussian", "noise_std": 0.1, "dropout": "element", "rate": 0.5},
        {"noise": "gaussian", "noise_std": 0.1, "masks": "keyed"},
    ],
)
def test_the_high_end_under_noise_is_not_below_an_average_of_ten(cut_of, spec) -> None:
    inputs, rows = angles()
    found = shown(rows, inputs, cut_of, **spec)
    assert found.index.high >= nearest_angle(2 * spec["noise_std"]) - SLACK
    assert found.index.value < found.index.high - 0.1
    assert REPEATS in found.index_note.splitlines()


@pytest.mark.parametrize("masks", ["fresh", "keyed"])
def test_what_one_mask_drops_another_shows(cut_of, masks) -> None:
    inputs = torch.rand(300, 12, generator=torch.Generator().manual_seed(0))
    half = shown(inputs, inputs, cut_of, dropout="element", rate=0.5, masks=masks)
    assert half.index.value < 0.7
    assert half.index.high > 0.98
    most = shown(inputs, inputs, cut_of, dropout="channel", rate=0.9, masks=masks)
    assert most.index.high > 1 - 0.9**MANY - 0.1
    assert most.index.value < 0.3


def test_random_rounding_averages_out(cut_of) -> None:
    inputs = torch.rand(400, 3, generator=torch.Generator().manual_seed(0))
    found = shown(inputs, inputs, cut_of, bits=2, rounding="stochastic")
    step = 1 / 3
    assert found.index.high > 1 - step**2 / 6 / MANY / (1 / 12) - SLACK
    assert found.index.value < 0.9


@dataclass(frozen=True)
class Jittered(CustomStage):
    """Adds noise of its own."""

    name: ClassVar[str] = "jittered"
    revision: ClassVar[int] = 1
    random: ClassVar[bool] = True

    def apply(self, rows: Tensor, crossing: Crossing, source: Randomness) -> Tensor:
        return rows + 0.3 * source.normal(crossing.name, tuple(rows.shape))


def test_what_a_custom_stage_draws_averages_out() -> None:
    inputs = torch.rand(400, 1, SIDE, SIDE, generator=torch.Generator().manual_seed(0))
    traced, cut = cut_behind(linear(PIXELS), inputs[:2])
    activations, data = EdgeActivations(traced, cache_bytes=0), Data((inputs,))
    rows = activations.rows(cut, data)
    register(Jittered)
    record = defense_record()
    record = record.model_copy(update={"stages": (Jittered().record, *record.stages)})
    defense = Defense.for_cut(record, cut).calibrate(activations.to_graph(cut, rows))
    leakage = CutLeakage.behind(
        defense,
        rows,
        Secrets.of(data, traced, SCALING),
        cut,
        lambda more: activations.computed(cut, more),
        torch.Generator().manual_seed(1),
    )
    found = leakage.under(defense.tail, generator=torch.Generator().manual_seed(1))
    one, ten = (1 / 12 / (1 / 12 + 0.3**2 / count) for count in (1, MANY))
    assert found.index.value < one + SLACK
    assert found.index.high > ten - SLACK


def averaging(inputs: Tensor, rows: Tensor, std: float, known: int) -> float:
    """The index that Gaussian kernel ridge reaches, which learns from means of ten releases of the `known` first."""
    mean = rows + std / math.sqrt(MANY) * torch.randn(rows.shape, generator=torch.Generator().manual_seed(2))
    distances = torch.cdist(mean, mean[:known]).square()
    middle = inputs[:known].mean(dim=0)
    prior, best = (inputs[known:] - middle).square().sum(), 0.0
    for width in (0.5, 1.0, 2.0):
        kernel = torch.exp(-distances / (width * distances.mean()))
        for penalty in (0.1, 0.3, 1.0):
            weights = torch.linalg.solve(kernel[:known] + penalty * torch.eye(known), inputs[:known] - middle)
            best = max(best, 1 - float((middle + kernel[known:] @ weights - inputs[known:]).square().sum() / prior))
    return best


def test_many_samples_do_not_hide_what_kernels_read_of_noisy_pictures(cut_of) -> None:
    digits, known = images("digits").flatten(1), 1400
    torch.manual_seed(0)
    rows = nn.Linear(PIXELS, 32)(digits).detach()
    found = shown(rows[:known], digits[:known], cut_of, noise="gaussian", noise_std=0.3, bits=None)
    span = float(rows[:known].max() - rows[:known].min())
    reached = averaging(digits, rows, 0.3 * span, known)
    assert reached - SLACK <= found.index.high <= reached + 0.1


def test_without_randomness_one_release_is_all(cut_of) -> None:
    inputs, rows = angles()
    found = shown(rows, inputs, cut_of)
    assert REPEATS not in found.index_note
    crossing = Crossing(name="t", node="t", dtype="float32", sample_shape=(2,))
    noised = Defense(defense_record(noise="gaussian", noise_std=0.1), (crossing,)).calibrate([rows])
    one = CutLeakage([rows], Components.of(inputs), cut_of(noised), releases=1)
    told = one.under(noised, generator=torch.Generator().manual_seed(1))
    ten = shown(rows, inputs, cut_of, noise="gaussian", noise_std=0.1)
    assert told.index.value == pytest.approx(ten.index.value, abs=1e-5)
    assert told.index.high < ten.index.high - 0.1


@pytest.mark.parametrize("count", [300, 1700])  # of the latter, fewer are tested and a part chooses
def test_the_kernels_of_a_mean_are_those_of_ten_releases_averaged(count: int) -> None:
    """Linear and Gaussian: a shortcut against ten draws."""
    source = torch.Generator().manual_seed(0)
    inputs, width = torch.rand(count, 6, generator=source), 60
    rows = torch.tanh(3 * (inputs - 0.5) @ torch.randn(6, width, generator=source))
    rows -= rows.mean(dim=0)
    noisy = rows[:TESTED] + 0.8 * torch.randn(MANY, min(count, TESTED), width, generator=source)
    train = rows @ rows.T
    components = Components.of(inputs)
    quick = ridge_index([Kernels(train, noisy[0] @ rows.T).mean_of(MANY)], components).index
    slow = ridge_index([Kernels(train, noisy.mean(dim=0) @ rows.T, averaged=True)], components).index
    assert quick.value == pytest.approx(slow.value, abs=0.02)
    assert Kernels(train).mean_of(MANY).train is train


def ridge(value: float, high: float) -> RidgeIndex:
    return RidgeIndex(Interval(value=value, low=value, high=high), ((100, value),), 0.0, varies=True)


def test_only_the_high_end_widens_and_the_note_says_why() -> None:
    one, many = ridge(0.2, 0.3), ridge(0.6, 0.7)
    found = combined_index(one, InversionIndex(0.1, 0.4), 1000, lambda: 0.0, many)
    assert (found.index.low, found.index.value, found.index.high) == (0.2, 0.2, 0.7)
    assert (found.shown.value, found.shown.high) == (0.2, 0.7)
    assert found.by_samples == one.by_samples
    assert found.note == REPEATS
    without = combined_index(one, "no edge half", 1000, lambda: 0.25, many)
    assert without.index.high == pytest.approx(0.85)
    assert without.note.splitlines()[1:] == [REPEATS]
