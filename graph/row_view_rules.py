"""Rules for operators that rearrange, select or join entries (see `rows`): where samples lie in their results."""

from __future__ import annotations

import math

import torch
from torch import fx

from .row_calls import LOST, Call, Mixed, Own, Rows, State, Unknown, agreed
from .sizes import free_dims, per_sample, same_sizes, size_of


def unfolded(call: Call) -> State:
    """Windows along a dimension that does not count samples."""
    _, rows, ndim = call.first()
    if rows.dim == call["dimension"] % ndim:
        raise Unknown
    return call.placed(rows.inner)


def rearranged(call: Call) -> State:
    """Dimensions change places or are repeated, or others come and go."""
    _, rows, _ = call.first()
    return call.placed(rows.inner)


def reshaped(call: Call) -> State:
    """Samples keep their distance in memory order, which must be a whole number of entries of the new dimension."""
    node, rows, _ = call.first()
    free = free_dims(call.value)
    if len(free) != 1:
        raise Unknown
    after = math.prod(int(size) for size in call.value.shape[free[0] + 1 :])
    before = math.prod(int(size) for size in node.meta["val"].shape[rows.dim + 1 :])
    groups = per_sample(call.value.shape[free[0]], call.fixed.batch)
    if groups is None or not after or not before:
        raise Unknown
    distances = [n * before for n in rows.inner]
    inner = frozenset(n // after for n in distances if n % after == 0 and groups % (n // after) == 0)
    if not inner:
        raise Unknown
    return Rows(free[0], inner)


def expanded(call: Call) -> State:
    """A dimension of size 1 repeated, which may become the one that counts samples."""
    node = call["self"]
    rows = call.rows(node)
    free = free_dims(call.value)
    if len(free) > 1:
        raise Mixed
    if rows is not None:
        return call.placed(rows.inner)
    if per_sample(call.value.shape[free[0]], call.fixed.batch) != 1:
        raise Unknown
    return Rows(free[0])


def sliced(call: Call) -> State:
    """A range of entries: of another dimension, or all samples."""
    node, rows, ndim = call.first()
    if call["dim"] % ndim != rows.dim:
        call.require_plain_numbers()
        return call.placed(rows.inner)
    size = node.meta["val"].shape[rows.dim]
    if call["step"] in (1, None) and size_of(size) == size_of(call.value.shape[rows.dim]):
        return rows
    return call.across(node, rows)


def selected(call: Call) -> State:
    """One entry of another dimension."""
    _, rows, ndim = call.first()
    if call["dim"] % ndim == rows.dim:
        raise Mixed
    return call.placed(rows.inner)


def divided(call: Call) -> State:
    """Pieces along another dimension, or pieces of one whole batch each."""
    node, rows, ndim = call.first()
    if (call["dim"] or 0) % ndim != rows.dim:
        return call.placed(rows.inner)
    sizes = {size_of(each.shape[rows.dim]) for each in call.value}
    if rows.inner == {1} and sizes == {call.fixed.batch}:
        return call.placed(rows.inner)
    return call.across(node, rows)


def joined(call: Call) -> State:
    """Tensors side by side, along another dimension or batch after batch."""
    nodes = call["tensors"]
    ndim = nodes[0].meta["val"].ndim
    found = [call.rows(node) for node in nodes]
    rows = next(each for each in found if each is not None)
    if call["dim"] % ndim != rows.dim:
        return call.aligned(nodes)
    if all(each == Rows(rows.dim) for each in found):
        return call.placed(rows.inner)
    raise Unknown


def stacked(call: Call) -> State:
    """Tensors along a new dimension."""
    rows = call.aligned(call["tensors"])
    return None if rows is None else call.placed(rows.inner)


def padded(call: Call) -> State:
    """Entries added at the ends of other dimensions."""
    _, rows, ndim = call.first()
    after = 2 * (ndim - 1 - rows.dim)
    if any(isinstance(each, fx.Node) or each for each in call["pad"][after : after + 2]):
        raise Mixed
    if any(isinstance(each, fx.Node) for each in call["pad"]):
        raise Unknown
    return call.placed(rows.inner)


def written(call: Call) -> State:
    """A part along a dimension that does not count samples is replaced."""
    node, part = call["self"], call["src"]
    ndim = node.meta["val"].ndim
    dim = call["dim"] % ndim
    found = [call.rows(node), call.rows(part)]
    if call.name == "select_scatter" and found[1] is not None and found[1].dim >= dim:
        found[1] = Rows(found[1].dim + 1, found[1].inner)
    given = [rows for rows in found if rows is not None]
    if len({rows.dim for rows in given}) > 1:
        raise Mixed
    if given[0].dim == dim and not (call["step"] == 1 and _same_length(node, part, dim)):
        return call.across(node, given[0])
    return call.placed(agreed([rows.inner for rows in given]))


def gathered(call: Call) -> State:
    """Entries picked along another dimension, with everything else aligned."""
    rows = call.aligned(call.tensors)
    if rows is not None and call["dim"] is not None and call["dim"] % call["self"].meta["val"].ndim == rows.dim:
        return call.across(call["self"], rows)
    return rows if rows is None else call.placed(rows.inner)


def index_select(call: Call) -> State:
    """Rows picked from another dimension, or from a table that is the same for all."""
    rows, picked = call.rows(call["self"]), call.rows(call["index"])
    if rows is not None and picked is not None:
        raise Unknown
    if rows is not None and call["dim"] % call["self"].meta["val"].ndim == rows.dim:
        return call.across(call["self"], rows)
    return call.placed((rows or picked or Rows(0)).inner)


def indexed(call: Call) -> State:
    """Each sample's own rows, by `arange(batch)` along the batch and an index for each; or the same for all."""
    rows, indices = call.rows(call["self"]), call["indices"]
    states = [call.state(each) for each in indices]
    if any(state == LOST for state in states):
        raise Unknown
    if any(each is not None and each.meta["val"].dtype == torch.bool for each in indices):
        raise Unknown
    ndim = max(each.meta["val"].ndim for each in indices if each is not None)
    places = {
        state.dim + ndim - each.meta["val"].ndim
        for state, each in zip(states, indices, strict=True)
        if isinstance(state, (Rows, Own))
    }
    inner = [state.inner for state in states if isinstance(state, Rows)]
    own = [position for position, state in enumerate(states) if isinstance(state, Own)]
    if rows is None:
        if own:
            raise Mixed
        if len(places) != 1:
            raise Unknown
        return call.placed(agreed(inner))
    if own:
        if own != [rows.dim] or len(places) != 1 or any(each != {1} for each in [rows.inner, *inner]):
            raise Mixed
        return call.placed(rows.inner)
    if inner:
        raise Unknown
    if rows.dim < len(indices) and indices[rows.dim] is not None:
        return call.across(call["self"], rows)
    return call.placed(rows.inner)


def _same_length(left: fx.Node, right: fx.Node, dim: int) -> bool:
    return same_sizes(*([node.meta["val"].shape[dim]] for node in (left, right)))
