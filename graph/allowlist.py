"""Which ATen operators a program file may name: decided by each operator's schema, less an explicit list.

A bundle may come from a stranger, so this is a safety boundary. An overload is admitted where

* it is torch's own (`aten`), registered with the dispatcher, and has a kernel for the CPU or is made of operators
  that have;
* its schema writes to nothing (no argument is mutable) and its results are tensors alone;
* its arguments are tensors, numbers, booleans, strings, dtypes, layouts, memory formats and devices: no generator,
  storage, stream or quantizer;
* its tags say that it draws no random numbers and that the size of its result does not depend on tensor values, or
  `_BY_ARGUMENTS` says for which arguments that holds;
* its name is public: the argument checks stand in public operators, private kernels (`_name`) trust their caller;
* no entry of `_FAMILIES` and `_DENIED` speaks against it.

Why each class of what remains is safe to load from a stranger:

*Composites* (`linear`, `tensordot`, `cosine_similarity`, `stft`, losses, cells). They hold no kernel: they call
other operators, whose checks stand in front of every access to memory. What they can do, a file could write out
node by node.

*Pointwise operators and reductions* (`add`, `special_erfcx`, `quantile`, `norm`). `TensorIterator` derives every
address from the sizes and strides of real tensors after broadcasting, and refuses what does not fit. Their results
are as large as the broadcast arguments. Those whose loop runs as often as a *value* says are denied (orthogonal
polynomials).

*Views and copies* (`narrow`, `diagonal`, `unfold`, `cat`, `block_diag`). Sizes and offsets are checked against the
tensor's own; the operators that take strides unchecked (`as_strided`, `set`, `resize`) are denied, as are those
that show memory nobody wrote (`empty` and its kin).

*Indexing* (`gather`, `take`, `index_put`, `embedding_bag`, `max_unpool2d`). Each index is compared with the size of
the dimension that it addresses before it is used; kernels that do not are denied (`ctc_loss`) or stand behind a
guard (`embedding_bag`).

*Sized by numbers* (`full`, `arange`, `pad`, `adaptive_avg_pool3d`, `fft` with `n`, window functions). They allocate
what the numbers in the file ask for, once, and compute it from there; a request beyond the memory is an error and
no crash. Memory that grows exponentially in a number (`combinations`) is denied.

*Linear algebra* (`linalg_svd`, `linalg_solve`, `cholesky_solve`). LAPACK gets copies whose sizes torch has checked.
Pivots from a tensor are compared with the size first; eigenvalues of NaN, which LAPACK seeks for ever, are behind a
guard.

*Convolution, pooling, resampling, normalisation, recurrent layers.* Public entries that check shapes, then call
kernels.

*Named inner kernels* (`_KEPT`). What export itself writes for public operators. Each was read.

`benchmarks/operator_fuzz.py` calls every admitted operator with hostile arguments; what it crashed is in `_DENIED`,
or behind a guard (`guards.py`) where models need it.
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
    """Why an operator is not admitted, and what to do instead."""

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
    """What a schema's argument is, or is a list of: `Tensor`, `int`, `ScalarType`..."""
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
"""Return a number, which depends on shapes alone."""

_BY_ARGUMENTS = {
    "scaled_dot_product_attention", "lstm", "gru", "rnn_tanh", "rnn_relu",
    # random by their dropout alone: `draws_random_numbers`
    "conj_physical",  # returns its argument itself where that is real
    "batch_norm",  # in training it updates the running statistics, tensors of the program itself
    "index", "one_hot", "repeat_interleave",  # of a free size for boolean masks and open counts alone
}  # fmt: skip
"""Operators whose tags name what they do for some arguments only."""

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
"""Not public, but written by export. `_upsample_nearest_exact` is `upsample_nearest`, its checks included."""

_DATA = "the size of its result depends on tensor values"
_LOOP = "its loop runs as often as a value among its arguments says"

_FAMILIES = tuple(
    (re.compile(pattern), reason)
    for pattern, reason in (
        (r".*_backward(_.*)?|.*_jvp", "it is one step of a backward pass; a half holds the forward alone"),
        (r"(?!index_).*_copy", "it is an internal twin of a view"),
        (r"(new_)?empty(_.*)?|resize.*|set|lift.*|data|as_strided.*|from_file|pin_memory|.*_storage.*",
         "it shows memory as it is: unwritten, of another tensor, or of a file"),
        (r"(cudnn|miopen|mkldnn|mps|fbgemm|thnn|slow_conv|native)_.*|convolution_overrideable|batch_norm_.+|.*_forward",
         "it is the inner kernel of a public operator"),
        (r"(fake_)?quantize.*|quantized_.*|q_per_.*|dequantize|choose_qparams.*|int_repr",
         "it works on quantized or packed tensors; give the float model, bits are searched here"),
        (r"sparse_.*|to_sparse.*|.*_sparse.*|(crow_|ccol_|row_|col_)?indices|values|coalesce|s?smm|sspaddmm|hspmm|to_dense"
         r"|to_mkldnn|nested_.*|to_padded_tensor|(un)?flatten_dense_tensors", "it works on tensors that are not dense"),
        (r"special_(?!hermite).*_polynomial_.", _LOOP),
    )
)  # fmt: skip
"""Kinds of operators that no traced model needs, and that a stranger should not have."""

_DENIED: dict[str, str] = {
    "ctc_loss": "its kernel reads outside its arguments where a label is out of range",
    "segment_reduce": "its `unsafe` switches its own checks off",
    "range": "its kernel divides by a step that it has rounded to 0",
    "combinations": "its memory grows exponentially in a number",
    "embedding_renorm": "it is the half of an operator that writes to its weight",
    "slice_inverse": "it takes offsets unchecked",
    "where.default": _DATA,
    "nonzero_numpy": _DATA,
    "tensor_split.tensor_indices_or_sections": _DATA,
}
"""Operators, or single overloads of one, that the schema would let through."""
