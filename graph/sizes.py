"""The sizes of a traced tensor: plain numbers, multiples of the batch, or neither.

A size may also depend on tensor values (the rows that a boolean mask keeps). It is symbolic too, so the functions here
take the batch's own symbol: no other symbol counts samples.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

if TYPE_CHECKING:
    import sympy  # a device, which traces nothing, need not import it


def symbolic(size: Any) -> sympy.Expr | None:
    """The expression of a size; None for a plain integer."""
    if isinstance(size, torch.SymInt):
        expression = size.node.expr
        return None if expression.is_number else expression
    return None


def size_of(size: Any) -> sympy.Expr | int:
    """The expression of a size, or its integer."""
    expression = symbolic(size)
    return int(size) if expression is None else expression


def same_sizes(left: Iterable[Any], right: Iterable[Any]) -> bool:
    """True where two shapes, or strides, are equal at every batch size.

    Sizes are compared as expressions. torch answers `batch == 2` by the example's batch, and an answer of yes makes
    every size of the graph the constant 2. It refuses to compare sizes that depend on values.
    """
    return [size_of(size) for size in left] == [size_of(size) for size in right]


def free_dims(value: Any) -> list[int]:
    """The dimensions of a tensor whose size is no plain number; empty for anything else than a tensor."""
    shape = value.shape if isinstance(value, Tensor) else ()
    return [dim for dim, size in enumerate(shape) if symbolic(size) is not None]


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
    """A size at batch 1. A size that depends on values counts as 1: it is not known in advance."""
    expression = symbolic(size)
    if expression is None:
        return int(size)
    return int(expression.subs(dict.fromkeys(expression.free_symbols, 1)))


def has_fixed_shape(value: Any, batch: sympy.Expr | None) -> bool:
    """True for a number, and for a tensor whose shape does not depend on values."""
    return all(counts_on_batch(size, batch) for size in value.shape) if isinstance(value, Tensor) else True
