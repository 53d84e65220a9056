"""Exact division of sizes, for code that recovers the batch: `int(windows.shape[0] / (height * width / 49))`.

Torch makes such a quotient a floating symbol. Its `int` is no longer known to be a multiple of the batch, so export
refuses it.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import torch

from .sizes import symbolic


@contextlib.contextmanager
def exact_division() -> Iterator[None]:
    """Within, a symbolic size stays an integer when it is divided by a number that divides it at every batch size.

    This helps only a strict export, which reads the code. Otherwise `int` asks for a Python number, which fixes the
    batch.
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
