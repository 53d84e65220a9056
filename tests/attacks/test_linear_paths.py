"""Linear paths start at least squares: exact where the inverse is linear, silent where nothing can be known."""

from __future__ import annotations

import pytest
import torch
from collabplan.attacks.linear_paths import (
    MOST_UNKNOWNS,
    MOST_WEIGHTS,
    Draw,
    Filter,
    Free,
    dual_ridge,
    linear_path,
    resized,
    start_paths,
)
from torch import Tensor, nn
from torch.nn.functional import conv2d, pixel_unshuffle


def draws(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def images(count: int, seed: int, side: int = 16) -> Tensor:
    return torch.rand(count, 1, side, side, generator=draws(seed))


def drawing(edge: object, seed: int) -> Draw:
    """What a decoder reads of images that went through `edge`."""

    def draw(wanted: int) -> tuple[list[Tensor], Tensor]:
        made = images(min(wanted, 2000), seed)
        return [edge(made)], made

    return draw


def started(path: nn.Module, edge: object) -> float:
    """Mean squared error of the path on images that it has not seen, over their variance."""
    mean = torch.full((1, 16, 16), 0.5)
    start_paths([path], mean, drawing(edge, 1), drawing(edge, 2))
    fresh = images(50, 3)
    with torch.no_grad():
        made = mean + path(edge(fresh))
    return float((made - fresh).square().mean() / fresh.var())


def convolution(made: Tensor) -> Tensor:
    return conv2d(made, torch.randn(12, 1, 3, 3, generator=draws(7)), padding=1)


def test_a_filter_inverts_a_convolution_by_which_nothing_is_lost() -> None:
    assert started(Filter(12, (1, 16, 16), 1), convolution) < 1e-5


def test_a_filter_with_a_stride_puts_folded_pixels_back() -> None:
    assert started(Filter(4, (1, 16, 16), 2), lambda made: pixel_unshuffle(made, 2)) < 1e-5


def test_a_free_path_inverts_a_permutation_of_pixels_and_a_filter_cannot() -> None:
    order = torch.randperm(256, generator=draws(5))

    def shuffled(made: Tensor) -> Tensor:
        return made.flatten(1)[:, order].reshape(made.shape)

    assert started(Free(256, (1, 16, 16)), shuffled) < 0.01
    assert started(Filter(1, (1, 16, 16), 1), shuffled) > 0.9


@pytest.mark.parametrize("path", [Free(256, (1, 16, 16)), Filter(1, (1, 16, 16), 1)])
def test_where_nothing_can_be_known_a_path_stays_silent(path: nn.Module) -> None:
    noise = torch.rand(2000, 1, 16, 16, generator=draws(9))
    assert started(path, lambda made: noise[: len(made)]) == pytest.approx(1.0, abs=0.05)


def test_a_later_path_explains_what_earlier_ones_leave() -> None:
    """Two crossings, each with half of the image: together they have all of it."""

    def draw_of(seed: int) -> Draw:
        def draw(wanted: int) -> tuple[list[Tensor], Tensor]:
            made = images(min(wanted, 2000), seed)
            return [made[..., :8], made[..., 8:]], made

        return draw

    paths = [Free(128, (1, 16, 16)), Free(128, (1, 16, 16))]
    mean = torch.full((1, 16, 16), 0.5)
    start_paths(paths, mean, draw_of(1), draw_of(2))
    rows, fresh = draw_of(3)(50)
    with torch.no_grad():
        made = mean + paths[0](rows[0]) + paths[1](rows[1])
    assert float((made - fresh).square().mean() / fresh.var()) < 0.05


def test_the_affordable_path_is_chosen() -> None:
    assert isinstance(linear_path((10,), 1, (1, 28, 28)), Free)
    assert isinstance(linear_path((16, 32, 32), 2, (3, 32, 32)), Filter)
    assert MOST_WEIGHTS < 16 * 32 * 32 * 3 * 32 * 32
    assert linear_path((MOST_UNKNOWNS, 8, 8), 1, (3, 32, 32)) is None
    assert linear_path((64, 7, 7), 1, (3, 224, 224)) is None, "too coarse a grid for a filter"


def test_dual_ridge_stands_far_more_rows_than_features() -> None:
    """In single precision the least penalties are lost in rounding then: 2,700 images at a layer of 84 numbers were."""
    draws = torch.Generator().manual_seed(0)
    rows = torch.randn(3000, 1, generator=draws).relu() @ torch.rand(1, 5, generator=draws)
    rows -= rows.mean(dim=0)
    wanted = rows @ torch.randn(5, 4, generator=draws)
    found = rows.T @ dual_ridge(rows, wanted, rows[:50], wanted[:50])
    assert float((rows @ found - wanted).square().mean()) < 0.01 * float(wanted.square().mean())


def test_dual_ridge_is_the_ridge_of_the_normal_equations() -> None:
    rows, weights = torch.randn(60, 8, generator=draws(1)), torch.randn(8, 3, generator=draws(2))
    wanted = rows @ weights
    found = rows.T @ dual_ridge(rows, wanted, rows[:20], wanted[:20])
    torch.testing.assert_close(found, weights, rtol=0.01, atol=0.01)


def test_sizes_are_matched_by_padding_on_all_sides() -> None:
    made = images(1, 0, side=12)
    assert torch.equal(resized(made, (15, 16))[..., 1:13, 2:14], made)
    assert torch.equal(resized(resized(made, (15, 16)), (12, 12)), made)
    assert resized(made, (40, 40)).shape == (1, 1, 40, 40)
