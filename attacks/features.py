"""Releases as a learner reads them: standardised, with dropped numbers at the mean and marked.

A number that was not seen was dropped, or is 0. `zero_weights` says how probable the latter is, for attackers that fit
a likelihood.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from .adversary_view import AdversaryView
from .releases import ObservedReleases

LEAST_SPREAD = 0.05
"""Quieter channels are scaled as if their deviation were this share of the tensor's typical one."""

ZERO_IMAGES = 256


@dataclass(frozen=True, eq=False)
class Standard:
    """Mean and deviation per channel (the first dimension of a sample), or per number of a flat sample."""

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

    def __call__(self, released: ObservedReleases, device: torch.device) -> tuple[Tensor, ...]:
        """Standardised rows `[n, *sample_shape]` on `device`; what was not seen is 0, which is the mean.

        A first release that is kept apart comes behind all releases fused.
        """
        made = []
        for part in released.parts:
            for row, seen, mean, deviation in zip(part.rows, part.seen, self.means, self.deviations, strict=True):
                values = (row.to(device) - mean.to(device)) / deviation.to(device)
                made.append(values if seen is None else values * seen.to(device))
        return tuple(made)

    def flat(self, released: ObservedReleases) -> Tensor:
        """All crossings side by side, `[n, features]` on the CPU."""
        return torch.cat([rows.flatten(1) for rows in self(released, torch.device("cpu"))], dim=1)


def zero_weights(view: AdversaryView, clean: Sequence[Tensor], released: ObservedReleases) -> list[Tensor | None]:
    """The probability that a released number is what the edge computed: `[n, *sample_shape]` per crossing, None for 1.

    A number other than 0 surely is. A 0 was dropped with probability p; otherwise it is the edge's own 0, which occurs
    as often as in `clean` rows of auxiliary images. Under channel dropout, a channel with any other number was kept.

    Args:
        view: the attacker's.
        clean: undefended rows of auxiliary images.
        released: what the weights are for.
    """
    defense, clean = view.believed.tail, view.typical(clean)
    missed = defense.rate**view.releases
    found: list[Tensor | None] = []
    for crossing, rows, seen in zip(defense.crossing, clean, released.seen, strict=True):
        if seen is None or not defense.drops(crossing):
            found.append(None)
            continue
        zero = _reads_zero(view, crossing.node, rows)
        if defense.dropout is not None and defense.dropout.by_channel:
            within = list(range(2, seen.ndim))
            kept = seen.any(dim=within, keepdim=True) if within else seen
            own = (zero.all(dim=within, keepdim=True) if within else zero).float().mean(dim=0)
            weights = torch.where(kept, 1.0, _posterior(own, missed)).expand(seen.shape)
        else:
            weights = torch.where(seen, 1.0, _posterior(zero.float().mean(dim=0), missed))
        found.append(weights)
    return found


def kept_shares(view: AdversaryView) -> list[float]:
    """By what factor a release is smaller on average than what crosses, per private crossing, as the attacker believes.

    Below 1 where noise hides which numbers were dropped: those count as well.
    """
    defense = view.believed.tail
    return [
        1 - defense.rate if defense.drops(crossing) and defense.noises(crossing) else 1.0
        for crossing in defense.crossing
    ]


def _reads_zero(view: AdversaryView, node: str, rows: Tensor) -> Tensor:
    """Where clean `rows` would be released as 0 without any dropout."""
    defense = view.believed.tail
    for crossing, quantizer in zip(defense.crossing, defense.quantizers, strict=True):
        if crossing.node == node and quantizer is not None:
            return quantizer.quantize(rows) == quantizer.zero_point
    return rows == 0


def _posterior(own: Tensor, missed: float) -> Tensor:
    return (1 - missed) * own / (missed + (1 - missed) * own)
