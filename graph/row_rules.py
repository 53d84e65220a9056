"""By operator, where samples lie in its result; see rows.py for what the rules are for."""

from __future__ import annotations

import math
import operator
import re
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, fx

from .row_calls import LOST, Call, Mixed, Own, Rows, State, Unknown, agreed, free_dims
from .sizes import per_sample, symbolic


def guess(call: Call) -> State:
    """After an operator without a rule: one dimension that counts is taken to count samples.

    Raises Mixed where the samples went in and no dimension that counts came out.
    """
    values = call.value if isinstance(call.value, (tuple, list)) else [call.value]
    states = [_guessed(value, call) for value in values]
    return tuple(states) if isinstance(call.value, (tuple, list)) else states[0]


def _guessed(value: Any, call: Call) -> State:
    if not isinstance(value, Tensor):
        return LOST
    free = free_dims(value)
    if len(free) == 1 and per_sample(value.shape[free[0]], call.fixed.batch) == 1:
        return Rows(free[0])
    if free:
        return LOST
    states = [call.state(each) for each in call.tensors]
    if any(isinstance(state, Rows) for state in states) and value.numel():
        raise Mixed
    return None if all(state is None for state in states) else LOST


def result_of(call: Call) -> State:
    """The state of a call's result, by the rule of its operator."""
    if call.target is operator.getitem:
        states = call.state(call.node.args[0])
        if not isinstance(states, tuple):
            raise Unknown
        return states[call.node.args[1]]  # type: ignore[index]
    if not isinstance(call.target, torch._ops.OpOverload):
        raise Unknown
    if call.name not in _SIZED:
        call.require_plain_numbers()
    values = call.value if isinstance(call.value, (tuple, list)) else [call.value]
    if all(call.state(each) is None for each in call.tensors) and not any(free_dims(value) for value in values):
        return tuple(None for _ in values) if isinstance(call.value, (tuple, list)) else None
    rule = _RULES.get(call.name)
    if rule is not None:
        return rule(call)
    if torch.Tag.pointwise in call.target.tags or call.name in _POINTWISE:
        return call.aligned(call.tensors)
    raise Unknown


def _dims(call: Call, name: str, ndim: int) -> list[int] | None:
    """Dimensions that a call names; None: all of them."""
    given = call[name]
    if given is None or given == []:
        return None
    return [int(dim) % max(ndim, 1) for dim in (given if isinstance(given, (list, tuple)) else [given])]


def _first(call: Call) -> tuple[fx.Node, Rows, int]:
    """The first argument, its rows, and how many dimensions it has; the others are the same for every batch."""
    node = next(iter(call.arguments.values()))
    rows = call.rows(node)
    if rows is None:
        raise Unknown
    call.require_same(*[each for each in call.tensors if each is not node])
    return node, rows, node.meta["val"].ndim


def _along(call: Call) -> State:
    """Along named dimensions: none of them may count samples."""
    if "other" in call.arguments:
        return call.aligned(call.tensors)
    _, rows, ndim = _first(call)
    dims = _dims(call, "dims" if "dims" in call.arguments else "dim", ndim)
    if dims is None or rows.dim in dims:
        raise Mixed
    return call.placed(rows.inner)


def _unfold(call: Call) -> State:
    _, rows, ndim = _first(call)
    if rows.dim == call["dimension"] % ndim:
        raise Unknown
    return call.placed(rows.inner)


def _moved(call: Call) -> State:
    """Dimensions change places, or others come and go."""
    _, rows, _ = _first(call)
    return call.placed(rows.inner)


def _reshaped(call: Call) -> State:
    """Samples stay as far apart in memory order: that distance is a whole number of entries of the new dimension."""
    node, rows, _ = _first(call)
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


def _expanded(call: Call) -> State:
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


def _repeated(call: Call) -> State:
    _, rows, _ = _first(call)
    return call.placed(rows.inner)


def _sliced(call: Call) -> State:
    node, rows, ndim = _first(call)
    if call["dim"] % ndim != rows.dim:
        call.require_plain_numbers()
        return call.placed(rows.inner)
    size = node.meta["val"].shape[rows.dim]
    if call["step"] in (1, None) and _expression(size) == _expression(call.value.shape[rows.dim]):
        return rows
    return _across(call, node, rows)


def _across(call: Call, node: fx.Node, rows: Rows) -> State:
    """Some entries of the dimension that counts: of some samples, or, where samples are folded, maybe of each."""
    raise Mixed if per_sample(node.meta["val"].shape[rows.dim], call.fixed.batch) == 1 else Unknown


def _expression(size: Any) -> Any:
    expression = symbolic(size)
    return int(size) if expression is None else expression


def _selected(call: Call) -> State:
    _, rows, ndim = _first(call)
    if call["dim"] % ndim == rows.dim:
        raise Mixed
    return call.placed(rows.inner)


def _divided(call: Call) -> State:
    node, rows, ndim = _first(call)
    if (call["dim"] or 0) % ndim != rows.dim:
        return call.placed(rows.inner)
    sizes = {_expression(each.shape[rows.dim]) for each in call.value}
    if rows.inner == {1} and sizes == {call.fixed.batch}:
        return call.placed(rows.inner)
    return _across(call, node, rows)


def _joined(call: Call) -> State:
    nodes = call["tensors"]
    ndim = nodes[0].meta["val"].ndim
    found = [call.rows(node) for node in nodes]
    rows = next(each for each in found if each is not None)
    if call["dim"] % ndim != rows.dim:
        return call.aligned(nodes)
    if all(each == Rows(rows.dim) for each in found):
        return call.placed(rows.inner)
    raise Unknown


def _stacked(call: Call) -> State:
    rows = call.aligned(call["tensors"])
    return None if rows is None else call.placed(rows.inner)


def _padded(call: Call) -> State:
    _, rows, ndim = _first(call)
    after = 2 * (ndim - 1 - rows.dim)
    if any(isinstance(each, fx.Node) or each for each in call["pad"][after : after + 2]):
        raise Mixed
    if any(isinstance(each, fx.Node) for each in call["pad"]):
        raise Unknown
    return call.placed(rows.inner)


def _last_dims(count: int | Callable[[Call], int]) -> Callable[[Call], State]:
    """Along the last dimensions, as many as `count` says: none may count samples."""

    def rule(call: Call) -> State:
        _, rows, ndim = _first(call)
        if rows.dim >= ndim - (count if isinstance(count, int) else count(call)):
            raise Unknown
        return call.placed(rows.inner)

    return rule


def _batch_first(call: Call) -> State:
    """Convolutions and normalisation in eval mode: `[batch, channels, ...]`, weights the same for all."""
    _, rows, ndim = _first(call)
    spatial = re.search(r"([123])d$", call.name)
    if rows.dim != 0 or (spatial and ndim != int(spatial[1]) + 2):
        raise Unknown
    return call.placed(rows.inner)


def _batch_norm(call: Call) -> State:
    found = _batch_first(call)
    if call["training"] or (call["running_mean"] is None and call.name == "batch_norm"):
        raise Mixed
    return found


def _linear(call: Call) -> State:
    _, rows, ndim = _first(call)
    if rows.dim == ndim - 1:
        raise Mixed
    return call.placed(rows.inner)


def _product(call: Call, left: Any, right: Any) -> State:
    """A matrix product: rows may not lie along what is summed over, and lie in a dimension of both or of one."""
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


def _matmul(call: Call) -> State:
    left, right = list(call.arguments.values())[:2]
    return _product(call, left, right)


def _matmul_on(call: Call) -> State:
    added, left, right = list(call.arguments.values())[:3]
    product, rows = _product(call, left, right), call.rows(added)
    if rows is None:
        return product
    place = rows.dim + call.value.ndim - added.meta["val"].ndim
    if place != product.dim:
        raise Mixed
    return Rows(place, agreed([rows.inner, product.inner]))


def _summed(call: Call) -> State:
    """An Einstein sum: the letter of the batch is one and the same, and stays."""
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


def _as_many(left: fx.Node, right: fx.Node, dim: int) -> bool:
    sizes = [_expression(node.meta["val"].shape[dim]) for node in (left, right)]
    return bool(sizes[0] == sizes[1])


def _written(call: Call) -> State:
    """A part along a dimension that counts no samples, replaced."""
    node, part = call["self"], call["src"]
    ndim = node.meta["val"].ndim
    dim = call["dim"] % ndim
    found = [call.rows(node), call.rows(part)]
    if call.name == "select_scatter" and found[1] is not None and found[1].dim >= dim:
        found[1] = Rows(found[1].dim + 1, found[1].inner)
    given = [rows for rows in found if rows is not None]
    if len({rows.dim for rows in given}) > 1:
        raise Mixed
    if given[0].dim == dim and not (call["step"] == 1 and _as_many(node, part, dim)):
        return _across(call, node, given[0])
    return call.placed(agreed([rows.inner for rows in given]))


def _attention(call: Call) -> State:
    nodes = [call["query"], call["key"], call["value"], *([call["attn_mask"]] if call["attn_mask"] else [])]
    for node in nodes[:3]:
        rows = call.rows(node)
        if rows is not None and rows.dim - node.meta["val"].ndim > -3:
            raise Mixed
    rows = call.aligned(nodes)
    return rows if rows is None else call.placed(rows.inner)


def _recurrent(call: Call) -> State:
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


def _looked_up(call: Call) -> State:
    call.require_same(call["weight"])
    rows = call.rows(call["indices"])
    return None if rows is None else call.placed(rows.inner)


def _gathered(call: Call) -> State:
    """Along another dimension, with everything else aligned."""
    rows = call.aligned(call.tensors)
    if rows is not None and call["dim"] is not None and call["dim"] % call["self"].meta["val"].ndim == rows.dim:
        return _across(call, call["self"], rows)
    return rows if rows is None else call.placed(rows.inner)


def _index_select(call: Call) -> State:
    rows, picked = call.rows(call["self"]), call.rows(call["index"])
    if rows is not None and picked is not None:
        raise Unknown
    if rows is not None and call["dim"] % call["self"].meta["val"].ndim == rows.dim:
        return _across(call, call["self"], rows)
    return call.placed((rows or picked or Rows(0)).inner)


def _indexed(call: Call) -> State:
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
        return _across(call, call["self"], rows)
    return call.placed(rows.inner)


def _table() -> Iterator[tuple[str, Callable[[Call], State]]]:
    kinds: dict[Callable[[Call], State], str] = {
        _along: """sum mean amax amin max min argmax argmin any all prod var std var_mean std_mean norm median nanmedian
            linalg_vector_norm logsumexp softmax log_softmax _softmax _log_softmax cumsum cumprod cummax cummin
            logcumsumexp sort argsort topk flip roll kthvalue mode glu nansum nanmean count_nonzero aminmax diff
            fft_fft fft_ifft fft_rfft fft_irfft fft_fft2 fft_ifft2 fft_rfft2 fft_irfft2 _fft_r2c _fft_c2c _fft_c2r
            """,
        _unfold: "unfold",
        _moved: """permute transpose t numpy_T movedim moveaxis swapaxes swapdims mT view_as_real view_as_complex real
            imag one_hot contiguous""",
        _reshaped: "view reshape _unsafe_view flatten unflatten squeeze unsqueeze view_as reshape_as",
        _expanded: "expand",
        _repeated: "repeat",
        _sliced: "slice narrow",
        _selected: "select",
        _divided: "split split_with_sizes chunk unbind",
        _joined: "cat concat",
        _stacked: "stack",
        _padded: "constant_pad_nd pad",
        _batch_first: """conv1d conv2d conv3d conv_transpose1d conv_transpose2d conv_transpose3d group_norm
            instance_norm""",
        _batch_norm: "batch_norm _native_batch_norm_legit_no_training",
        _last_dims(3): "pixel_shuffle pixel_unshuffle im2col",
        _last_dims(2): "tril triu col2im",
        _last_dims(lambda call: len(call["normalized_shape"])): "layer_norm native_layer_norm rms_norm",
        _linear: "linear",
        _matmul: "matmul mm bmm",
        _matmul_on: "addmm baddbmm",
        _summed: "einsum",
        _written: "slice_scatter select_scatter",
        _attention: "scaled_dot_product_attention",
        _recurrent: "lstm gru rnn_tanh rnn_relu",
        _looked_up: "embedding",
        _gathered: "gather take_along_dim",
        _index_select: "index_select",
        _indexed: "index",
    }
    for rule, names in kinds.items():
        for name in names.split():
            yield name, rule
    for dims in (1, 2, 3):
        for name in _SPATIAL:
            yield name.format(dims), _last_dims(dims)


_SPATIAL = (
    "max_pool{}d", "avg_pool{}d", "adaptive_avg_pool{}d", "_adaptive_avg_pool{}d", "max_pool{}d_with_indices",
    "upsample_nearest{}d", "_upsample_nearest_exact{}d", "reflection_pad{}d", "replication_pad{}d",
    "upsample_linear{}d", "upsample_bilinear{}d", "upsample_bicubic{}d", "upsample_trilinear{}d",
)  # fmt: skip

_RULES: dict[str, Callable[[Call], State]] = dict(_table())

_POINTWISE = {
    "_to_copy", "to", "prelu", "hardswish", "dropout", "floor_divide", "resolve_conj", "log_sigmoid", "divide",
    "multiply", "subtract", "__and__", "__or__", "clone", "alias", "detach", "softplus", "relu6", "selu", "type_as",
    "where", "fill",
}  # fmt: skip
"""Entry by entry, though torch does not tag them so."""

_SIZED = {
    "view", "reshape", "_unsafe_view", "expand", "slice", "split", "split_with_sizes", "repeat", "unflatten", "chunk",
    "narrow",
}  # fmt: skip
"""Their rules look at the sizes of the results. A number that an argument has for a size changes no value."""
