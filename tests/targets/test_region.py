"""The region of interest: boxes and masks, and what is neither."""

from __future__ import annotations

import pytest
import torch
from collabplan.records import TargetError
from collabplan.targets.region import read_region


def test_a_box_ends_before_its_bottom_and_right() -> None:
    region = read_region((1, 2, 3, 4), 5, 6)
    assert region.shape == (5, 6)
    assert float(region.sum()) == 4
    assert bool((region[1:3, 2:4] == 1).all())


def test_a_mask_is_taken_as_it_is() -> None:
    mask = torch.eye(4)
    assert torch.equal(read_region(mask, 4, 4), mask)
    assert torch.equal(read_region(mask.bool().tolist(), 4, 4), mask)


@pytest.mark.parametrize(
    ("value", "why"),
    [
        ((0, 0, 9, 2), "no box within 5 x 5"),
        ((2, 0, 2, 3), "no box within 5 x 5"),
        (torch.zeros(5, 5), "some of them above 0"),
        (torch.full((5, 5), 2.0), r"weights in \[0, 1\]"),
        (torch.full((5, 5), float("nan")), r"weights in \[0, 1\]"),
        (torch.ones(4, 5), r"has shape \[4, 5\]; give a box"),
        ("face", "is of type str; give a box"),
    ],
)
def test_what_is_no_region_is_refused_with_what_would_be(value: object, why: str) -> None:
    with pytest.raises(TargetError, match=why):
        read_region(value, 5, 5)
