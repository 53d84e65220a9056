"""The operators that a program file may name: functional ATen operators without randomness, files or raw memory.

The list is explicit. An operator is added here only after its schema was read: it writes nowhere but to its
result, draws no random numbers and touches nothing outside its arguments.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch

from ..records import RecordError, TraceError

ALLOWED_ATEN = frozenset(
    """
    __and__ __or__ __xor__ _adaptive_avg_pool2d _adaptive_avg_pool3d _cdist_forward _fft_c2c _fft_c2r _fft_r2c
    _log_softmax _native_batch_norm_legit _native_batch_norm_legit_no_training _pdist_forward
    _scaled_dot_product_flash_attention_for_cpu _softmax _to_copy _trilinear _unsafe_index _unsafe_view
    _upsample_bicubic2d_aa _upsample_bilinear2d_aa _weight_norm _weight_norm_interface abs acos acosh
    adaptive_avg_pool1d adaptive_avg_pool2d adaptive_max_pool2d add addcdiv addcmul addmm affine_grid_generator
    alias all amax amin aminmax angle any arange argmax argmin argsort asin asinh atan atan2 atanh avg_pool1d
    avg_pool2d avg_pool3d baddbmm batch_norm bitwise_and bitwise_left_shift bitwise_not bitwise_or
    bitwise_right_shift bitwise_xor bmm broadcast_tensors bucketize cat cdist ceil celu chunk clamp clamp_max
    clamp_min clone col2im complex concat constant_pad_nd contiguous conv1d conv2d conv3d conv_transpose1d
    conv_transpose2d conv_transpose3d convolution copy cos cosh cross cummax cummin cumprod cumsum deg2rad
    diag_embed diagonal diff digamma div dot einsum elu embedding eq erf erfc erfinv exp exp2 expand expand_as
    expm1 eye fft_fft fft_fft2 fft_fftn fft_fftshift fft_ifft fft_ifft2 fft_ifftshift fft_irfft fft_irfft2
    fft_irfftn fft_rfft fft_rfft2 fft_rfftn fill flatten flip floor floor_divide fmax fmin fmod frac full
    full_like gather ge gelu glu grid_sampler grid_sampler_2d grid_sampler_3d group_norm gru gt hardshrink
    hardsigmoid hardswish hardtanh hstack hypot im2col imag index index_add index_copy index_fill index_put
    index_select instance_norm isclose isfinite isinf isnan kthvalue layer_norm le leaky_relu lerp lgamma
    linalg_cross linalg_inv linalg_vector_norm linear linspace log log10 log1p log2 log_sigmoid_forward
    log_softmax logaddexp logcumsumexp logical_and logical_not logical_or logical_xor logit logspace logsumexp
    lstm lt masked_fill masked_scatter matmul max max_pool1d max_pool2d max_pool2d_with_indices max_pool3d
    max_pool3d_with_indices maximum mean median meshgrid min minimum mish mm movedim mul mv nan_to_num narrow
    native_group_norm native_layer_norm ne neg new_full new_ones new_zeros norm numpy_T one_hot ones ones_like
    outer pad permute pixel_shuffle pixel_unshuffle pow prelu prod rad2deg real reciprocal reflection_pad1d
    reflection_pad2d reflection_pad3d relu relu6 remainder renorm repeat repeat_interleave replication_pad1d
    replication_pad2d replication_pad3d reshape resolve_conj resolve_neg rms_norm roll rot90 round rsqrt rsub
    scalar_tensor scaled_dot_product_attention scatter scatter_add scatter_reduce searchsorted select
    select_scatter selu sgn sigmoid sign signbit silu sin sinc sinh slice slice_scatter softmax softplus
    softshrink sort special_expit split split_with_sizes sqrt square squeeze stack std std_mean sub sum swapaxes
    sym_size t take_along_dim tan tanh tensor_split threshold tile to topk transpose tril tril_indices triu
    triu_indices trunc type_as unbind unflatten unfold unsqueeze upsample_bicubic2d upsample_bilinear2d
    upsample_linear1d upsample_nearest1d upsample_nearest2d upsample_nearest3d upsample_trilinear3d var var_mean
    _conj_physical conj_physical polar
    view view_as view_as_complex view_as_real vstack where xlogy zero zeros zeros_like
    """.split()  # noqa: SIM905 (a list, one word a line, would be 300 lines long)
)

_RANDOM_IN_TRAINING = {"dropout", "feature_dropout", "alpha_dropout", "native_dropout", "rrelu", "lstm", "gru"}

_PYTHON: dict[str, Callable[..., Any]] = {
    "add": operator.add, "sub": operator.sub, "mul": operator.mul, "floordiv": operator.floordiv,
    "truediv": operator.truediv, "mod": operator.mod, "neg": operator.neg, "pow": operator.pow,
    "eq": operator.eq, "ne": operator.ne, "lt": operator.lt, "le": operator.le, "gt": operator.gt, "ge": operator.ge,
    "getitem": operator.getitem, "sym_float": torch.sym_float, "sym_max": torch.sym_max, "sym_min": torch.sym_min,
    "sym_int": torch.sym_int, "floor": math.floor, "ceil": math.ceil, "trunc": math.trunc,
}  # fmt: skip
_PYTHON_NAMES = {function: name for name, function in _PYTHON.items()}


def draws_random_numbers(target: torch._ops.OpOverload, args: Sequence[Any], kwargs: Mapping[str, Any]) -> bool:
    """True where a call depends on the random number generator (an attention without dropout does not)."""
    if torch.Tag.nondeterministic_seeded not in target.tags:
        return False
    given = {argument.name: argument.default_value for argument in target._schema.arguments}
    given.update(zip(given, args, strict=False))
    given.update(kwargs)
    name = target._schema.name.split("::")[1]
    if name == "scaled_dot_product_attention":
        return given["dropout_p"] != 0
    if name in _RANDOM_IN_TRAINING:
        return bool(given.get("train", given.get("training"))) and given.get("dropout", 1.0) != 0
    return True


def name_of(target: Any) -> str:
    """`aten.conv2d.default` or `python.getitem`.

    Raises:
        TraceError: an operator outside the allow-list.
    """
    if isinstance(target, torch._ops.OpOverload):
        namespace, name = target._schema.name.split("::")
        if namespace == "aten" and name in ALLOWED_ATEN:
            return f"aten.{name}.{target._overloadname}"
        raise TraceError(
            f"the model uses {target}, which is not on the list of operators that a plan may carry "
            "(graph/operators.py); replace it, or add it there if it is functional and deterministic"
        )
    if target in _PYTHON_NAMES:
        return f"python.{_PYTHON_NAMES[target]}"
    raise TraceError(f"the traced graph calls {target}, which is no ATen operator")


def function_of(name: Any) -> Callable[..., Any]:
    """The operator that a file names.

    Raises:
        RecordError: a name that is not on the allow-list, or an overload that writes in place.
    """
    parts = name.split(".") if isinstance(name, str) else []
    if len(parts) == 2 and parts[0] == "python" and parts[1] in _PYTHON:
        return _PYTHON[parts[1]]
    if len(parts) == 3 and parts[0] == "aten" and parts[1] in ALLOWED_ATEN:
        packet = getattr(torch.ops.aten, parts[1], None)
        if packet is not None and parts[2] in packet.overloads():
            overload = getattr(packet, parts[2])
            if not overload._schema.is_mutable:
                function: Callable[..., Any] = overload
                return function
    raise RecordError(f"operator {name!r} is not on the list of operators that a program may name")
