"""Networks that make images: a generator, and the variational autoencoder that it is trained in."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate, mse_loss

from .decoders import Residual
from .linear_paths import silence
from .mixed_precision import quick_products

LATENT = 64
EDGE = 0.05
"""The starting image stays this far from 0 and 1, where the sigmoid's gradient vanishes."""

BASE = 4
"""Rows of a generator's smallest grid."""

DIVERGENCE = 1e-4
"""Weight of the latent's Kullback-Leibler divergence from the standard normal, beside the mean squared error."""


class Generator(nn.Module):
    """From a latent vector to an image, or to a flat input.

    Args:
        latent: numbers in the latent vector.
        shape: of one input.
        width: channels.
        mean: `[*shape]`, where it starts; grey if None.
    """

    def __init__(self, latent: int, shape: Sequence[int], width: int, mean: Tensor | None = None) -> None:
        super().__init__()
        self.shape, self.width = tuple(shape), width
        self.image = len(shape) == 3
        base = torch.zeros(self.shape) if mean is None else mean.clamp(EDGE, 1 - EDGE).logit()
        self.base = nn.Parameter(base)
        if not self.image:
            self.body: nn.Module = nn.Sequential(
                nn.Linear(latent, 8 * width), nn.ReLU(), nn.Linear(8 * width, math.prod(shape))
            )
            return
        self.entry = nn.Linear(latent, width * BASE**2)
        doublings = max(0, math.ceil(math.log2(max(shape[1:]) / BASE)))
        stages: list[nn.Module] = []
        for _ in range(doublings):
            stages += [Residual(width), nn.Upsample(scale_factor=2, mode="bilinear", align_corners=False)]
        self.body = nn.Sequential(*stages, nn.ReLU(), nn.Conv2d(width, shape[0], 3, padding=1))
        if mean is not None:
            silence(self.body[-1])

    def forward(self, latent: Tensor) -> Tensor:
        """`[n, latent]` -> `[n, *shape]` in [0, 1]."""
        if not self.image:
            return torch.sigmoid(self.base + self.body(latent).reshape(-1, *self.shape))
        made = self.body(self.entry(latent).reshape(-1, self.width, BASE, BASE))
        if made.shape[2:] != self.shape[1:]:
            made = interpolate(made, size=self.shape[1:], mode="bilinear", align_corners=False)
        return torch.sigmoid(self.base + made)


class Autoencoder(nn.Module):
    """A variational autoencoder (Kingma & Welling, ICLR 2014). Its encoder serves only to train the generator.

    Args:
        mean: `[*image_shape]`, the mean image.
        width: channels.
    """

    def __init__(self, mean: Tensor, width: int) -> None:
        super().__init__()
        shape = tuple(mean.shape)
        self.generator = Generator(LATENT, shape, width, mean)
        if len(shape) == 3:
            halvings = max(0, math.ceil(math.log2(max(shape[1:]) / BASE)))
            layers: list[nn.Module] = [nn.Conv2d(shape[0], width, 3, padding=1), nn.ReLU()]
            for _ in range(halvings):
                layers += [nn.Conv2d(width, width, 3, 2, padding=1), nn.ReLU()]
            layers += [nn.AdaptiveAvgPool2d(BASE), nn.Flatten(), nn.Linear(width * BASE**2, 2 * LATENT)]
        else:
            layers = [nn.Flatten(), nn.Linear(math.prod(shape), 8 * width), nn.ReLU()]
            layers += [nn.Linear(8 * width, 2 * LATENT)]
        self.encoder = nn.Sequential(*layers)

    def loss(self, images: Tensor, draws: Tensor) -> Tensor:
        """Of `images` `[n, *image_shape]` with standard normal `draws` `[n, LATENT]`: a scalar."""
        with quick_products(images.device, learning=self.training):
            mean, log_variance = self.encoder(images).float().chunk(2, dim=1)
            log_variance = log_variance.clamp(-10, 10)
            made = self.generator(mean + draws * (log_variance / 2).exp())
        divergence = (mean.square() + log_variance.exp() - 1 - log_variance).mean() / 2
        total: Tensor = mse_loss(made, images) + DIVERGENCE * divergence
        return total
