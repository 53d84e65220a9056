"""How what crosses a cut moves with the private input at a few samples: what local inversion is computed from.

Derivatives are taken in forward mode, many directions of one sample as one batch, so any edge half that runs on a batch
has them. Where an operator has no forward derivative, central differences stand in.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.autograd import forward_ad

from ..graph import Cut, to_samples
from ..graph.batch_size import out_of_memory
from ..profilers.flops import FlopCount
from ..records import CollabplanError, Crossing
from ..targets.data import Data, InputScaling
from .activations import EdgeActivations
from .fisher import require_derivatives
from .input_directions import InputDirections, joint

POINTS = 4
"""Samples that derivatives are taken at."""

HELD_BYTES = 128_000_000
"""The most bytes of derivatives that are held: wider crossings are followed along fewer directions."""

LEAST_DIRECTIONS = 32

MOST_FLOPS = 2e11
"""The most operations of forward passes that directions may cost at one cut: large networks are followed along fewer.
Derivatives cost between two and three times as much. The limit is no time: figures must not depend on the machine."""

LEAST_COSTLY = 16
"""Directions that are followed whatever they cost."""

STEP = 1e-2
"""Of central differences: how far the whole input moves, as the root of the sum of squared pixels."""


@dataclass(frozen=True, eq=False)
class EdgeJacobian:
    """Derivatives of the private crossings along directions of the private inputs.

    Attributes:
        points: per sample and crossing, what crosses, `[1, *sample_shape]`.
        slopes: per sample and crossing, `[r, *sample_shape]`, in the tensor's units per pixel; the directions of all
            inputs, one input after the other.
        directions: of each input, as many as were followed.
    """

    points: tuple[tuple[Tensor, ...], ...]
    slopes: tuple[tuple[Tensor, ...], ...]
    directions: tuple[InputDirections, ...]

    @property
    def nbytes(self) -> int:
        """Bytes of what crosses and of its derivatives."""
        return sum(each.nbytes for one in (*self.points, *self.slopes) for each in one)

    @classmethod
    def of(
        cls,
        activations: EdgeActivations,
        cut: Cut,
        data: Data,
        scaling: InputScaling,
        directions: Sequence[InputDirections],
        *,
        points: int = POINTS,
        dead: Mapping[str, tuple[str, ...]] | None = None,
    ) -> EdgeJacobian:
        """At `points` samples of `data`, evenly spaced.

        Args:
            activations: runs the edge half.
            cut: of the traced graph.
            data: N samples.
            scaling: between pixels in [0, 1] and what the model reads.
            directions: of the private inputs, as `input_directions` gives them.
            points: how many samples.
            dead: as of `require_derivatives`.

        Raises:
            CollabplanError: a private crossing of integers, one without samples, or one that moves in a way that its
                derivatives do not tell.
        """
        crossing = [(index, crossed) for index, crossed in enumerate(cut.crossing) if not crossed.public]
        require_derivatives(activations, cut, [crossed for _, crossed in crossing], data, "local inversion", dead)
        points = min(points, len(data))
        width = sum(crossed.sample_elements for _, crossed in crossing)
        held = max(HELD_BYTES // (4 * points * max(width, 1)), LEAST_DIRECTIONS)
        most = min(held, max(int(MOST_FLOPS / (points * max(_flops(activations, cut, data), 1.0))), LEAST_COSTLY))
        kept = tuple(each.limited(max(most * len(each.basis) // joint(directions), 2)) for each in directions)
        samples = torch.linspace(0, len(data) - 1, points).long().tolist()
        found = [_at(activations, cut, crossing, data.take([sample]), scaling, kept) for sample in samples]
        if not all(bool(torch.isfinite(slope).all()) for _, slopes in found for slope in slopes):
            raise CollabplanError("derivatives of what crosses hold NaN or infinity")
        return cls(tuple(rows for rows, _ in found), tuple(slopes for _, slopes in found), kept)


def _flops(activations: EdgeActivations, cut: Cut, data: Data) -> float:
    """Operations of the edge half for one sample, as far as they are known."""
    with torch.no_grad(), FlopCount() as count:
        activations.halves(cut).edge.graph_module(*activations.arguments(data.take([0])))  # type: ignore[operator]
    return float(count.counted) / activations.rows_run(1)


def _at(
    activations: EdgeActivations,
    cut: Cut,
    crossing: Sequence[tuple[int, Crossing]],
    one: Data,
    scaling: InputScaling,
    directions: Sequence[InputDirections],
) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...]]:
    """What crosses for one sample, and its derivatives along all directions."""

    def along(some: slice) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...]]:
        count = some.stop - some.start
        batch = one.take([0] * count)
        return _moved(activations, cut, crossing, batch, _ways(batch, scaling, directions, some.start, count))

    parts = list(activations.batch.over(joint(directions), along))
    rows = tuple(value[:1] for value in parts[0][0])
    return rows, tuple(torch.cat(each) for each in zip(*(slopes for _, slopes in parts), strict=True))


def _ways(
    batch: Data, scaling: InputScaling, directions: Sequence[InputDirections], start: int, count: int
) -> dict[int, Tensor]:
    """By the input's position, `[count, ...]`: directions `start` and on, in the units that the model reads."""
    found, first = {}, 0
    for each in directions:
        inputs = batch.inputs[each.position]
        way = torch.zeros(count, inputs[0].numel())
        low, high = max(start - first, 0), min(start + count - first, len(each.basis))
        if low < high:
            way[low + first - start : high + first - start] = each.basis[low:high]
        found[each.position] = (way.reshape(inputs.shape) * scaling.spans(inputs)).to(inputs.dtype)
        first += len(each.basis)
    return found


def _moved(
    activations: EdgeActivations,
    cut: Cut,
    crossing: Sequence[tuple[int, Crossing]],
    batch: Data,
    ways: dict[int, Tensor],
) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...]]:
    """Values and derivatives of the private crossings, `[n, *sample_shape]` each."""
    program = activations.halves(cut).edge.graph_module

    def run(inputs: Sequence[Tensor]) -> list[Tensor]:
        crossed = program(*activations.arguments(Data(tuple(inputs))))  # type: ignore[operator]
        return [_rows(each, crossed[index], len(batch)) for index, each in crossing]

    def shifted(step: float) -> list[Tensor]:
        return run([x + step * ways[at] if at in ways else x for at, x in enumerate(batch.inputs)])

    with torch.no_grad():
        try:
            with forward_ad.dual_level():
                duals = [
                    forward_ad.make_dual(x, ways[at]) if at in ways else x  # type: ignore[no-untyped-call]
                    for at, x in enumerate(batch.inputs)
                ]
                pairs = [forward_ad.unpack_dual(row) for row in run(duals)]  # type: ignore[no-untyped-call]
                values = tuple(value.float().cpu() for value, _ in pairs)
                slopes = tuple(
                    torch.zeros_like(value, dtype=torch.float32, device="cpu") if slope is None else slope.float().cpu()
                    for value, slope in pairs
                )
        except RuntimeError as error:  # an operator has no forward derivative
            if out_of_memory(error):
                raise
            values = tuple(row.float().cpu() for row in run(batch.inputs))
            ends = zip(shifted(STEP), shifted(-STEP), strict=True)
            slopes = tuple((up.float() - down.float()).cpu() / (2 * STEP) for up, down in ends)
    return values, slopes


def _rows(crossed: Crossing, tensor: Tensor, count: int) -> Tensor:
    if crossed.layout is None:
        raise CollabplanError(f"{crossed.name} cannot be divided into samples; choose another cut")
    return to_samples(tensor, crossed.layout)[:count]
