"""Rows as they stand on the wire, several tensors as one long feature vector; their distances and Gram matrices.

Everything is counted in units of the noise floor's standard deviation, so that tensors of different range share one
floor of 1. Everything goes through N x N matrices, summed over chunks of features: the feature dimension costs
time, never memory.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ..defenses.pipeline import Defense
from ..defenses.quantizer import Quantizer
from ..records import hash_rows
from ..records.memory import UNBOUNDED, MemoryBudget

CHUNK = 4096
"""Features per matrix product: large enough for BLAS, small enough to stay in cache."""

BLOCK = 500
"""Samples per block of a Gram matrix; only its upper half is computed."""

EXACT_FEATURES = 512
"""So few are multiplied in float64, at no cost that anybody would notice."""

ROUNDING = 1e-4
"""Relative to the greatest squared norm: squared distances below may be rounding alone."""

ALWAYS = 2.0
"""Threshold above every rate: never dropped."""


@dataclass(frozen=True, eq=False)
class WireRows:
    """N samples before their masks, and before noise where noise is added.

    Attributes:
        parts: one `[T_i, N]` per private crossing, features first so that single ones are quickly picked: the
            quantizer's codes where rounding to the nearest is all that happens to them, else what the edge half
            computes.
        zeros: the number that stands for zero, per part.
        floors: standard deviation of the noise floor, in the part's own numbers.
        shapes: the sample's shape, per part.
    """

    parts: tuple[Tensor, ...]
    zeros: tuple[int, ...]
    floors: tuple[float, ...]
    shapes: tuple[tuple[int, ...], ...]

    def __len__(self) -> int:
        return self.parts[0].shape[1] if self.parts else 0

    @property
    def features(self) -> int:
        """Numbers per sample, over all parts."""
        return sum(part.shape[0] for part in self.parts)

    def take(self, indices: Tensor) -> WireRows:
        """The samples at `indices` `[M]`."""
        return WireRows(tuple(part[:, indices] for part in self.parts), self.zeros, self.floors, self.shapes)

    def features_of(self, part: int, indices: Tensor | slice, buffer: Tensor | None = None) -> Tensor:
        """`[k, N]` float32: some features of one part in units of its floor; in `buffer` `[>= k, N]` if given."""
        found = self.parts[part][indices]
        values = found.to(torch.float32, copy=True) if buffer is None else buffer[: len(found)].copy_(found)
        if self.zeros[part]:
            values -= self.zeros[part]
        return values.mul_(1 / self.floors[part])


def clean_rows(
    defense: Defense, rows: Sequence[Tensor], order: Tensor | None = None, memory: MemoryBudget = UNBOUNDED
) -> WireRows:
    """What a defense makes of rows, but for masks and noise.

    Args:
        defense: a `Defense.private`, calibrated.
        rows: `[N, *sample_shape]` per crossing.
        order: the samples that are wanted, `[M]`; None: all as they are.
        memory: where the result lies.
    """
    parts, zeros, floors = [], [], []
    random = defense.record.noise is not None or defense.record.rounds_randomly
    for quantizer, values, floor in zip(defense.quantizers, rows, defense.floor.stds, strict=True):
        if quantizer is None or random:
            parts.append(_features_first(values, order, None, memory))
            zeros.append(0)
            floors.append(floor)
        else:
            parts.append(_features_first(values, order, quantizer, memory))
            zeros.append(quantizer.zero_point)
            floors.append(floor / quantizer.step)
    shapes = tuple(tuple(values.shape[1:]) for values in rows)
    return WireRows(tuple(parts), tuple(zeros), tuple(floors), shapes)


def _features_first(values: Tensor, order: Tensor | None, quantizer: Quantizer | None, memory: MemoryBudget) -> Tensor:
    """`[T, M]` of rows `[N, *sample_shape]`: their numbers, or their codes; chunk after chunk, which holds little."""
    flat = values.reshape(values.shape[0], -1)
    made: Tensor | None = None
    for start in range(0, max(flat.shape[1], 1), CHUNK):
        chunk = flat[:, start : start + CHUNK]
        chunk = chunk if order is None else chunk[order]
        chunk = chunk if quantizer is None else quantizer.quantize(chunk)
        if made is None:
            made = memory.empty((flat.shape[1], len(chunk)), chunk.dtype)
        made[start : start + CHUNK] = chunk.T
    assert made is not None
    return made


def squared_distances(rows: WireRows) -> list[Tensor]:
    """`[N, N]` float64 per part: squared distances in units of the floor; equal rows have exactly 0."""
    return [_part_distances(rows, part) for part in range(len(rows.parts))]


def _part_distances(rows: WireRows, part: int) -> Tensor:
    values = rows.parts[part]
    dtype = torch.float64 if values.shape[0] <= EXACT_FEATURES else torch.float32
    products = torch.zeros(len(rows), len(rows), dtype=torch.float64)
    buffer = torch.empty(min(CHUNK, len(values)), len(rows), dtype=dtype)
    for chunk in torch.split(values, CHUNK):
        centred = buffer[: len(chunk)].copy_(chunk)
        centred -= centred.mean(dim=1, keepdim=True)  # float32 cancels without this
        _add_gram(products, centred)
    _mirror(products)
    norms = products.diagonal().clone()
    distances = products.mul_(-2).add_(norms[:, None]).add_(norms[None, :]).clamp_(min=0).div_(rows.floors[part] ** 2)
    # Rounding leaves equal rows a little apart, and at so small a floor that would tell them apart.
    nearest = float(distances.fill_diagonal_(math.inf).min())
    if nearest > ROUNDING * float(norms.max()) / rows.floors[part] ** 2:
        return distances.fill_diagonal_(0)
    hashes = [each for block in torch.split(values, BLOCK, dim=1) for each in hash_rows(block.T)]
    numbers = {key: number for number, key in enumerate(sorted(set(hashes)))}
    if len(numbers) < len(rows):
        groups = torch.tensor([numbers[key] for key in hashes])
        distances[groups[:, None] == groups[None, :]] = 0
    return distances.fill_diagonal_(0)


def _add_gram(upper: Tensor, chunk: Tensor) -> None:
    """Add the inner products `[N, N]` of the columns of `chunk` `[k, N]`, only in blocks on or above the diagonal."""
    for start in range(0, chunk.shape[1], BLOCK):
        stop = start + BLOCK
        upper[start:stop, start:] += chunk[:, start:stop].T @ chunk[:, start:]


def _mirror(upper: Tensor) -> Tensor:
    """The same matrix with its lower triangle filled in from the upper one."""
    for start in range(0, upper.shape[0], BLOCK):
        stop = start + BLOCK
        upper[stop:, start:stop] = upper[start:stop, stop:].T
    return upper


@dataclass(frozen=True, eq=False)
class Weights:
    """(features - mean) * weight, one `[T_i]` float32 each per part, in units of the floor."""

    mean: tuple[Tensor, ...]
    weight: tuple[Tensor, ...]

    @property
    def constant(self) -> bool:
        """True where no feature varies."""
        return not any(bool(weight.any()) for weight in self.weight)


def even_weights(rows: WireRows, evenness: float, noise_variance: float = 0.0) -> Weights:
    """Centre on the mean, divide by sqrt(variance + evenness * mean variance + noise variance); constants get 0.

    The noise's variance is in units of the floor's: where it outweighs the signal, all features are divided alike.
    """
    means, variances = [], []
    for part, values in enumerate(rows.parts):
        found = []
        buffer = torch.empty(min(CHUNK, len(values)), len(rows))
        for start in range(0, values.shape[0], CHUNK):
            chunk = rows.features_of(part, slice(start, start + CHUNK), buffer)
            low, high = chunk.aminmax(dim=1)
            variance, mean = torch.var_mean(chunk, dim=1, unbiased=False)
            found.append((torch.where(low < high, mean, low), torch.where(low < high, variance, 0.0)))
        means.append(torch.cat([mean for mean, _ in found]) if found else torch.zeros(0))
        variances.append(torch.cat([variance for _, variance in found]) if found else torch.zeros(0))
    varying = sum(int((variance > 0).sum()) for variance in variances)
    typical = sum(float(variance.double().sum()) for variance in variances) / max(varying, 1)
    weights = tuple(
        torch.where(variance > 0, (variance + evenness * typical + noise_variance).clamp(min=1e-30).rsqrt(), 0.0)
        for variance in variances
    )
    return Weights(tuple(means), weights)


class NestedMasks:
    """One mask per dropout rate, each within the one of every lower rate, and the Gram matrices under them.

    All samples share a mask: what an attacker faces who knows which elements were dropped. Nested, the
    surviving features of all rates are summed in one pass.
    """

    def __init__(
        self, rows: WireRows, defense: Defense, weights: Weights, generator: torch.Generator, rates: Sequence[float]
    ) -> None:
        self.rows, self.weights, self.rates = rows, weights, sorted(set(rates))
        by_channel = defense.dropout is not None and defense.dropout.by_channel
        self.thresholds = [
            drawn_thresholds(by_channel, shape, generator) if drops else torch.full((math.prod(shape),), ALWAYS)
            for drops, shape in zip(dropped(defense), rows.shapes, strict=True)
        ]
        self._kept: dict[float, Tensor] = {}

    def gram(self, rate: float) -> Tensor:
        """`[N, N]` float32: inner products of the weighted features that survive at `rate`."""
        if rate not in self._kept:
            wanted = [*self.rates, rate] if rate not in self.rates else self.rates
            total = torch.zeros(len(self.rows), len(self.rows))
            above = math.inf
            for lowest in sorted(set(wanted), reverse=True):
                for _, chunk in self.pairs(self.rows, lowest, above):
                    _add_gram(total, chunk)
                self._kept[lowest], above = _mirror(total.clone()), lowest
        return self._kept[rate]

    def survivors(self, rate: float, memory: MemoryBudget = UNBOUNDED) -> WireRows:
        """The rows with only the features that survive at `rate`, in `memory`."""
        kept = tuple(
            _picked(part, (threshold >= rate).nonzero()[:, 0], memory)
            for part, threshold in zip(self.rows.parts, self.thresholds, strict=True)
        )
        return WireRows(kept, self.rows.zeros, self.rows.floors, tuple((part.shape[0],) for part in kept))

    def cross(self, tested: WireRows, rate: float) -> Tensor:
        """`[M, N]` float32: inner products of other rows with these, over the features that survive at `rate`."""
        total = torch.zeros(len(tested), len(self.rows))
        for left, right in self.pairs(tested, rate, math.inf):
            total.addmm_(left.T, right)
        return total

    def pairs(self, tested: WireRows, lowest: float, above: float) -> Iterator[tuple[Tensor, Tensor]]:
        """Chunk after chunk of weighted features whose threshold is in [lowest, above): of `tested` and of these rows.

        Each is to be used before the next is asked for, which takes its place.
        """
        for part, threshold in enumerate(self.thresholds):
            chosen = ((threshold >= lowest) & (threshold < above) & (self.weights.weight[part] > 0)).nonzero()[:, 0]
            buffer = torch.empty(min(CHUNK, len(chosen)), len(self.rows))
            for indices in torch.split(chosen, CHUNK):
                own = self._weighted(self.rows, part, indices, buffer)
                yield own if tested is self.rows else self._weighted(tested, part, indices), own

    def _weighted(self, rows: WireRows, part: int, indices: Tensor, buffer: Tensor | None = None) -> Tensor:
        mean, weight = self.weights.mean[part][indices], self.weights.weight[part][indices]
        return rows.features_of(part, indices, buffer).sub_(mean[:, None]).mul_(weight[:, None])


def _picked(part: Tensor, chosen: Tensor, memory: MemoryBudget) -> Tensor:
    """The rows of `part` `[T, N]` at `chosen` `[k]`."""
    made = memory.empty((len(chosen), part.shape[1]), part.dtype)
    for start in range(0, len(chosen), CHUNK):
        made[start : start + CHUNK] = part[chosen[start : start + CHUNK]]
    return made


def dropped(defense: Defense) -> list[bool]:
    """Per crossing, whether dropout acts on it at some rate."""
    return [crossing.is_defended for crossing in defense.crossing]


def drawn_thresholds(by_channel: bool, shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    """`[T_i]`: the rate up to which each feature survives; one draw for a whole channel under channel dropout."""
    if by_channel and shape:
        return torch.rand(shape[0], generator=generator).repeat_interleave(math.prod(shape[1:]))
    return torch.rand(math.prod(shape), generator=generator)
