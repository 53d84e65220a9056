"""Queries of a black-box attacker without images: random ones, from flat to rough."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.functional import interpolate


def random_queries(count: int, shape: Sequence[int], generator: torch.Generator) -> Tensor:
    """`[count, *shape]` in [0, 1]: uniform noise on grids from 1 x 1 to full size, mixed; flat inputs are uniform.

    White noise alone would teach little: no camera sees anything like it.

    Args:
        count: how many.
        shape: of one input, `[C, H, W]` for images.
        generator: of every draw; on the CPU.

    Examples:
        >>> random_queries(2, (3, 8, 8), torch.Generator().manual_seed(0)).shape
        torch.Size([2, 3, 8, 8])
    """
    if len(shape) != 3:
        return torch.rand(count, *shape, generator=generator)
    channels, height, width = shape
    total = torch.zeros(count, *shape)
    weights = torch.zeros(count, 1, 1, 1)
    side = 1
    while True:
        coarse = torch.rand(count, channels, min(side, height), min(side, width), generator=generator)
        weight = torch.rand(count, 1, 1, 1, generator=generator) ** 4  # in most images one scale dominates
        total += weight * interpolate(coarse, size=(height, width), mode="bilinear", align_corners=False)
        weights += weight
        if side >= max(height, width):
            return total / weights
        side *= 2
