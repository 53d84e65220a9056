"""Statistics of half-precision numbers are computed in float32, since their sums and squares overflow."""

from __future__ import annotations

import torch
from torch import Tensor


def widened(values: Tensor) -> Tensor:
    """The same numbers in float32 or wider. Complex numbers stay as they are.

    Examples:
        >>> widened(torch.ones(2, dtype=torch.float16)).dtype
        torch.float32
    """
    return values if values.dtype == torch.float64 or values.is_complex() else values.float()
