"""Random queries are images of every roughness, in range, and the same for the same draws."""

from __future__ import annotations

import torch
from collabplan.attacks import random_queries


def test_random_queries_are_in_range_and_from_flat_to_rough() -> None:
    images = random_queries(200, (3, 17, 28), torch.Generator().manual_seed(0))
    assert images.shape == (200, 3, 17, 28)
    assert float(images.min()) >= 0
    assert float(images.max()) <= 1
    roughness = (images[..., 1:] - images[..., :-1]).abs().flatten(1).mean(dim=1)
    assert float(roughness.min()) < 0.03
    assert float(roughness.max()) > 0.15


def test_the_same_draws_give_the_same_queries() -> None:
    first, second = (random_queries(5, (1, 8, 8), torch.Generator().manual_seed(3)) for _ in range(2))
    assert torch.equal(first, second)


def test_flat_inputs_are_uniform() -> None:
    rows = random_queries(1000, (6,), torch.Generator().manual_seed(0))
    assert rows.shape == (1000, 6)
    assert 0.48 < float(rows.mean()) < 0.52
