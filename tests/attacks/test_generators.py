"""Generators make images in the unit range, and start at the mean image."""

from __future__ import annotations

import pytest
import torch
from collabplan.attacks.generators import EDGE, LATENT, Autoencoder, Generator


@pytest.mark.parametrize("shape", [(1, 16, 16), (3, 12, 20), (7,)])
def test_images_have_the_wanted_shape_and_lie_in_the_unit_range(shape: tuple[int, ...]) -> None:
    made = Generator(LATENT, shape, 8)(torch.randn(2, LATENT))
    assert made.shape == (2, *shape)
    assert 0 <= float(made.min()) <= float(made.max()) <= 1


def test_an_image_generator_starts_at_the_mean_image_kept_off_the_ends() -> None:
    mean = torch.tensor([0.0, 0.5, 1.0]).repeat(12).reshape(1, 6, 6)
    made = Generator(LATENT, (1, 6, 6), 8, mean)(torch.randn(1, LATENT))
    torch.testing.assert_close(made[0], mean.clamp(EDGE, 1 - EDGE))


@pytest.mark.parametrize("shape", [(1, 16, 16), (7,)])
def test_the_autoencoders_loss_is_a_number_with_gradients(shape: tuple[int, ...]) -> None:
    network = Autoencoder(torch.full(shape, 0.5), 8)
    loss = network.loss(torch.rand(3, *shape), torch.randn(3, LATENT))
    loss.backward()
    assert loss.ndim == 0
    assert all(parameter.grad is not None for parameter in network.parameters())
