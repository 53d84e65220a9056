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
"""Numbers per temporary: 2 MiB, about a dozen held at once. A larger channel is one temporary."""


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

    def above(self, deviations: Tensor) -> Tensor:
        """P(noise > deviation), for deviations in units of `std`; it keeps its digits far to the right."""
        if self.kind == "gaussian":
            return torch.erfc(deviations * math.sqrt(0.5)).mul_(0.5)
        tails = torch.exp(deviations.abs() * -math.sqrt(2)).mul_(0.5)
        return torch.where(deviations > 0, tails, 1 - tails)

    def log_above(self, deviations: Tensor) -> Tensor:
        """ln P(noise > deviation) however far to the right."""
        if self.kind == "gaussian":
            found: Tensor = torch.special.log_ndtr(-deviations)
            return found
        return torch.where(deviations > 0, deviations * -math.sqrt(2) - math.log(2), self.above(deviations).log())


@dataclass(frozen=True, slots=True)
class NoiseToNearest:
    """Noise, then the nearest code: each code has the mass of its interval, the two ends that of the tails."""

    noise: Noise
    quantizer: Quantizer

    def log(self, released: Tensor, values: Tensor) -> Tensor:
        """The log mass of codes."""
        half = 0.5 * self.quantizer.step / self.noise.std
        first, last = released == 0, released == self.quantizer.last
        away = (self.quantizer.signed(released, torch.float64) * self.quantizer.step - values.double()) / self.noise.std
        # The law is symmetric: everything is mirrored to the right, where differences of tails keep their digits.
        # An end code's interval reaches to infinity on its own side, so it is mirrored by its side.
        away = torch.where(first | last, torch.where(first, -away, away), away.abs())
        near, far = away - half, away + torch.where(first | last, math.inf, half)
        found = (self.noise.above(near) - self.noise.above(far)).log_()
        lost = found == -math.inf
        if bool(lost.any()):
            upper, lower = self.noise.log_above(near[lost]), self.noise.log_above(far[lost])
            found[lost] = upper + torch.log(-torch.expm1(lower - upper))
        return found


@dataclass(frozen=True, slots=True)
class StochasticRounding:
    """The code above with the probability of the distance to the code below, else that one: mass on two codes."""

    quantizer: Quantizer

    def log(self, released: Tensor, values: Tensor) -> Tensor:
        """The log mass of codes; -infinity for those that cannot come."""
        # In the dtype that the codes were drawn in: the difference is exact, and float32 takes half the time.
        steps = self.quantizer.position(values)
        away = (self.quantizer.signed(released, steps.dtype) - steps).abs_()
        # The logarithm of 0 takes ten times as long as any other.
        mass = (1 - away).clamp_(min=torch.finfo(away.dtype).tiny)
        return mass.log_().masked_fill_(away >= 1, -math.inf).double()


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
    # Blocks about as long one way as the other: what depends on one side alone is then little work.
    outer = max(1, min(rows.shape[1], 256 // rows.shape[2]))
    right = max(1, min(len(rows), math.isqrt(BLOCK // (rows.shape[2] * outer))))
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
