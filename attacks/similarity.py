"""How alike two images look by their structure: SSIM, and MS-SSIM at as many scales as an image admits.

Wang et al., "Image Quality Assessment: From Error Visibility to Structural Similarity", IEEE TIP 2004, with an 11 x 11
Gaussian window and the range fixed at 1. Wang, Simoncelli & Bovik, "Multiscale Structural Similarity for Image Quality
Assessment", Asilomar 2003, equation 7.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torchmetrics.functional.image import (
    multiscale_structural_similarity_index_measure,
    structural_similarity_index_measure,
)

SMALLEST_SIDE = 11
"""Sides of the smallest images with an SSIM: the size of its window."""

WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)
"""Exponents of the five scales, finest first, as published. Of fewer scales they are divided by their sum."""

CHUNK = 256


def ssim(images: Tensor, originals: Tensor) -> Tensor | None:
    """Structural similarity per image, `[n, C, H, W]` twice in [0, 1] -> `[n]` float64; None for other inputs."""
    if scales(originals) == 0:
        return None

    def chunk(own: Tensor, truth: Tensor) -> Tensor:
        return torch.as_tensor(structural_similarity_index_measure(own, truth, data_range=1.0, reduction="none"))

    return _by_chunk(chunk, images, originals)


def ms_ssim(images: Tensor, originals: Tensor) -> Tensor | None:
    """Similarity over several scales, `[n, C, H, W]` twice in [0, 1] -> `[n]` float64 in [0, 1].

    None where images admit fewer than two scales: with one scale it is the SSIM.
    """
    weights = WEIGHTS[: scales(originals)]
    if len(weights) < 2:
        return None
    betas = tuple(weight / sum(weights) for weight in weights)

    def chunk(own: Tensor, truth: Tensor) -> Tensor:
        return multiscale_structural_similarity_index_measure(
            own, truth, data_range=1.0, reduction="none", betas=betas, normalize="relu"
        )

    return _by_chunk(chunk, images, originals)


def scales(images: Tensor) -> int:
    """How many scales, at most five, images `[n, C, H, W]` admit; 0 for what is no image or smaller than the window.

    Each scale halves the sides, and its window must fit. torchmetrics asks for (scales - 1)^2 windows along each side.

    Examples:
        >>> [scales(torch.zeros(1, 3, side, side)) for side in (8, 16, 28, 32, 64, 224)]
        [0, 1, 2, 2, 3, 5]
    """
    if images.ndim != 4:
        return 0
    side = min(images.shape[2:])
    fits = (min(side >> (count - 1), side // max(1, count - 1) ** 2) >= SMALLEST_SIDE for count in range(1, 6))
    return sum(fits)


def _by_chunk(measure: Callable[[Tensor, Tensor], Tensor], images: Tensor, originals: Tensor) -> Tensor:
    pairs = zip(torch.split(images.float(), CHUNK), torch.split(originals.float(), CHUNK), strict=True)
    return torch.cat([measure(own, truth).reshape(-1) for own, truth in pairs]).double()
