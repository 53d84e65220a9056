"""A channel is known by its pairwise distances."""

from __future__ import annotations

import torch
from collabplan.estimators import Channel


def rows(count: int = 40, width: int = 5) -> torch.Tensor:
    return torch.randn(count, width, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def channel(noise_std: float = 1.0) -> Channel:
    return Channel.from_rows(rows(), rows(), noise_std)


def test_distances_are_squared_and_in_units_of_the_noise() -> None:
    torch.testing.assert_close(channel(0.5).distances, torch.cdist(rows(), rows()).square() * 4)


def test_equal_rows_are_exactly_0_apart() -> None:
    twice = rows().repeat(2, 1) + 1e3
    found = Channel.from_rows(twice, twice, 1.0).distances
    assert bool((found[torch.arange(40), torch.arange(40) + 40] == 0).all())


def test_more_noise_and_attenuation_scale_the_distances() -> None:
    torch.testing.assert_close(channel().noisier(2.0).distances, channel().distances / 4)
    weaker = channel().attenuated(0.3)
    torch.testing.assert_close(weaker.distances, channel().distances * 0.3)
    torch.testing.assert_close(weaker.gram, Channel(rows(), weaker.distances, 5).gram)


def test_components_keep_the_distances_and_most_variance_comes_first() -> None:
    found = channel().components(5)
    torch.testing.assert_close(torch.cdist(found, found).square(), channel().distances)
    spread = found.var(dim=0)
    assert torch.equal(spread, spread.sort(descending=True).values)
    assert channel().components(2).shape == (40, 2)


def test_a_release_is_the_components_with_standard_normal_noise() -> None:
    wide = Channel.from_rows(rows(2000), rows(2000), 1.0)
    noise = wide.released(5, torch.Generator().manual_seed(1)) - wide.components(5)
    torch.testing.assert_close(noise.std(dim=0), torch.ones(5, dtype=torch.float64), atol=0.06, rtol=0)


def test_taking_samples_takes_their_distances() -> None:
    part = channel().take(torch.tensor([3, 7]))
    assert len(part) == 2
    assert part.distances[0, 1] == channel().distances[3, 7]
