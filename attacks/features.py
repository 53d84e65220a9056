"""ObservedReleases tensors as a learner reads them: standardised, what was dropped at the mean, and marked.

A number that was not seen is either dropped or truly 0; `zero_weights` says how probably the latter, for attackers
who fit a likelihood.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from .adversary_view import AdversaryView
from .audit_target import ObservedReleases

LEAST_SPREAD = 0.05
"""Of the tensor's typical standard deviation: quieter channels are not blown up further."""

ZERO_IMAGES = 256


@dataclass(frozen=True, eq=False)
class Standard:
    """Mean and deviation per channel (the first dimension of a sample; per number where there is only one)."""

    means: tuple[Tensor, ...]
    deviations: tuple[Tensor, ...]

    @classmethod
    def of(cls, rows: Sequence[Tensor]) -> Standard:
        """Of clean rows `[n, *sample_shape]` each."""
        means, deviations = [], []
        for row in rows:
            over = [0, *range(2, row.ndim)]
            variance, mean = torch.var_mean(row.float(), dim=over, unbiased=False)
            typical = variance.mean().sqrt()
            deviation = variance.sqrt().clamp(min=float(typical) * LEAST_SPREAD)
            shape = (-1, *[1] * (row.ndim - 2)) if row.ndim > 1 else ()
            means.append(mean.reshape(shape))
            deviations.append(torch.where(deviation > 0, deviation, torch.ones(())).reshape(shape))
        return cls(tuple(means), tuple(deviations))

    def to(self, device: torch.device) -> Standard:
        """The same on another device."""
        return Standard(tuple(m.to(device) for m in self.means), tuple(d.to(device) for d in self.deviations))

    def __call__(self, released: ObservedReleases, device: torch.device) -> tuple[Tensor, ...]:
        """Standardised rows on `device`; 0, which is the mean, stands where nothing was seen."""
        made = []
        for row, seen, mean, deviation in zip(released.rows, released.seen, self.means, self.deviations, strict=True):
            values = (row.to(device) - mean.to(device)) / deviation.to(device)
            made.append(values if seen is None else values * seen.to(device))
        return tuple(made)


def zero_weights(scene: AdversaryView, clean: Sequence[Tensor], released: ObservedReleases) -> list[Tensor | None]:
    """How probably each released number is what the edge computed: `[n, *sample_shape]` per crossing, None for 1.

    A number other than 0 surely is. A 0 was dropped with probability p, and otherwise is the edge's own 0 as often as
    in `clean` rows of own images. Under channel dropout a channel with any other number was not dropped.
    """
    defense, clean = scene.believed.tail, scene.typical(clean)
    missed = defense.rate**scene.releases
    found: list[Tensor | None] = []
    for crossing, rows, seen in zip(defense.crossing, clean, released.seen, strict=True):
        if seen is None or not defense.drops(crossing):
            found.append(None)
            continue
        zero = _reads_zero(scene, crossing.node, rows)
        if defense.dropout is not None and defense.dropout.by_channel:
            apart = list(range(2, seen.ndim))
            kept = seen.any(dim=apart, keepdim=True) if apart else seen
            own = (zero.all(dim=apart, keepdim=True) if apart else zero).float().mean(dim=0)
            weights = torch.where(kept, 1.0, _posterior(own, missed)).expand(seen.shape)
        else:
            weights = torch.where(seen, 1.0, _posterior(zero.float().mean(dim=0), missed))
        found.append(weights)
    return found


def _reads_zero(scene: AdversaryView, node: str, rows: Tensor) -> Tensor:
    """Where clean `rows` would be released as 0 without any dropout."""
    defense = scene.believed.tail
    for crossing, quantizer in zip(defense.crossing, defense.quantizers, strict=True):
        if crossing.node == node and quantizer is not None:
            return quantizer.quantize(rows) == quantizer.zero_point
    return rows == 0


def _posterior(own: Tensor, missed: float) -> Tensor:
    return (1 - missed) * own / (missed + (1 - missed) * own)
