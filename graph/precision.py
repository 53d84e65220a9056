"""Statistics of numbers in half precision are made in float32: their sums and squares overflow, the numbers do not."""

from __future__ import annotations

import torch
from torch import Tensor


def widened(values: Tensor) -> Tensor:
    """The same numbers, any shape, in float32 or wider; complex ones as they are."""
    return values if values.dtype == torch.float64 or values.is_complex() else values.float()
