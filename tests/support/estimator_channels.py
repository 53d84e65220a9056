"""Channels whose information is known."""

from __future__ import annotations

import math

import torch
from collabplan.estimators.interface import Channel
from torch import Tensor


def rows_channel(rows: Tensor, *, real_noise: bool = True) -> Channel:
    """T = rows + N(0, I), with the rows themselves as inputs."""
    return Channel.from_rows(rows.double(), rows, 1.0, real_noise=real_noise)


def gaussian_channel(nats: float, features: int, samples: int, generator: torch.Generator) -> Channel:
    """A white Gaussian h(X) of the signal power that gives `nats`."""
    power = math.expm1(2 * nats / features)
    return rows_channel(torch.randn(samples, features, generator=generator, dtype=torch.float64) * math.sqrt(power))
