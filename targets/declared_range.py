"""Holds a declared input range to the data. Values beyond it are cut off, which would hide what a release tells."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ..records import TargetError
from .data import CHECKED, Data, InputScaling

if TYPE_CHECKING:
    from ..graph import InputSpec

MOST_OUTSIDE = 0.01
"""The share of values that may lie outside a declared range."""

LEAST_FILLED, USUALLY_FILLED = 0.05, 0.4
"""The share of a declared range that the data must fill, and below which there is a note."""


def range_notes(data: Data, specs: Sequence[InputSpec], scaling: InputScaling, name: str) -> list[str]:
    """Notes on private inputs that fill little of the declared range.

    Args:
        data: the samples, as the model reads them.
        specs: the model's tensor inputs, in their order.
        scaling: as it was declared.
        name: of the declaration, for messages: `input_range`.

    Raises:
        TargetError: many values lie outside the range, or all of them in a small part of it.
    """
    notes = []
    for tensor, spec in zip(data.inputs, specs, strict=True):
        if spec.public or not tensor.is_floating_point() or not _applies(scaling, tensor):
            continue
        parts = torch.split(tensor, CHECKED)
        outside = sum(scaling.share_outside(part) * len(part) for part in parts) / len(tensor)
        ends = f"{float(tensor.min()):.3g} to {float(tensor.max()):.3g}"
        if outside > MOST_OUTSIDE:
            raise TargetError(
                f"{outside:.0%} of the values of input {spec.name!r} ({ends}) lie outside {name}; what is beyond is "
                "cut off, and leakage would look smaller than it is: declare the range that the model reads, scale "
                f"the data to it, or leave {name} out"
            )
        pixels = [scaling.to_unit(part).aminmax() for part in parts]
        low, high = min(float(part.min) for part in pixels), max(float(part.max) for part in pixels)
        if 0 < high - low < LEAST_FILLED:
            raise TargetError(
                f"the values of input {spec.name!r} ({ends}) fill {high - low:.1%} of {name}; all pictures would look "
                "alike, and so would what attackers make of them: declare the range that the model reads, or leave "
                f"{name} out"
            )
        if 0 < high - low < USUALLY_FILLED:
            notes.append(
                f"the values of input {spec.name!r} ({ends}) fill {high - low:.0%} of it: are they scaled as in "
                "training?"
            )
    return notes


def _applies(scaling: InputScaling, tensor: Tensor) -> bool:
    """Whether the range has one entry for all channels, or one for each of this tensor's."""
    return len(scaling.low) == 1 or (tensor.ndim > 1 and tensor.shape[1] == len(scaling.low))
