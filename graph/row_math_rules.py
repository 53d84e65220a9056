"""Rules for operators that compute along dimensions (see `rows`): where samples lie in their results."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from .row_calls import Call, Mixed, Rows, State, Unknown, agreed


def _dims(call: Call, name: str, ndim: int) -> list[int] | None:
    """Dimensions that a call names; None: all of them."""
    given = call[name]
    if given is None or given == []:
        return None
    return [int(dim) % max(ndim, 1) for dim in (given if isinstance(given, (list, tuple)) else [given])]


def along_dims(call: Call) -> State:
    """A reduction, scan or sort along named dimensions: none of them may count samples."""
    if "other" in call.arguments:
        return call.aligned(call.tensors)
    _, rows, ndim = call.first()
    dims = _dims(call, "dims" if "dims" in call.arguments else "dim", ndim)
    if dims is None or rows.dim in dims:
        raise Mixed
    return call.placed(rows.inner)


def along_last(count: int | Callable[[Call], int]) -> Callable[[Call], State]:
    """The rule for operators along the last `count` dimensions: none of them may count samples."""

    def rule(call: Call) -> State:
        _, rows, ndim = call.first()
        if rows.dim >= ndim - (count if isinstance(count, int) else count(call)):
            raise Unknown
        return call.placed(rows.inner)

    return rule


def batch_first(call: Call) -> State:
    """Convolutions and normalisation in eval mode: `[batch, channels, ...]`, weights the same for all."""
    _, rows, ndim = call.first()
    spatial = re.search(r"([123])d$", call.name)
    if rows.dim != 0 or (spatial and ndim != int(spatial[1]) + 2):
        raise Unknown
    return call.placed(rows.inner)


def batch_norm(call: Call) -> State:
    """As `batch_first`; statistics that are taken from the batch mix its samples."""
    found = batch_first(call)
    if call["training"] or (call["running_mean"] is None and call.name == "batch_norm"):
        raise Mixed
    return found


def linear(call: Call) -> State:
    """A product with weights along the last dimension."""
    _, rows, ndim = call.first()
    if rows.dim == ndim - 1:
        raise Mixed
    return call.placed(rows.inner)


def _product(call: Call, left: Any, right: Any) -> State:
    """A matrix product: samples are not summed over, and lie in one factor or in the same place of both."""
    if min(each.meta["val"].ndim for each in (left, right)) < 2:
        raise Unknown
    found = [call.rows(each) for each in (left, right)]
    places = [rows and rows.dim - each.meta["val"].ndim for rows, each in zip(found, (left, right), strict=True)]
    if places[0] == -1 or places[1] == -2:
        raise Mixed
    given = [rows for rows in found if rows is not None]
    if not given:
        raise Unknown
    inner = agreed([rows.inner for rows in given])
    if len(given) == 2 and (places[0] != places[1] or places[0] > -3):  # type: ignore[operator]
        raise Mixed
    return call.placed(inner)


def matrix_product(call: Call) -> State:
    """A product of the first two arguments."""
    left, right = list(call.arguments.values())[:2]
    return _product(call, left, right)


def added_product(call: Call) -> State:
    """A product of the second and third argument, added to the first."""
    added, left, right = list(call.arguments.values())[:3]
    product, rows = _product(call, left, right), call.rows(added)
    if rows is None:
        return product
    place = rows.dim + call.value.ndim - added.meta["val"].ndim
    if place != product.dim:
        raise Mixed
    return Rows(place, agreed([rows.inner, product.inner]))


def einstein_sum(call: Call) -> State:
    """An Einstein sum: one letter stands for the batch in all terms, and in the result."""
    terms, _, result = call["equation"].replace(" ", "").partition("->")
    if not result or "." in terms:
        raise Unknown
    letters, inner = set(), []
    found = [call.rows(node) for node in call["tensors"]]
    for rows, term in zip(found, terms.split(","), strict=True):
        if rows is not None:
            letters.add(term[rows.dim])
            inner.append(rows.inner)
    if len(letters) > 1 or not letters <= set(result):
        raise Mixed
    if any(rows is None and letters & set(term) for rows, term in zip(found, terms.split(","), strict=True)):
        raise Unknown
    return call.placed(agreed(inner))


def attention(call: Call) -> State:
    """Queries, keys and values `[batch, ..., places, width]`: places and width do not count samples."""
    nodes = [call["query"], call["key"], call["value"], *([call["attn_mask"]] if call["attn_mask"] else [])]
    for node in nodes[:3]:
        rows = call.rows(node)
        if rows is not None and rows.dim - node.meta["val"].ndim > -3:
            raise Mixed
    rows = call.aligned(nodes)
    return rows if rows is None else call.placed(rows.inner)


def recurrent(call: Call) -> State:
    """`[batch, time, ...]` or `[time, batch, ...]`; states are `[layers, batch, ...]`."""
    hidden = call["hx"] if isinstance(call["hx"], (list, tuple)) else [call["hx"]]
    rows, dim = call.rows(call["input"]), 0 if call["batch_first"] else 1
    if call["input"] is None or call["input"].meta["val"].ndim != 3 or rows is None:
        raise Unknown
    if rows.dim != dim:
        raise Mixed
    if any(call.rows(each) not in (None, Rows(1)) for each in hidden):
        raise Unknown
    call.require_same(*call["params"])
    return call.placed(rows.inner)


def looked_up(call: Call) -> State:
    """An embedding: each index becomes a row of a table that is the same for all."""
    call.require_same(call["weight"])
    rows = call.rows(call["indices"])
    return None if rows is None else call.placed(rows.inner)
