"""Views that cost nothing: either side of a cut recomputes them from the tensor that they view."""

from __future__ import annotations

import torch
from torch import fx

aten = torch.ops.aten

FREE_VIEWS = frozenset({
    aten.view.default, aten._unsafe_view.default, aten.reshape.default, aten.flatten.using_ints,
    aten.unflatten.int, aten.permute.default, aten.transpose.int, aten.t.default, aten.numpy_T.default,
    aten.squeeze.default, aten.squeeze.dim, aten.squeeze.dims, aten.unsqueeze.default, aten.movedim.int,
    aten.movedim.intlist, aten.alias.default, aten.clone.default, aten.contiguous.default, aten.view_as.default,
    aten.view_as_complex.default,
})  # fmt: skip
"""Invertible rearrangements: the same numbers, so the same information and the same payload."""

_PAIRS = (aten.view_as_real.default, aten.resolve_conj.default)


def shows_input(node: fx.Node) -> bool:
    """True for an input, a free view of it, and a complex input as pairs of real numbers."""
    while node.target in _PAIRS or node.target in FREE_VIEWS:
        node = node.args[0]  # type: ignore[assignment]
    return node.op == "placeholder"
