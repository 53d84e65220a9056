"""The region of interest of an image, as a target file declares it."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ..records import TargetError

CORNERS = 4


def read_region(value: Any, height: int, width: int) -> Tensor:
    """How much each pixel matters, `[height, width]` float32 in [0, 1].

    Args:
        value: a box (top, left, bottom, right) in pixels, of which bottom and right are outside; or a mask
            `[height, width]` of weights in [0, 1].
        height, width: of the images.

    Raises:
        TargetError: it is neither, lies outside the image, or covers nothing.

    Examples:
        >>> read_region((0, 1, 2, 3), height=3, width=3).tolist()
        [[0.0, 1.0, 1.0], [0.0, 1.0, 1.0], [0.0, 0.0, 0.0]]
    """
    try:
        given = torch.as_tensor(value).detach().float().cpu()
    except (TypeError, ValueError, RuntimeError):
        raise TargetError(f"region_of_interest is of type {type(value).__name__}; {_wanted(height, width)}") from None
    if tuple(given.shape) == (CORNERS,) and bool((given == given.round()).all()):
        return _box(given.int().tolist(), height, width)
    if tuple(given.shape) != (height, width):
        raise TargetError(f"region_of_interest has shape {list(given.shape)}; {_wanted(height, width)}")
    if not bool(((given >= 0) & (given <= 1)).all()) or not bool(given.any()):
        raise TargetError("region_of_interest must hold weights in [0, 1], some of them above 0")
    return given


def _box(corners: list[int], height: int, width: int) -> Tensor:
    top, left, bottom, right = corners
    if not (0 <= top < bottom <= height and 0 <= left < right <= width):
        raise TargetError(
            f"region_of_interest ({top}, {left}, {bottom}, {right}) is no box within {height} x {width} pixels; give "
            "(top, left, bottom, right), bottom and right one past the last pixel"
        )
    region = torch.zeros(height, width)
    region[top:bottom, left:right] = 1
    return region


def _wanted(height: int, width: int) -> str:
    return f"give a box (top, left, bottom, right) in pixels, or a mask [{height}, {width}]"
