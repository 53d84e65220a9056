"""Rows as they stand on the wire, several tensors as one long feature vector, and their Gram matrices.

Features are counted in units of the wire step, so that tensors of different range share one noise floor:
a quantized value is a small integer. Everything goes through N x N Gram matrices, summed over chunks of
features: the feature dimension costs time, never memory.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ..records import hash_rows
from .defenses import Defense

CHUNK = 4096
"""Features per matrix product: large enough for BLAS, small enough to stay in cache."""


@dataclass(frozen=True, eq=False)
class WireRows:
    """N released samples.

    Attributes:
        parts: one `[N, T_i]` per private crossing: codes, or floats where nothing is quantized.
        zeros: the code that stands for zero, per part.
        units: what one unit of the part's numbers is divided by to count in wire steps, per part.
    """

    parts: tuple[Tensor, ...]
    zeros: tuple[int, ...]
    units: tuple[float, ...]

    def __len__(self) -> int:
        return self.parts[0].shape[0] if self.parts else 0

    @property
    def features(self) -> int:
        """Numbers per sample, over all parts."""
        return sum(part.shape[1] for part in self.parts)

    def chunks(self, size: int = CHUNK, dtype: torch.dtype = torch.float32) -> Iterator[Tensor]:
        """`[N, <= size]` slices of the features in wire steps, in order."""
        for part, zero, unit in zip(self.parts, self.zeros, self.units, strict=True):
            for start in range(0, part.shape[1], size):
                values = part[:, start : start + size].to(dtype)
                if zero:
                    values = values - zero
                yield values if unit == 1.0 else values / unit

    def take(self, indices: Tensor) -> WireRows:
        """The samples at `indices` `[M]`."""
        return WireRows(tuple(part[indices] for part in self.parts), self.zeros, self.units)


def wire_rows(defense: Defense, released: Sequence[Tensor], like: WireRows | None = None) -> WireRows:
    """The private crossings of `released` (rows, from `defense.private.release`) in wire steps, or in those of `like`.

    Without a quantizer the step is the dtype's spacing at the tensor's greatest magnitude; an integer
    tensor's step is 1.
    """
    parts, zeros, units = [], [], []
    for crossing, quantizer, rows in zip(defense.crossing, defense.quantizers, released, strict=True):
        flat = rows.reshape(rows.shape[0], -1)
        unit = 1.0
        if quantizer is None and crossing.is_floating:
            unit = torch.finfo(getattr(torch, crossing.dtype)).eps * float(flat.abs().max()) or 1.0
        parts.append(flat)
        zeros.append(0 if quantizer is None else quantizer.zero_point)
        units.append(unit)
    return WireRows(tuple(parts), tuple(zeros), tuple(units) if like is None else like.units)


@dataclass(frozen=True, eq=False)
class Affine:
    """(features - centre) * weight: one `[chunk]` tensor each per chunk of `WireRows.chunks()`."""

    centre: Sequence[Tensor]
    weight: Sequence[Tensor]


def gram(left: WireRows, left_map: Affine, right: WireRows, right_map: Affine) -> Tensor:
    """`[N, M]` float64: inner products of mapped features, chunk by chunk in float32.

    Centring before the product keeps float32 from cancelling.
    """
    total = torch.zeros(len(left), len(right), dtype=torch.float64)
    lefts = zip(left.chunks(), left_map.centre, left_map.weight, strict=True)
    if left is right and left_map is right_map:
        for values, centre, weight in lefts:
            mapped = (values - centre) * weight
            total += mapped @ mapped.T
        return total
    rights = zip(right.chunks(), right_map.centre, right_map.weight, strict=True)
    for (a, a_centre, a_weight), (b, b_centre, b_weight) in zip(lefts, rights, strict=True):
        total += ((a - a_centre) * a_weight) @ ((b - b_centre) * b_weight).T
    return total


def moments(rows: WireRows) -> tuple[list[Tensor], list[Tensor], list[Tensor]]:
    """Per chunk of `rows.chunks()`: mean, variance and mean square of each feature, float32 `[chunk]`.

    The variance of a constant feature is exactly 0.
    """
    means, variances, squares = [], [], []
    for chunk in rows.chunks():
        low, high = chunk.aminmax(dim=0)
        varies = low < high
        means.append(torch.where(varies, chunk.mean(dim=0), low))
        variances.append(torch.where(varies, chunk.var(dim=0, unbiased=False), torch.zeros_like(low)))
        squares.append(chunk.square().mean(dim=0))
    return means, variances, squares


def squared_distances(rows: WireRows) -> list[Tensor]:
    """`[N, N]` float64 per part: squared distances in wire steps; equal rows have exactly 0.

    Codes of up to 8 bits are multiplied in float32 chunks so short that every sum is an exact integer;
    wider ones in float64.
    """
    return [
        _part_distances(WireRows((p,), (z,), (u,))) for p, z, u in zip(rows.parts, rows.zeros, rows.units, strict=True)
    ]


def _part_distances(rows: WireRows) -> Tensor:
    part = rows.parts[0]
    exact = part.dtype == torch.uint8
    size, dtype = (256, torch.float32) if exact else (CHUNK, torch.float64)
    products = torch.zeros(len(rows), len(rows), dtype=torch.float64)
    for chunk in rows.chunks(size, dtype):
        if not exact:
            chunk = chunk - chunk.mean(dim=0)
        products += chunk @ chunk.T
    norms = products.diagonal().clone()
    distances = products.mul_(-2).add_(norms[:, None]).add_(norms[None, :]).clamp_(min=0)
    if part.is_floating_point():
        # Rounding leaves equal rows a little apart, and at so small a step that would tell them apart.
        order = {key: index for index, key in enumerate(sorted(set(hash_rows(part))))}
        ids = torch.tensor([order[key] for key in hash_rows(part)])
        distances[ids[:, None] == ids[None, :]] = 0
    return distances.fill_diagonal_(0)
