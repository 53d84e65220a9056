"""Which ATen operators a program file may name: decided by each operator's schema, minus an explicit list.

A bundle may come from a stranger, so this is a safety boundary. An overload is admitted where

* it is torch's own (`aten`), registered with the dispatcher, and has a kernel for the CPU or is composed of operators
  that have one;
* its schema writes to nothing (no argument is mutable) and its results are tensors alone;
* its arguments are tensors, numbers, booleans, strings, dtypes, layouts, memory formats and devices: no generator,
  storage, stream or quantizer;
* its tags say that it draws no random numbers and that the size of its result does not depend on tensor values, or
  `_BY_ARGUMENTS` says for which arguments that holds;
* its name is public: public operators check their arguments, private kernels (`_name`) trust their caller;
* no entry of `_FAMILIES` or `_DENIED` excludes it.

Why each class of the remaining operators is safe to load from a stranger:

*Composites* (`linear`, `tensordot`, `cosine_similarity`, `stft`, losses, cells). They have no kernel: they call
other operators, which check every access to memory. A file could spell out node by node what a composite does.

*Pointwise operators and reductions* (`add`, `special_erfcx`, `quantile`, `norm`). `TensorIterator` derives every
address from the sizes and strides of real tensors after broadcasting, and refuses what does not fit. Their results
are as large as the broadcast arguments. Operators whose number of iterations is a *value* are denied (orthogonal
polynomials).

*Views and copies* (`narrow`, `diagonal`, `unfold`, `cat`, `block_diag`). Sizes and offsets are checked against the
tensor's own. The operators that take strides unchecked (`as_strided`, `set`, `resize`) are denied, and so are those
that show uninitialised memory (`empty` and its kin).

*Indexing* (`gather`, `take`, `index_put`, `embedding_bag`, `max_unpool2d`). Each index is compared with the size of
the dimension that it addresses before it is used. Kernels that do not check are denied (`ctc_loss`) or guarded
(`embedding_bag`).

*Sized by numbers* (`full`, `arange`, `pad`, `adaptive_avg_pool3d`, `fft` with `n`, window functions). They allocate
what the numbers in the file ask for, once, and compute from there. A request beyond the memory is an error, not a
crash. Memory that grows exponentially in a number (`combinations`) is denied.

*Linear algebra* (`linalg_svd`, `linalg_solve`, `cholesky_solve`). LAPACK gets copies whose sizes torch has checked.
Pivots from a tensor are compared with the size first. A guard refuses eigenvalues of NaN, for which LAPACK never
returns.

*Convolution, pooling, resampling, normalisation, recurrent layers.* Public entries that check shapes, then call
kernels.

*Named inner kernels* (`_KEPT`). Export itself writes these for public operators. The source of each was read.

`benchmarks/operator_fuzz.py` calls every admitted operator with hostile arguments. What it crashed is in `_DENIED`, or
guarded (`guards`) where models need it.
"""

from __future__ import annotations

import functools
import re
from dataclasses import dataclass
from typing import Any

import torch
from torch._ops import OpOverload

_NOTHING_ELSE = "write this step of forward with other torch operators, or cut the model before it"
_FIXED_SIZE = (
    "keep the size fixed: torch.where or a multiplication by the mask in place of selecting rows, torch.topk with a "
    "fixed k, F.one_hot with num_classes"
)


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why an operator is not admitted, and what the user can do instead."""

    reason: str
    remedy: str = _NOTHING_ELSE


@functools.cache
def refusal(overload: OpOverload) -> Refusal | None:
    """Why a program file may not name `overload`; None where it may."""
    namespace, name = overload._schema.name.split("::")
    if namespace != "aten":
        remedy = "write this step of forward with torch's own operators"
        return Refusal(f"it belongs to the library {namespace!r}, which need not exist where the plan runs", remedy)
    full = f"{name}.{overload._overloadname}"
    if overload._schema.is_mutable:
        return Refusal("it writes to its arguments")
    tagged = _by_tags(overload, name)
    if tagged is not None:
        return tagged
    reason = _DENIED.get(full) or _DENIED.get(name) or _not_public(name)
    if reason is not None:
        return Refusal(reason, _FIXED_SIZE if reason is _DATA else _NOTHING_ELSE)
    return _by_types(overload, name) or _by_kernel(overload)


def _not_public(name: str) -> str | None:
    if name in _KEPT or (name.startswith("__") and name.endswith("__")):
        return None
    if name.startswith("_"):
        return "it is a private kernel of torch, which does not check its arguments"
    return next((reason for pattern, reason in _FAMILIES if pattern.fullmatch(name)), None)


def _by_tags(overload: OpOverload, name: str) -> Refusal | None:
    if name in _BY_ARGUMENTS:
        return None
    tags = overload.tags
    if torch.Tag.nondeterministic_seeded in tags:
        return Refusal("it draws random numbers", "switch it off outside training")
    if torch.Tag.dynamic_output_shape in tags or torch.Tag.data_dependent_output in tags:
        return Refusal(_DATA, _FIXED_SIZE)
    if torch.Tag.maybe_aliasing_or_mutating in tags or torch.Tag.inplace_view in tags:
        return Refusal("it may write to its arguments")
    return None


def kind_of(argument: Any) -> str:
    """The type of a schema's argument, or of its items: `Tensor`, `int`, `ScalarType`..."""
    return _UNWRAP.sub("", str(argument.real_type)).rstrip("]")


def _by_types(overload: OpOverload, name: str) -> Refusal | None:
    for argument in overload._schema.arguments:
        kind = kind_of(argument)
        if kind not in _ARGUMENTS:
            return Refusal(f"it takes a {kind} ({argument.name}), which a file does not hold")
    results = {str(result.type) for result in overload._schema.returns}
    if not results or (not results <= {"Tensor", "List[Tensor]"} and name not in _NUMBERS):
        return Refusal("it returns something other than tensors")
    return None


def _by_kernel(overload: OpOverload) -> Refusal | None:
    has = torch._C._dispatch_has_kernel_for_dispatch_key
    name, version = overload._schema.name, overload._schema.overload_name
    if not any(has(f"{name}.{version}" if version else name, key) for key in _KERNELS):
        return Refusal("it has no kernel for the CPU")
    return None


_UNWRAP = re.compile(r"(Optional|List)\[")
_ARGUMENTS = {
    "Tensor", "int", "SymInt", "float", "bool", "number", "complex", "str", "ScalarType", "Layout", "MemoryFormat",
    "Device",
}  # fmt: skip
_KERNELS = (
    "CPU", "CompositeImplicitAutograd", "CompositeExplicitAutograd", "CompositeExplicitAutogradNonFunctional",
)  # fmt: skip
_NUMBERS = {"sym_size"}
"""These return a number, which depends on shapes alone."""

_BY_ARGUMENTS = {
    "scaled_dot_product_attention", "lstm", "gru", "rnn_tanh", "rnn_relu",
    # random only by their dropout: see `draws_random_numbers`
    "conj_physical",  # returns a real argument itself
    "batch_norm",  # in training it updates the running statistics, tensors of the program itself
    "index", "one_hot", "repeat_interleave",  # the size depends on values only for boolean masks and open counts
}  # fmt: skip
"""Operators whose tags hold for some arguments only."""

_KEPT = frozenset(
    """
    _adaptive_avg_pool2d _adaptive_avg_pool3d _cdist_forward _fft_c2c _fft_c2r _fft_r2c _log_softmax
    _native_batch_norm_legit _native_batch_norm_legit_no_training _pdist_forward
    _softmax _to_copy _trilinear _unsafe_index _unsafe_view
    _upsample_bicubic2d_aa _upsample_bilinear2d_aa _upsample_nearest_exact1d _upsample_nearest_exact2d
    _upsample_nearest_exact3d _weight_norm _weight_norm_interface log_sigmoid_forward native_group_norm
    native_layer_norm
    """.split()  # noqa: SIM905 (a list would be one word a line)
)
"""Private, but written by export. `_upsample_nearest_exact` is `upsample_nearest`, its checks included."""

_DATA = "the size of its result depends on tensor values"
_LOOP = "the number of iterations of its loop is a value among its arguments"

_FAMILIES = tuple(
    (re.compile(pattern), reason)
    for pattern, reason in (
        (r".*_backward(_.*)?|.*_jvp", "it is one step of a backward pass; a half holds the forward alone"),
        (r"(?!index_).*_copy", "it is an internal twin of a view"),
        (r"(new_)?empty(_.*)?|resize.*|set|lift.*|data|as_strided.*|from_file|pin_memory|.*_storage.*",
         "it shows memory as it is: unwritten, of another tensor, or of a file"),
        (r"(cudnn|miopen|mkldnn|mps|fbgemm|thnn|slow_conv|native)_.*|convolution_overrideable|batch_norm_.+|.*_forward"
         r"|[a-z]+__.*",
         "it is the inner kernel of a public operator"),
        (r"(fake_)?quantize.*|quantized_.*|q_per_.*|dequantize|choose_qparams.*|int_repr",
         "it works on quantized or packed tensors; give the float model, the search finds how many bits to send"),
        (r"sparse_.*|to_sparse.*|.*_sparse.*|(crow_|ccol_|row_|col_)?indices|values|coalesce|s?smm|sspaddmm|hspmm|to_dense"
         r"|to_mkldnn|nested_.*|to_padded_tensor|(un)?flatten_dense_tensors", "it works on tensors that are not dense"),
        (r"special_(?!hermite).*_polynomial_.", _LOOP),
    )
)  # fmt: skip
"""Kinds of operators that no traced model needs, and that a stranger should not be able to call."""

_DENIED: dict[str, str] = {
    "ctc_loss": "its kernel reads outside its arguments where a label is out of range",
    "segment_reduce": "its `unsafe` switches its own checks off",
    "range": "its kernel divides by a step that it may have rounded to 0",
    "combinations": "its memory grows exponentially in a number",
    "embedding_renorm": "it is the half of an operator that writes to its weight",
    "slice_inverse": "it takes offsets unchecked",
    "where.default": _DATA,
    "nonzero_numpy": _DATA,
    "tensor_split.tensor_indices_or_sections": _DATA,
}
"""Operators, or single overloads, that the schema would admit."""
