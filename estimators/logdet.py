"""The Gaussian log-det: the information of a Gaussian T with the same covariance. It does not saturate.

I = 1/2 ln det(I + Sigma / s^2). Among all h with covariance Sigma the Gaussian one carries most, so with the true Sigma
this is an upper bound. Sigma is estimated and shrunk towards a multiple of the identity (Ledoit & Wolf, "A
well-conditioned estimator for large-dimensional covariance matrices", 2004, as in scikit-learn's `LedoitWolf`), here
from the N x N Gram matrix, so the dimension costs nothing. With fewer samples than dimensions the estimate is still
biased, up or down: a *surrogate*.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from .interface import Channel, Estimate
from .kde import require_samples


def ledoit_wolf(gram: Tensor, features: int) -> tuple[float, float]:
    """Shrinkage in [0, 1], and the mean eigenvalue of the covariance.

    Args:
        gram: `[N, N]`, inner products of centred rows.
        features: numbers in a row.
    """
    count = gram.shape[0]
    norms = gram.diagonal()
    mean = float(norms.sum()) / count / features
    squared = float(gram.square().sum()) / count**2
    distance = squared / features - mean**2
    if distance <= 0:  # constant rows, or as spherical as a sample can be
        return 1.0, mean
    scatter = (float(norms.square().sum()) / count - squared) / (features * count)
    return min(max(scatter / distance, 0.0), 1.0), mean


def log_det_nats(channel: Channel, keep: float = 1.0) -> float:
    """1/2 ln det(I + keep * Sigma) with Sigma shrunk; `keep` attenuates as `Channel.attenuated`."""
    count = len(channel)
    shrinkage, mean = ledoit_wolf(channel.gram, channel.features)
    everywhere = 1 + keep * shrinkage * mean
    inner = channel.gram * (keep * (1 - shrinkage) / count)
    inner.diagonal().add_(everywhere)
    factor = torch.linalg.cholesky(inner)
    # Dimensions missing from the Gram matrix; with fewer dimensions than samples, those in excess.
    hidden = (channel.features - count) * math.log(everywhere)
    return float(factor.diagonal().log().sum()) + 0.5 * hidden


@dataclass(frozen=True, slots=True)
class LogDet:
    """The log-det with Ledoit-Wolf shrinkage."""

    revision: ClassVar[int] = 1
    name: str = "logdet"

    def estimate(self, channel: Channel, generator: torch.Generator) -> Estimate:  # noqa: ARG002
        """The estimate; it draws nothing. Raises CollabplanError for fewer than two samples."""
        require_samples(channel)
        return Estimate(
            value=log_det_nats(channel) if bool(channel.distances.any()) else 0.0,
            lower=None,
            upper=None,
            meaning="surrogate",
            saturated=False,
            samples=len(channel),
            assumes="h(X) Gaussian (otherwise it overstates); its covariance is estimated by shrinkage",
        )
