"""The sandwich: two bounds on I(X; T) by sampling a channel that is known exactly, without training.

Poole et al., "On variational bounds of mutual information" (ICML 2019), with the true conditional as the critic:

    low = mean_i ln p(t_i | x_i) - ln (1 / N)       sum_j      p(t_i | x_j)       InfoNCE, eq. 12; at most ln N
    up  = mean_i ln p(t_i | x_i) - ln (1 / (N - 1)) sum_{j!=i} p(t_i | x_j)       leave-one-out, eq. 13

low <= I <= up in expectation over samples of the *true* X. For T = h(x) + z the log-ratios are
ln p(t_i | x_j) - ln p(t_i | x_i) = -(D_ij / 2 + z_i . (h_i - h_j)), and z_i . h_j is Gaussian with the Gram matrix as
its covariance. Pairwise distances therefore suffice, whatever the dimension. Each noise is used with both signs, which
removes most of the scatter.

The ends of the interval are low minus, and up plus, the 97.5 % half-width of a t interval over disjoint blocks of
samples. It is taken of each sample's influence on the bound, both as the one that was sent and as one of the others. It
does not cover another distribution of X.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from ..records import CollabplanError
from ..records.revisions import Part
from .interface import Channel, Estimate
from .kde import require_samples
from .t_interval import t_half_width

SANDWICH_BOUNDS = Part("sandwich-bounds")
"""Raise its revision whenever the same channel gets other bounds."""

BLOCKS = 20
DRAWS = 2
"""Noises per sample, each used with both signs."""

NEAR_CEILING_NATS = 2.0
WIDEST_NATS = 1.0
"""Saturated if low > ln N - NEAR_CEILING_NATS or up - low > WIDEST_NATS."""

HOPELESS_NATS = 0.01
"""This close to ln N further noises tell nothing."""

RESOLVING_SAMPLES = 1000
RESOLVED_NATS = 3.0
"""The information that `resolvable_noise` aims at: any useful N resolves it."""

ASSUMES = "independent samples of X; Gaussian noise of the stated size"


@dataclass(frozen=True, slots=True)
class Bounds:
    """Both bounds.

    Attributes:
        low: in nats.
        up: in nats.
        low_half: half-width of the 95 % interval of `low`.
        up_half: half-width of the 95 % interval of `up`.
        samples: that they come from.
    """

    low: float
    up: float
    low_half: float
    up_half: float
    samples: int

    @property
    def saturated(self) -> bool:
        """True if N samples cannot resolve the value: it ranks nothing."""
        return self.low > math.log(self.samples) - NEAR_CEILING_NATS or self.up - self.low > WIDEST_NATS

    @property
    def middle(self) -> float:
        """The point estimate: the middle, or the lower bound if the upper one has diverged."""
        return self.low if self.saturated else (self.low + self.up) / 2

    def as_estimate(self, *, real_noise: bool, assumes: str = ASSUMES) -> Estimate:
        """An estimate with the ends of the 95 % interval as `lower` and `upper`."""
        return Estimate(
            value=self.middle,
            lower=max(0.0, self.low - self.low_half),
            upper=self.up + self.up_half if math.isfinite(self.up) else None,
            meaning="bound" if real_noise else "surrogate",
            saturated=self.saturated,
            samples=self.samples,
            assumes=assumes,
        )


class SampledNoise:
    """Draws of the channel's noise, shared by every attenuation and noise level of one channel.

    With common random numbers, what is compared differs by the channel alone.

    Args:
        channel: N samples, at least two.
        generator: of the noise; on the CPU.
        draws: noises per sample.

    Raises:
        CollabplanError: fewer than two samples, or distances of no points in space.
    """

    def __init__(self, channel: Channel, generator: torch.Generator, draws: int = DRAWS) -> None:
        require_samples(channel)
        self.half = (channel.distances / 2).float()
        root = _root(channel.gram).float()
        self.shifts = []
        for _ in range(draws):
            products = torch.randn(root.shape, generator=generator) @ root.T
            self.shifts.append(products.diagonal()[:, None] - products)

    def bounds(self, keep: float = 1.0) -> Bounds:
        """The bounds of the channel whose squared distances are multiplied by `keep`."""
        return _bounds_at(self.half, self.shifts, keep)

    def resolvable_noise(self, nats: float = RESOLVED_NATS) -> float | None:
        """The factor on the noise's standard deviation that leaves `nats`; None if no noise does.

        Below 1, the noise floor already leaves less.
        """
        few = min(len(self.half), RESOLVING_SAMPLES)
        half, shift = self.half[:few, :few], self.shifts[0][:few, :few]
        widest = float(half.max())
        if widest == 0 or nats >= math.log(few) - 1:
            return None
        low, high = math.log(widest) / 2 - 14.0, math.log(widest) / 2 + 3.0
        if _bounds_at(half, [shift], math.exp(-2 * low)).low < nats:
            return None
        for _ in range(16):
            middle = (low + high) / 2
            bounds = _bounds_at(half, [shift], math.exp(-2 * middle))
            if (bounds.low + min(bounds.up, bounds.low + WIDEST_NATS)) / 2 > nats:
                low = middle
            else:
                high = middle
        return math.exp((low + high) / 2)


def _bounds_at(half: Tensor, shifts: list[Tensor], keep: float) -> Bounds:
    """The bounds for squared distances of 2 `half` `keep`, each noise with both signs."""
    found = []
    for shift in shifts:
        for sign in (1, -1):
            found.append(_influences(-(keep * half).add_(shift, alpha=sign * math.sqrt(keep))))
            if float(found[0][0].mean()) > math.log(len(half)) - HOPELESS_NATS:
                return _summarised(found)
    return _summarised(found)


def _root(gram: Tensor) -> Tensor:
    """`[N, N]` float64 lower triangle L with L L' = gram, up to the least jitter that float32 distances need."""
    scale = float(gram.diagonal().max())
    if scale == 0:
        return torch.zeros_like(gram)
    root: Tensor
    for jitter in (1e-12, 1e-9, 1e-7, 1e-5):
        root, failed = torch.linalg.cholesky_ex(gram + jitter * scale * torch.eye(gram.shape[0], dtype=gram.dtype))
        if not int(failed):
            return root
    raise CollabplanError("distances that belong to no points in space; they must be Euclidean and squared")


def bounds_from_log_likelihood(log_likelihood: Tensor) -> Bounds:
    """The bounds for any known channel.

    Args:
        log_likelihood: `[N, N]`, ln p(t_i | x_j), -inf where t_i is impossible; for discrete t the mass.
    """
    return _summarised([_influences(log_likelihood - log_likelihood.diagonal()[:, None])])


def _influences(ratios: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Per sample `[N]` float64: its terms of low and up, and its influence on each, from log-ratios `[N, N]`.

    Sample k moves the mean by its own term, less its weight in the sums of the others (the infinitesimal jackknife).
    """
    count = ratios.shape[0]
    weights = ratios.exp()
    weights.fill_diagonal_(0.0)
    others = weights.sum(dim=1)
    log_others = others.log()
    # Sums too small for float32: all others are far away.
    far = (others < 1e-30) | ~torch.isfinite(others)
    if bool(far.any()):
        rows = ratios[far]
        rows[torch.arange(rows.shape[0]), far.nonzero()[:, 0]] = -math.inf
        log_others[far] = torch.logsumexp(rows, dim=1)
        weights[far] = 0.0
        others = torch.where(far, torch.ones_like(others), others)
    log_others = log_others.double()
    low = math.log(count) - torch.logaddexp(log_others, torch.zeros_like(log_others))
    up = math.log(count - 1) - log_others
    as_other = (weights.T @ (1 / (1 + others))).double()
    as_other_up = (weights.T @ (1 / others)).double()
    own = torch.exp(-torch.logaddexp(log_others, torch.zeros_like(log_others)))
    return low, up, low - (as_other + own - 1), up - (as_other_up - 1)


def _summarised(draws: list[tuple[Tensor, Tensor, Tensor, Tensor]]) -> Bounds:
    low, up, low_influence, up_influence = (torch.stack(parts).mean(dim=0) for parts in zip(*draws, strict=True))
    count = low.shape[0]
    # In float32, rounding leaves a constant 1e-8 away from 0.
    low_mean, up_mean = (float(part.mean()) for part in (low, up))
    low_mean, up_mean = (0.0 if abs(value) < 1e-6 else value for value in (low_mean, up_mean))
    return Bounds(
        low=max(low_mean, 0.0),
        up=max(up_mean, 0.0),
        low_half=half_width(low_influence) if low_mean > 0 else 0.0,
        up_half=half_width(up_influence) if up_mean > 0 else 0.0,
        samples=count,
    )


def averaged(found: list[Bounds]) -> Bounds:
    """The mean over several masks of one channel. Half-widths are those of one mask, since samples are shared."""
    count = len(found)
    return Bounds(
        low=sum(item.low for item in found) / count,
        up=sum(item.up for item in found) / count,
        low_half=max(item.low_half for item in found),
        up_half=max(item.up_half for item in found),
        samples=found[0].samples,
    )


def half_width(values: Tensor) -> float:
    """Half of the 95 % t interval of the mean of `values` `[N]`, over disjoint blocks; infinity stays so."""
    blocks = min(BLOCKS, values.shape[0])
    means = torch.stack([block.mean() for block in torch.tensor_split(values, blocks)])
    return t_half_width(float(means.std()), blocks)


@dataclass(frozen=True, slots=True)
class Sandwich:
    """Both bounds.

    Attributes:
        draws: noises per sample.
    """

    revision: ClassVar[int] = SANDWICH_BOUNDS.revision
    draws: int = DRAWS
    name: str = "sandwich"

    def estimate(self, channel: Channel, generator: torch.Generator) -> Estimate:
        """The estimate. Raises CollabplanError for fewer than two samples."""
        return SampledNoise(channel, generator, self.draws).bounds().as_estimate(real_noise=channel.real_noise)
