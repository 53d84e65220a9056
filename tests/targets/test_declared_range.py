"""A declared range that is not the data's would hide leakage, so it is refused or told."""

from __future__ import annotations

import pytest
import torch
from collabplan.graph import InputSpec
from collabplan.records import TargetError
from collabplan.targets import Data, InputScaling
from collabplan.targets.declared_range import range_notes

SPEC = InputSpec("x", (1, 3, 4, 4), torch.float32, 0, False)
PIXELS = torch.rand(100, 3, 4, 4, generator=torch.Generator().manual_seed(0))
UNIT = InputScaling.from_range(0, 1)


def notes(inputs: torch.Tensor, scaling: InputScaling = UNIT, spec: InputSpec = SPEC) -> list[str]:
    return range_notes(Data((inputs,)), (spec,), scaling, "the declared input_range (0, 1)")


def test_values_beyond_the_range_are_refused() -> None:
    with pytest.raises(TargetError, match=r"9\d% of the values of input 'x' \(.* to 255\) lie outside .*leakage would"):
        notes(PIXELS * 255)
    with pytest.raises(TargetError, match="lie outside"):
        notes((PIXELS - 0.5) / 0.25)


def test_values_in_a_small_part_of_the_range_are_refused() -> None:
    with pytest.raises(TargetError, match=r"fill 0\.4% of .*look alike"):
        notes(PIXELS, InputScaling.from_range(0, 255))


def test_values_that_fill_little_of_the_range_are_told() -> None:
    (note,) = notes(PIXELS, InputScaling.from_mean_std((0.5,) * 3, (0.25,) * 3))
    assert "fill 25% of it: are they scaled as in training?" in note


def test_a_range_that_fits_says_nothing() -> None:
    assert notes(PIXELS) == []
    assert notes(PIXELS * 2 - 1, InputScaling.from_range(-1, 1)) == []
    assert notes(PIXELS * 0) == []  # constant pictures are refused where leakage is measured


def test_public_inputs_and_tokens_have_no_pixels() -> None:
    public = InputSpec("x", (1, 3, 4, 4), torch.float32, 0, True)
    assert notes(PIXELS * 255, spec=public) == []
    assert notes((PIXELS * 255).long()) == []
