"""Parts of an image that figures are taken of: a region of interest, and bands of spatial frequency."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

View = Callable[[Tensor], Tensor]
"""Linear, from images `[n, *image_shape]` to what is seen of them, of the same shape."""

BANDS = ("low", "middle", "high")
EDGES = (0.0, 1 / 8, 1 / 4, 1.0)
"""Ends of the bands in cycles per pixel, by distance from zero frequency. The low band has the brightness."""

SMALLEST = 8
"""The least side of images that are divided into bands."""


def within(region: Tensor) -> View:
    """What is seen through `region` `[H, W]`, weights in [0, 1]: squared errors are weighted by it."""
    weights = region.sqrt()
    return lambda images: images * weights.to(images.dtype)


def band(at: int, height: int, width: int) -> View:
    """The part of images `[n, C, height, width]` within the band `BANDS[at]`."""
    rows, columns = torch.fft.fftfreq(height), torch.fft.rfftfreq(width)
    distance = (rows[:, None].square() + columns[None, :].square()).sqrt()
    low, high = EDGES[at], EDGES[at + 1]
    kept = (distance > low if at else distance >= low) & (distance <= high)
    return lambda images: torch.fft.irfft2(torch.fft.rfft2(images.float()) * kept, s=(height, width))
