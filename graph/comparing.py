"""Compares outputs: bit for bit, up to the precision of a dtype, or up to how kernels round by batch size."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

_ALIKE = {torch.float16: 0.1, torch.bfloat16: 0.1}
"""By dtype, how far a sample's numbers in a batch may be from those of the sample alone, as a share of the largest.
Kernels round by batch size. A division by the number of samples changes far more."""

_ALIKE_ELSE = 0.01


def same_values(left: Any, right: Any) -> bool:
    """Bitwise equality of two output structures (NaN equals NaN).

    Args:
        left: tensors and plain values in tuples, lists and dicts.
        right: the same.

    Examples:
        >>> from collabplan.graph import same_values
        >>> nan = torch.tensor([1.0, float("nan")])
        >>> same_values({"y": nan}, {"y": nan.clone()}), same_values(nan, nan.double())
        (True, False)
    """
    return _compare(left, right, lambda a, b: bool(((a == b) | ((a != a) & (b != b))).all()))


def close_values(left: Any, right: Any) -> bool:
    """Equality of two output structures up to rounding, each tensor by the precision of its dtype.

    Args:
        left: tensors and plain values in tuples, lists and dicts.
        right: the same.

    Examples:
        >>> from collabplan.graph import close_values
        >>> close_values(torch.ones(2), torch.ones(2) + 1e-6), close_values(torch.ones(2), torch.zeros(2))
        (True, False)
    """
    return _compare(left, right, _close)


def alike(row: Tensor, alone: Tensor) -> bool:
    """True where a sample's numbers in a batch are those of the sample alone, up to how kernels round by batch size.

    Integers and booleans are not rounded.
    """
    if row.is_complex():
        return alike(torch.view_as_real(row), torch.view_as_real(alone))
    if not row.is_floating_point():
        return bool(torch.equal(row, alone))
    if not torch.equal(row.isnan(), alone.isnan()):
        return False
    if not row.numel() or not bool(row.isfinite().all()):
        return True
    gap = float((row.double() - alone.double()).abs().amax())
    return gap <= _ALIKE.get(row.dtype, _ALIKE_ELSE) * float(row.double().abs().amax())


def _close(left: Tensor, right: Tensor) -> bool:
    if left.dtype not in (torch.float16, torch.bfloat16):
        return torch.allclose(left, right, rtol=1e-3, atol=1e-4, equal_nan=True)
    coarse = 4 * torch.finfo(left.dtype).eps
    left, right = left.float(), right.float()
    size = float(right.nan_to_num(0, 0, 0).abs().max()) if right.numel() else 0.0
    return torch.allclose(left, right, rtol=coarse, atol=max(coarse * size, 1e-4), equal_nan=True)


def _compare(left: Any, right: Any, equal: Callable[[Tensor, Tensor], bool]) -> bool:
    left_leaves, right_leaves = pytree.tree_leaves(left), pytree.tree_leaves(right)
    if len(left_leaves) != len(right_leaves):
        return False
    for a, b in zip(left_leaves, right_leaves, strict=True):
        if isinstance(a, Tensor) and isinstance(b, Tensor):
            if a.dtype != b.dtype or a.shape != b.shape or not equal(a, b):
                return False
        elif isinstance(a, Tensor) or isinstance(b, Tensor) or a != b:
            return False
    return True
