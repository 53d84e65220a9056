"""The sizes of a traced tensor: plain numbers, multiples of the batch, or neither.

A size may also depend on tensor values (the rows that a boolean mask keeps). It is symbolic too, so every question
here names the batch's own symbol: no other symbol counts samples.
"""

from __future__ import annotations

from typing import Any

import sympy
import torch
from torch import Tensor


def symbolic(size: Any) -> sympy.Expr | None:
    """The expression of a size; None for a plain integer."""
    if isinstance(size, torch.SymInt):
        expression = size.node.expr
        return None if expression.is_number else expression
    return None


def per_sample(size: Any, batch: sympy.Expr | None) -> int | None:
    """n where the size is n times the batch; None for every other size."""
    expression = symbolic(size)
    if expression is None or batch is None:
        return None
    groups = expression / batch
    return int(groups) if groups.is_Integer else None


def counts_on_batch(size: Any, batch: sympy.Expr | None) -> bool:
    """True where the size follows from the batch alone."""
    expression = symbolic(size)
    return expression is None or (batch is not None and expression.free_symbols <= batch.free_symbols)


def at_batch_one(size: Any) -> int:
    """A size at batch 1. One that depends on values counts as 1: nobody knows it."""
    expression = symbolic(size)
    if expression is None:
        return int(size)
    return int(expression.subs(dict.fromkeys(expression.free_symbols, 1)))


def has_fixed_shape(value: Any, batch: sympy.Expr | None) -> bool:
    """True for a tensor, or a number, whose shape no tensor value decides."""
    return all(counts_on_batch(size, batch) for size in value.shape) if isinstance(value, Tensor) else True
