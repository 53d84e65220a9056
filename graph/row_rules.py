"""By operator, the rule that says where samples lie in its result (see `rows`)."""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor

from . import row_math_rules as computed
from . import row_view_rules as viewed
from .row_calls import LOST, Call, Mixed, Rows, State, Unknown
from .sizes import free_dims, per_sample


def guess(call: Call) -> State:
    """The state after an operator without a rule: a single dimension that counts is taken to count samples.

    Raises:
        Mixed: samples went in, and no dimension that counts came out.
    """
    states = tuple(_guessed(value, call) for value in call.values)
    return states if call.several else states[0]


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
    """The state of a call's result, by the rule of its operator.

    Raises:
        Mixed: samples read each other.
        Unknown: no rule covers the call.
    """
    if call.target is operator.getitem:
        states = call.state(call.node.args[0])
        if not isinstance(states, tuple):
            raise Unknown
        return states[call.node.args[1]]  # type: ignore[index]
    if not isinstance(call.target, torch._ops.OpOverload):
        raise Unknown
    if call.name not in _SIZED:
        call.require_plain_numbers()
    if all(call.state(each) is None for each in call.tensors) and not any(free_dims(value) for value in call.values):
        return tuple(None for _ in call.values) if call.several else None
    rule = _RULES.get(call.name)
    if rule is not None:
        return rule(call)
    if torch.Tag.pointwise in call.target.tags or call.name in _POINTWISE:
        return call.aligned(call.tensors)
    raise Unknown


_SPATIAL = (
    "max_pool{}d", "avg_pool{}d", "adaptive_avg_pool{}d", "_adaptive_avg_pool{}d", "max_pool{}d_with_indices",
    "upsample_nearest{}d", "_upsample_nearest_exact{}d", "reflection_pad{}d", "replication_pad{}d",
    "upsample_linear{}d", "upsample_bilinear{}d", "upsample_bicubic{}d", "upsample_trilinear{}d",
)  # fmt: skip


def _table() -> Iterator[tuple[str, Callable[[Call], State]]]:
    kinds: dict[Callable[[Call], State], str] = {
        computed.along_dims: """sum mean amax amin max min argmax argmin any all prod var std var_mean std_mean norm
            median nanmedian linalg_vector_norm logsumexp softmax log_softmax _softmax _log_softmax cumsum cumprod
            cummax cummin logcumsumexp sort argsort topk flip roll kthvalue mode glu nansum nanmean count_nonzero
            aminmax diff fft_fft fft_ifft fft_rfft fft_irfft fft_fft2 fft_ifft2 fft_rfft2 fft_irfft2 _fft_r2c _fft_c2c
            _fft_c2r""",
        viewed.unfolded: "unfold",
        viewed.rearranged: """permute transpose t numpy_T movedim moveaxis swapaxes swapdims mT view_as_real
            view_as_complex real imag one_hot contiguous repeat""",
        viewed.reshaped: "view reshape _unsafe_view flatten unflatten squeeze unsqueeze view_as reshape_as",
        viewed.expanded: "expand",
        viewed.sliced: "slice narrow",
        viewed.selected: "select",
        viewed.divided: "split split_with_sizes chunk unbind",
        viewed.joined: "cat concat",
        viewed.stacked: "stack",
        viewed.padded: "constant_pad_nd pad",
        computed.batch_first: """conv1d conv2d conv3d conv_transpose1d conv_transpose2d conv_transpose3d group_norm
            instance_norm""",
        computed.batch_norm: "batch_norm _native_batch_norm_legit_no_training",
        computed.along_last(3): "pixel_shuffle pixel_unshuffle im2col",
        computed.along_last(2): "tril triu col2im",
        computed.along_last(lambda call: len(call["normalized_shape"])): "layer_norm native_layer_norm rms_norm",
        computed.linear: "linear",
        computed.matrix_product: "matmul mm bmm",
        computed.added_product: "addmm baddbmm",
        computed.einstein_sum: "einsum",
        viewed.written: "slice_scatter select_scatter",
        computed.attention: "scaled_dot_product_attention",
        computed.recurrent: "lstm gru rnn_tanh rnn_relu",
        computed.looked_up: "embedding",
        viewed.gathered: "gather take_along_dim",
        viewed.index_select: "index_select",
        viewed.indexed: "index",
    }
    for rule, names in kinds.items():
        for name in names.split():
            yield name, rule
    for dims in (1, 2, 3):
        for name in _SPATIAL:
            yield name.format(dims), computed.along_last(dims)


_RULES: dict[str, Callable[[Call], State]] = dict(_table())

_POINTWISE = {
    "_to_copy", "to", "prelu", "hardswish", "dropout", "floor_divide", "resolve_conj", "log_sigmoid", "divide",
    "multiply", "subtract", "__and__", "__or__", "clone", "alias", "detach", "softplus", "relu6", "selu", "type_as",
    "where", "fill",
}  # fmt: skip
"""Pointwise operators that torch does not tag as such."""

_SIZED = {
    "view", "reshape", "_unsafe_view", "expand", "slice", "split", "split_with_sizes", "repeat", "unflatten", "chunk",
    "narrow",
}  # fmt: skip
"""Their rules look at the sizes of the results. A number that serves as a size changes no value."""
