"""Which operators a normal graph leaves out, and which others it has in their place."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, fx

from .sizes import same_sizes

aten = torch.ops.aten

_IDENTITY = {
    aten.alias.default, aten.clone.default, aten.contiguous.default, aten.detach.default, aten.detach_.default,
    aten.dropout.default, aten.feature_dropout.default, aten.alpha_dropout.default, aten.lift_fresh_copy.default,
    aten.lift_fresh.default, aten.slice.Tensor, aten._to_copy.default, aten.to.dtype, aten.to.dtype_layout,
    aten.to.device, aten.expand.default, aten.view.default, aten.reshape.default, aten.permute.default,
    aten._unsafe_view.default,
}  # fmt: skip
"""Operators that return their argument unchanged whenever dtype, shape and strides stay the same."""

DROPPED = {
    "_assert_async", "_assert_scalar", "_assert_tensor_metadata", "sym_constrain_range",
    "sym_constrain_range_for_size", "_functional_assert_async", "_print",
}  # fmt: skip
"""Names of operators without a result."""

FILLS: dict[Any, float | None] = {
    aten.zeros_like.default: 0, aten.ones_like.default: 1, aten.empty_like.default: 0, aten.full_like.default: None,
    aten.new_zeros.default: 0, aten.new_ones.default: 1, aten.new_empty.default: 0, aten.new_full.default: None,
    aten.empty.memory_format: 0, aten.empty_strided.default: 0, aten.new_empty_strided.default: 0,
    aten.empty_permuted.default: 0, aten.zero.default: 0, aten.fill.Scalar: None,
}  # fmt: skip
"""Tensors that depend on a shape alone, and what fills them (None: an argument). Uninitialised ones become zeros, so
that a run is reproducible."""

SHAPED_LIKE: dict[Any, Any] = {
    aten.expand_as.default: aten.expand.default,
    aten.view_as.default: aten.reshape.default,
    aten.reshape_as.default: aten.reshape.default,
}
"""By operator that takes a shape from a tensor, the one that takes its sizes."""

_REPLACED: dict[Any, Any] = {
    # A view is legal for some strides only, and strides change on a wire and with gradients. A reshape always is.
    aten.view.default: aten.reshape.default,
    aten._unsafe_view.default: aten.reshape.default,
    # torch only notes these signs on a tensor. A file and a wire hold values alone.
    aten._conj.default: aten.conj_physical.default,
    aten._conj_physical.default: aten.conj_physical.default,
    aten._neg_view.default: aten.neg.default,
}


def replacement(target: Any) -> Any:
    """The operator that stands for `target` in a normal graph: mostly `target` itself."""
    return _REPLACED.get(target, target)


def fill_place(target: Any) -> int:
    """The place of the argument that fills a tensor of `FILLS` with None."""
    return 2 if target is aten.new_full.default else 1


def changes_nothing(node: fx.Node) -> bool:
    """True for a call that returns its argument as it is, at every batch size."""
    before, after = node.args[0] if node.args else None, node.meta.get("val")
    if node.target not in _IDENTITY or not isinstance(before, fx.Node) or not isinstance(after, Tensor):
        return False
    given = before.meta.get("val")
    return (
        isinstance(given, Tensor)
        and given.dtype == after.dtype
        and given.device == after.device
        and same_sizes(given.shape, after.shape)
        and same_sizes(given.stride(), after.stride())
    )
