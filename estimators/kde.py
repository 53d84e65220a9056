"""The KDE pair: mutual information of samples seen through a Gaussian channel, from pairwise distances.

Kolchinsky & Tracey, "Estimating mixture entropy with pairwise distances" (Entropy 2017), eq. 10 with the
Kullback-Leibler and the Bhattacharyya distance. For T = h(x) + N(0, s^2 I) and X uniform on the N samples:

    high (KL) = -mean_i ln mean_j exp(-D_ij / 2 s^2)        low (BD) = -mean_i ln mean_j exp(-D_ij / 8 s^2)

What they do not mean: X is uniform on the samples, not the true distribution; neither can exceed ln N, and
near it they say only "saturated". A quantizer adds no noise: at its floor, s^2 = step^2 / 12, the pair is a
*surrogate* for the information of a dithered wire, no bound on anything. Equal information permits any
reconstruction error, so read it beside the leakage index.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from ..records import CollabplanError
from .defenses import Defense
from .wire import WireRows, squared_distances

QUANTIZER_NOISE = 1 / 12
"""Variance of a uniform error of one wire step, in squared steps."""

CLOSED_FORM_FEATURES = 256
"""With fewer dropped elements their number scatters too much for D -> (1 - p) D; masks are drawn instead."""

MAX_PRODUCT = 4e11
"""N^2 x features beyond which samples are left out: such cuts are saturated anyway, and ln N is reported."""


@dataclass(frozen=True, slots=True)
class KdeInformation:
    """The pair in nats, and the ceiling ln N. `saturated` means that they rank nothing."""

    low_nats: float
    high_nats: float
    saturation_nats: float

    @property
    def saturated(self) -> bool:
        """True where the high end is within 1 % of ln N."""
        return self.high_nats >= 0.99 * self.saturation_nats


def kde_information(distances: Tensor, noise_variance: float) -> KdeInformation:
    """The KDE pair of squared distances `[N, N]` at noise s^2 = `noise_variance` per feature.

    Raises:
        CollabplanError: fewer than two samples, a matrix that is not square, or no positive noise.
    """
    count = distances.shape[0]
    if distances.ndim != 2 or distances.shape[1] != count or count < 2:
        raise CollabplanError(
            f"squared distances [N, N] of at least two samples are needed, got {tuple(distances.shape)}"
        )
    if not noise_variance > 0:
        raise CollabplanError(
            f"mutual information is finite only above a noise floor: the variance must be above 0, got {noise_variance}"
        )
    ceiling = math.log(count)
    wide = distances.double()
    pair = [
        ceiling - float(torch.logsumexp(wide / (-divisor * noise_variance), dim=1).mean()) for divisor in (8.0, 2.0)
    ]
    # Rounding may step over either end by 1e-15.
    low, high = (min(max(value, 0.0), ceiling) for value in pair)
    return KdeInformation(low, high, ceiling)


def wire_information(clean: WireRows, defense: Defense, *, generator: torch.Generator, draws: int) -> KdeInformation:
    """The KDE surrogate at the quantizer's floor of released rows, masks taken as visible to the adversary.

    With the mask visible, I(X; T) <= E_M[I(X; T | M)]: conservative, since ReLU's zeros hide part of it.
    Element dropout at the cut multiplies every expected distance by (1 - rate), in closed form; the function
    is concave in the distances, so this is never below the average over masks. Channels are dropped
    explicitly in `draws` masks.

    Args:
        clean: `[N, ...]` quantized, not dropped out (zero is exact, so quantizing and dropping commute).
        defense: over private crossings with rows (`Defense.private`).
    """
    clean = _affordable(clean)
    dropped = [defense.drops(crossing) for crossing in defense.crossing]
    elements = sum(part.shape[1] for part, drop in zip(clean.parts, dropped, strict=True) if drop)
    if not any(dropped) or (defense.spec.dropout == "element" and elements >= CLOSED_FORM_FEATURES):
        total = torch.zeros(len(clean), len(clean), dtype=torch.float64)
        for distances, drop in zip(squared_distances(clean), dropped, strict=True):
            total += distances * (1 - defense.rate if drop else 1.0)
        return kde_information(total, QUANTIZER_NOISE)
    found = [_under_one_mask(clean, defense, dropped, generator) for _ in range(draws)]
    return KdeInformation(
        sum(item.low_nats for item in found) / draws,
        sum(item.high_nats for item in found) / draws,
        found[0].saturation_nats,
    )


def _under_one_mask(
    clean: WireRows, defense: Defense, dropped: list[bool], generator: torch.Generator
) -> KdeInformation:
    """The pair given one mask that all samples share, as I(X; T | M = m) asks."""
    kept = []
    for crossing, part, drop in zip(defense.crossing, clean.parts, dropped, strict=True):
        if drop:
            mask = defense.mask(crossing, 1, generator).expand(1, *crossing.sample_shape).reshape(-1)
            kept.append(part[:, mask.to(part.device)])
        else:
            kept.append(part)
    total = torch.zeros(len(clean), len(clean), dtype=torch.float64)
    for distances in squared_distances(WireRows(tuple(kept), clean.zeros, clean.units)):
        total += distances
    return kde_information(total, QUANTIZER_NOISE)


def _affordable(rows: WireRows) -> WireRows:
    """The first samples, as many as `MAX_PRODUCT` allows; the caller passes them in random order."""
    count = max(200, int((MAX_PRODUCT / max(rows.features, 1)) ** 0.5))
    return rows if count >= len(rows) else rows.take(torch.arange(count))
