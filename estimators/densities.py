"""What is known exactly about a release: ln p(t | x), as a density or as a probability mass.

Each number that crosses has a law given the value that it stands for: the noise's density; the mass of a code that
noisy values are rounded to; the mass of stochastic rounding. Dropout with the mask hidden mixes the law with that of
a zero, per element or per channel:

    ln p(t | v) = ln[(1 - rate) law(t | v) + rate law(t | 0)]

Noise without a quantizer is taken as real numbers. What floats really are has gaps (Mironov, "On significance of the
least significant bits for differential privacy", CCS 2012): behind a quantizer they do not matter.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, Protocol

import torch
from torch import Tensor

from .quantizer import Quantizer

BLOCK = 2**18
"""Numbers per temporary (2 MiB, of which about a dozen are held at once), or one channel's where it has more."""


class Law(Protocol):
    """The law of one released number given its value."""

    def log(self, released: Tensor, values: Tensor) -> Tensor:
        """ln p(released | value), float64, elementwise and broadcast."""


@dataclass(frozen=True, slots=True)
class Noise:
    """Additive noise of standard deviation `std`, nothing after it."""

    kind: Literal["gaussian", "laplace"]
    std: float

    def log(self, released: Tensor, values: Tensor) -> Tensor:
        """The log density."""
        deviations = (released.double() - values.double()) / self.std
        return self._log_density(deviations.square() if self.kind == "gaussian" else deviations.abs())

    def pairwise(self, released: Tensor, values: Tensor) -> Tensor:
        """The log density summed over all numbers of rows `[M, d]` and `[N, d]`: `[M, N]`, by distances alone."""
        centre = values.double().mean(dim=0)
        left, right = (released.double() - centre) / self.std, (values.double() - centre) / self.std
        if self.kind == "laplace":
            total = torch.cdist(left, right, p=1.0)
        else:
            total = left.square().sum(dim=1)[:, None] + right.square().sum(dim=1)[None, :] - 2 * left @ right.T
        return self._log_density(total.clamp_(min=0), released.shape[1])

    def _log_density(self, deviation: Tensor, count: int = 1) -> Tensor:
        """From squared (Gaussian) or absolute (Laplace) deviations in units of `std`, summed over `count` numbers."""
        if self.kind == "gaussian":
            return deviation * -0.5 - count * (math.log(self.std) + 0.5 * math.log(2 * math.pi))
        return deviation * -math.sqrt(2) - count * math.log(math.sqrt(2) * self.std)

    def log_below(self, deviations: Tensor) -> Tensor:
        """ln P(noise <= deviation), for deviations in units of `std`."""
        if self.kind == "gaussian":
            found: Tensor = torch.special.log_ndtr(deviations)
            return found
        scaled = deviations * math.sqrt(2)
        return torch.where(scaled < 0, scaled - math.log(2), torch.log1p(-0.5 * torch.exp(-scaled.abs())))


@dataclass(frozen=True, slots=True)
class NoiseToNearest:
    """Noise, then the nearest code: each code has the mass of its interval, the two ends that of the tails."""

    noise: Noise
    quantizer: Quantizer

    def log(self, released: Tensor, values: Tensor) -> Tensor:
        """The log mass of codes."""
        codes = self.quantizer.signed(released, torch.float64)
        low = torch.where(released == 0, -math.inf, (codes - 0.5) * self.quantizer.step)
        high = torch.where(released == self.quantizer.last, math.inf, (codes + 0.5) * self.quantizer.step)
        low, high = (low - values.double()) / self.noise.std, (high - values.double()) / self.noise.std
        # The law is symmetric: mirrored to the left of zero, where differences of probabilities keep their digits.
        right = low + high > 0
        low, high = torch.where(right, -high, low), torch.where(right, -low, high)
        upper = self.noise.log_below(high)
        return upper + torch.log(-torch.expm1(self.noise.log_below(low) - upper))


@dataclass(frozen=True, slots=True)
class StochasticRounding:
    """The code above with the probability of the distance to the code below, else that one: mass on two codes."""

    quantizer: Quantizer

    def log(self, released: Tensor, values: Tensor) -> Tensor:
        """The log mass of codes; -infinity for those that cannot come."""
        away = self.quantizer.signed(released, torch.float64) - self.quantizer.position(values).double()
        return (1 - away.abs()).clamp_(min=0).log_()


def log_likelihood(law: Law, released: Tensor, rows: Tensor, *, rate: float = 0.0, channels: bool = False) -> Tensor:
    """ln p(t_i | x_j) of one tensor: `[M, N]` float64.

    Args:
        released: `[M, *sample_shape]`, as `Defense.release` gives it.
        rows: `[N, *sample_shape]`, what the edge computes, undefended.
        rate: the probability that an element was dropped before, with the mask hidden.
        channels: whole indices of the sample's first dimension are dropped together.
    """
    if isinstance(law, Noise) and not rate:
        return law.pairwise(released.flatten(1), rows.flatten(1))
    # [., c, s]: c that are dropped independently, of s numbers each.
    if channels and rate and rows.ndim > 2:
        released, rows = released.flatten(2), rows.flatten(2)
    else:
        released, rows = released.reshape(len(released), -1, 1), rows.reshape(len(rows), -1, 1)
    total = torch.zeros(len(released), len(rows), dtype=torch.float64)
    outer = max(1, min(rows.shape[1], BLOCK // rows.shape[2]))
    right = max(1, min(len(rows), BLOCK // (rows.shape[2] * outer)))
    left = max(1, BLOCK // (rows.shape[2] * outer * right))
    for i in range(0, len(released), left):
        for j in range(0, len(rows), right):
            for c in range(0, rows.shape[1], outer):
                sent = released[i : i + left, None, c : c + outer]
                found = law.log(sent, rows[None, j : j + right, c : c + outer]).sum(dim=-1)
                if rate:
                    dropped = law.log(sent, rows.new_zeros(())).sum(dim=-1)
                    found = torch.logaddexp(found + math.log1p(-rate), dropped + math.log(rate))
                total[i : i + left, j : j + right] += found.sum(dim=-1)
    return total
