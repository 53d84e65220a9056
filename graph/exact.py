"""Counts of samples that code divides out: `int(windows.shape[0] / (height * width / 49))`.

Torch makes such a quotient a floating symbol, of which `int` is no multiple of the batch any more, and export refuses.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import torch

from .sizes import symbolic


@contextlib.contextmanager
def exact_division() -> Iterator[None]:
    """While it lasts, a symbolic size over a number that divides it for every batch is a whole size.

    Of use to an export that reads code (`strict`); else `int` asks for a number of Python's, which fixes the batch.
    """
    divide: Any = torch.SymInt.__truediv__

    def exact(size: torch.SymInt, by: Any) -> Any:
        expression = symbolic(size)
        whole = isinstance(by, (int, float)) and by != 0 and by == int(by)
        if whole and expression is not None and expression.as_coeff_Mul()[0] % int(by) == 0:
            return size // int(by)
        return divide(size, by)

    torch.SymInt.__truediv__ = exact  # type: ignore[method-assign]
    try:
        yield
    finally:
        torch.SymInt.__truediv__ = divide  # type: ignore[method-assign]
