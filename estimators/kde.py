"""The KDE pair: mutual information of samples seen through a Gaussian channel, from pairwise distances.

Kolchinsky & Tracey, "Estimating mixture entropy with pairwise distances" (Entropy 2017), eq. 10 with the
Kullback-Leibler and the Bhattacharyya distance. For T = h(x) + N(0, I) and X uniform on the N samples:

    upper (KL) = -mean_i ln mean_j exp(-D_ij / 2)        lower (BD) = -mean_i ln mean_j exp(-D_ij / 8)

What they do not mean: X is uniform on the samples, not the true distribution. Neither can exceed ln N, and close to it
they say only "saturated". The same information permits any reconstruction error, so read them beside the leakage index.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from ..records import CollabplanError
from .interface import Channel, Estimate

NEAR_CEILING = 0.99
"""Share of ln N above which the pair says only that all samples can be told apart."""


def require_samples(channel: Channel, least: int = 2) -> None:
    """Refuse a channel of fewer than `least` samples. Raises CollabplanError."""
    if len(channel) < least:
        raise CollabplanError(
            f"mutual information needs at least {least} samples, got {len(channel)}; give more data (--samples)"
        )


def bhattacharyya_nats(distances: Tensor) -> float:
    """The lower of the pair, for squared distances `[N, N]` in units of the noise's variance."""
    return _pairwise(distances, 8.0)


def kullback_leibler_nats(distances: Tensor) -> float:
    """The upper of the pair, for squared distances `[N, N]` in units of the noise's variance."""
    return _pairwise(distances, 2.0)


def _pairwise(distances: Tensor, divisor: float) -> float:
    ceiling = math.log(distances.shape[0])
    # exp(-80) is negligible beside the 1 of the diagonal, and smaller numbers are slow to compute.
    exponents = (distances.float() / -divisor).clamp_(min=-80)
    value = ceiling - float(torch.logsumexp(exponents, dim=1).double().mean())
    # float32 misses either end by 1e-7, and a constant must give exactly 0.
    if value < 1e-6:
        return 0.0
    return min(value, ceiling)


@dataclass(frozen=True, slots=True)
class Kde:
    """Both bounds; `value` is their middle."""

    revision: ClassVar[int] = 1
    name: str = "kde"

    def estimate(self, channel: Channel, generator: torch.Generator) -> Estimate:  # noqa: ARG002
        """The estimate; it draws nothing. Raises CollabplanError for fewer than two samples."""
        require_samples(channel)
        low, high = bhattacharyya_nats(channel.distances), kullback_leibler_nats(channel.distances)
        return Estimate(
            value=(low + high) / 2,
            lower=low,
            upper=high,
            meaning="bound" if channel.real_noise else "surrogate",
            saturated=high >= NEAR_CEILING * math.log(len(channel)),
            samples=len(channel),
            assumes="X uniform on these samples; Gaussian noise of the stated size",
        )
