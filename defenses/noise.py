"""Additive noise, after dropout, so that it hides the mask too.

Laplace noise of scale b (standard deviation s = sqrt(2) b) reveals no more than Gaussian noise of standard deviation b:
between shifts d apart its Kullback-Leibler divergence |d|/b + exp(-|d|/b) - 1 is at most the Gaussian's d^2 / 2b^2,
since exp(-u) <= 1 - u + u^2/2 for u >= 0. Every bound that is built on pairwise divergences therefore holds for it at
the floor b.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from ..records import Crossing, NoiseDistribution, NoiseRecord, TensorRange
from .densities import Noise
from .randomness import Randomness


@dataclass(frozen=True, slots=True)
class NoiseStage:
    """Independent noise on every element. `ranges` by node: the standard deviation is a share of these."""

    name: ClassVar[str] = "noise"
    revision: ClassVar[int] = 1
    search_values: ClassVar[tuple[float, ...]] = (0.02, 0.05, 0.1)
    nanoseconds: ClassVar[dict[NoiseDistribution, float]] = {"gaussian": 24.0, "laplace": 16.0}
    """Per element on the device: see `planner.latency`."""

    record: NoiseRecord
    ranges: dict[str, TensorRange]

    def law(self, crossing: Crossing) -> Noise:
        """The noise that a tensor gets, in its own units.

        `std` times its calibrated range; of a tensor that was constant then, times its greatest size (or 1). Raises
        KeyError where the tensor has no range yet.
        """
        found = self.ranges[crossing.node]
        span = (found.high - found.low) or max(abs(found.low), abs(found.high)) or 1.0
        return Noise(self.record.distribution, self.record.std * span)

    def apply(self, rows: Tensor, crossing: Crossing, source: Randomness) -> Tensor:
        """Noisy rows, float32 or wider."""
        return drawn(self.law(crossing), f"{crossing.node}/noise", rows, source).add_(rows)

    def receive(self, rows: Tensor, crossing: Crossing) -> Tensor:  # noqa: ARG002
        """As they come: the noise has mean 0."""
        return rows


def drawn(noise: Noise, name: str, rows: Tensor, source: Randomness) -> Tensor:
    """Noise of the shape of `rows`, float32 or wider."""
    if noise.kind == "gaussian":
        made = source.normal(name, rows.shape)
    else:
        # By the inverse distribution function; 2u - 1 is exact, and -1 would be infinity.
        centred = source.uniform(name, rows.shape).mul_(2).sub_(1)
        made = centred.sign() * (1 - centred.abs()).clamp_(min=2**-24).log_().div_(-math.sqrt(2))
    wide = torch.float64 if rows.dtype == torch.float64 else torch.float32
    return made.to(rows.device, wide).mul_(noise.std)
