"""What a loaded program checks before the kernels that do not check it themselves.

A model that torch runs never meets a guard. Each refuses arguments that would make a kernel read or write outside a
tensor, crash the processor, or never return. Every guard stands for a crash or a hang that
`benchmarks/operator_fuzz.py` found.
"""

from __future__ import annotations

import functools
import inspect
import operator
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch._ops import OpOverload

from ..records import RecordError

Guard = Callable[..., None]


def guarded(overload: OpOverload) -> Callable[..., Any]:
    """`overload`, behind its guard if it has one.

    A guard is a function whose parameters are the arguments that it looks at. The returned function raises
    RecordError for arguments that the kernel would not survive.
    """
    name = overload._schema.name.split("::")[1]
    guard = _GUARDS.get(f"{name}.{overload._overloadname}") or _GUARDS.get(name)
    if guard is None:
        return overload
    schema = overload._schema.arguments
    order = [argument.name for argument in schema]
    defaults = {argument.name: argument.default_value for argument in schema}
    wanted = inspect.signature(guard).parameters

    @functools.wraps(overload)
    def call(*args: Any, **kwargs: Any) -> Any:
        given = {**defaults, **dict(zip(order, args, strict=False)), **kwargs}
        guard(**{argument: given[argument] for argument in wanted})
        return overload(*args, **kwargs)

    return call


def bounded(function: Callable[..., Any]) -> Callable[..., Any]:
    """Python arithmetic on tensors and on numbers of at most 64 bits, as all sizes are.

    The returned function raises RecordError for a larger integer, and for text and lists: repeated or formatted, these
    take all memory and time. `getitem` takes a part of a tensor or of an operator's results.
    """

    def call(*args: Any) -> Any:
        takes_part = function is operator.getitem
        if takes_part and not (args and isinstance(args[0], (list, tuple, Tensor))):
            raise RecordError("the program takes a part of something that has none")
        for each in () if takes_part else args:
            if not isinstance(each, (int, float, complex, Tensor)):
                raise RecordError(f"the program computes with a {type(each).__name__} in place of a number")
            _require_short(each)
        if len(args) == 2 and isinstance(args[1], int) and function is operator.pow and abs(args[1]) > 64:
            raise RecordError(f"the program raises a number to the power {args[1]}; 64 is the most")
        result = function(*args)
        _require_short(result)
        return result

    return call


def _require_short(value: Any) -> None:
    if isinstance(value, int) and value.bit_length() > 64:
        raise RecordError("the program computes an integer of more than 64 bits")


def _require(holds: bool, what: str) -> None:
    if not holds:
        raise RecordError(f"the program calls an operator with arguments that no model gives it: {what}")


def _quotient(self: Any, other: Any, rounding_mode: str | None) -> None:
    """The processor faults where the smallest integer is divided by -1."""
    if rounding_mode != "trunc" or any(isinstance(each, Tensor) and each.is_floating_point() for each in (self, other)):
        return
    if isinstance(self, Tensor) and not self.is_complex() and self.dtype != torch.bool:
        dtype = torch.promote_types(self.dtype, getattr(other, "dtype", self.dtype))
        if dtype.is_complex or isinstance(other, complex):
            return
        lowest = torch.iinfo(dtype).min
        _require(not bool(((self == lowest) & (torch.as_tensor(other) == -1)).any()), "the smallest integer over -1")


def _divisors(self: Tensor, other: Tensor) -> None:
    """The smallest integer has no positive counterpart: the divisor may become -1, and the quotient faults."""
    dtype = torch.promote_types(self.dtype, other.dtype)
    if not dtype.is_floating_point and not dtype.is_complex and dtype != torch.bool:
        lowest = torch.iinfo(dtype).min
        _require(not any(bool((each == lowest).any()) for each in (self, other)), "a divisor of the smallest integer")


def _pivots(LU_data: Tensor, LU_pivots: Tensor) -> None:
    """There must be one pivot per row of each matrix, unpacked or not."""
    _require(LU_data.ndim >= 2 and LU_data.numel() > 0, "an LU decomposition without matrices")
    wanted = (*LU_data.shape[:-2], min(LU_data.shape[-2:]))
    _require(tuple(LU_pivots.shape) == wanted, "an LU decomposition with other pivots")


def _bags(weight: Tensor, indices: Tensor, offsets: Tensor, per_sample_weights: Any, include_last_offset: bool) -> None:
    """Bags must begin within the indices, one after the other; `torch.nn.functional` has flattened all of them."""
    flat = weight.ndim == 2 and indices.ndim == offsets.ndim == 1
    _require(flat and (offsets.numel() > 0 or not include_last_offset), "bags of other dimensions")
    _require(per_sample_weights is None or per_sample_weights.shape == indices.shape, "bags of other weights")
    if offsets.numel():
        low, high = int(offsets.min()), int(offsets.max())
        ordered = bool((offsets.flatten().diff() >= 0).all())
        _require(low >= 0 and high <= indices.numel() and ordered, "offsets outside the indices, or out of order")


def _recurrent(gates: int) -> Guard:
    """Every weight and state must have the size that the others imply; each weight has `gates` blocks of rows."""

    def guard(
        input: Tensor, hx: Any, params: list[Tensor], has_biases: bool, num_layers: int, bidirectional: bool,
        batch_first: bool,
    ) -> None:  # fmt: skip
        _require(input.ndim == 3, "a recurrent layer without batch or time")
        _weights(gates, input, input.shape[0 if batch_first else 1], hx, params, has_biases, num_layers, bidirectional)

    return guard


def _packed(gates: int) -> Guard:
    """The same for rows packed by time: lengths must be positive and fall, and sum to the rows of the data."""

    def guard(
        data: Tensor, batch_sizes: Tensor, hx: Any, params: list[Tensor], has_biases: bool, num_layers: int,
        bidirectional: bool,
    ) -> None:  # fmt: skip
        sizes = batch_sizes.tolist() if batch_sizes.ndim == 1 and not batch_sizes.is_floating_point() else []
        falling = sizes == sorted(sizes, reverse=True) and min(sizes, default=0) > 0
        _require(falling and data.ndim == 2 and sum(sizes) == data.shape[0], f"batch sizes {sizes[:8]}")
        _weights(gates, data, sizes[0], hx, params, has_biases, num_layers, bidirectional)

    return guard


def _weights(
    gates: int, input: Tensor, batch: int, hx: Any, params: list[Tensor], has_biases: bool, layers: int, both: bool
) -> None:
    count = layers * (1 + both)
    each, rest = divmod(len(params), count) if 0 < count <= len(params) else (0, 1)
    plain = 4 if has_biases else 2
    _require(rest == 0 and each in (plain, plain + 1) and params[0].ndim == 2, f"{len(params)} recurrent weights")
    rows = params[0].shape[0]
    width = rows // gates
    out = params[each - 1].shape[0] if each > plain else width
    wanted: list[tuple[int, ...]] = []
    for layer in range(layers):
        entering = input.shape[-1] if layer == 0 else out * (1 + both)
        of_one = [(gates * width, entering), (gates * width, out), *[(gates * width,)] * (plain - 2)]
        wanted += [*of_one, *([(out, width)] if each > plain else [])] * (1 + both)
    state = [(count, batch, out), (count, batch, width)]
    states = [hx] if isinstance(hx, Tensor) else hx
    held = [tuple(tensor.shape) for tensor in (*params, *states)]
    _require(held == [*wanted, *state[: len(states)]], "recurrent weights or states of sizes that do not agree")
    _require(len({tensor.dtype for tensor in (input, *params, *states)}) == 1, "a recurrent layer of several dtypes")


def _repeats(repeats: Tensor, output_size: int | None) -> None:
    if not repeats.numel():
        return
    fits = output_size is None or int(repeats.sum()) == output_size
    _require(
        int(repeats.min()) >= 0 and int(repeats.max()) < 1 << 40 and fits, "repeats below 0, or another output size"
    )


def _repeats_of(self: Tensor, repeats: Tensor, output_size: int | None, dim: int | None) -> None:
    """As `_repeats`; a single count serves for all rows."""
    rows = self.numel() if dim is None else self.shape[dim]
    _repeats(repeats.expand(rows) if repeats.numel() == 1 else repeats, output_size)


def _channels(input: Tensor, weight: Any, bias: Any, running_mean: Any, running_var: Any) -> None:
    """Every tensor that is given must have one value per channel."""
    _require(input.ndim >= 2, "a batch norm of fewer than two dimensions")
    given = [each for each in (weight, bias, running_mean, running_var) if each is not None]
    _require(all(tuple(each.shape) == (input.shape[1],) for each in given), "a batch norm of other channels")
    kinds = {each.dtype for each in given}
    _require(len(kinds) <= 1 and kinds <= {input.dtype, torch.float32}, "a batch norm of several dtypes")


def _channels_alone(input: Tensor, weight: Any, bias: Any, training: bool) -> None:
    _require(training, "a batch norm without statistics, neither given nor computed")
    _channels(input, weight, bias, None, None)


def _attention(query: Tensor, key: Tensor, value: Tensor, enable_gqa: bool) -> None:
    """The kernel reads as many values as there are keys, and divides by the number of key heads."""
    agree = min(query.ndim, key.ndim, value.ndim) >= 2 and query.shape[-1] == key.shape[-1]
    _require(agree and key.shape[-2] == value.shape[-2], "an attention whose keys and values do not agree")
    divided = all(each.ndim >= 3 and each.shape[-3] > 0 for each in (key, value))
    _require(divided or not enable_gqa, "an attention in groups without a head")


def _transformed(self: Tensor, dim: list[int]) -> None:
    """Dimensions must be the tensor's, each named once and counted from the front; no tensor may be empty.

    The kernel takes a negative one as a place in memory. Public operators count from the front before they call it.
    """
    places = {each for each in dim if 0 <= each < self.ndim}
    _require(len(places) == len(dim) > 0, f"a Fourier transform along {dim[:8]}")
    _require(self.numel() > 0, "a Fourier transform of nothing")


def _distances(self: Tensor, p: float) -> None:
    _require(self.ndim == 2 and p >= 0, f"distances of {self.ndim} dimensions by the exponent {p}")


def _norm_of_weight(v: Tensor, g: Tensor, dim: int) -> None:
    """There must be one length per row, along the first or the last dimension."""
    _require(
        v.ndim > 0 and v.numel() > 0 and v.dtype == g.dtype and dim in (0, v.ndim - 1), "a weight norm without rows"
    )
    wanted = [size if place == dim else 1 for place, size in enumerate(v.shape)]
    _require(list(g.shape) == wanted, "a weight norm of other rows")


def _norm_of_dense_weight(v: Tensor, g: Tensor, dim: int) -> None:
    """The same, element after element in memory, as `_weight_norm` gives them to this kernel."""
    _require(v.is_contiguous() and g.is_contiguous(), "a weight norm of rows that are not dense")
    _norm_of_weight(v, g, dim)


def _finite(self: Tensor) -> None:
    """LAPACK never returns for a matrix that holds NaN."""
    _require(bool(torch.isfinite(self).all()), "eigenvalues of a matrix that is not finite")


def _window(kernel_size: list[int]) -> None:
    """The kernel counts in 32 bits, and never ends beyond them."""
    _require(all(size < 1 << 30 for size in kernel_size), f"a window of {kernel_size[:3]}")


def _blocks(output_size: list[int], kernel_size: list[int], dilation: list[int], padding: list[int]) -> None:
    """The kernel compares the number of blocks in 32 bits and counts to it in 64, so it may never end."""
    size, kernel, step, pad = (max(each, default=0) for each in (output_size, kernel_size, dilation, padding))
    _require(size + 2 * pad + step * kernel < 1 << 31, f"blocks of an image of {output_size[:3]}, padded {padding[:3]}")


def _power(n: int) -> None:
    _require(abs(n) < 1 << 62, "the inverse of a power that has none")


def _rows_apart(self: Tensor) -> None:
    """The kernel sorts in place by strides, so elements may not share memory."""
    shared = any(size > 1 and stride == 0 for size, stride in zip(self.shape, self.stride(), strict=True))
    _require(not shared, "a median of elements that share their memory")


_GATES = {"lstm": 4, "gru": 3, "rnn_tanh": 1, "rnn_relu": 1}

_GUARDS: dict[str, Guard] = {
    "div.Tensor_mode": _quotient,
    "div.Scalar_mode": _quotient,
    "divide.Tensor_mode": _quotient,
    "divide.Scalar_mode": _quotient,
    "gcd.default": _divisors,
    "lcm.default": _divisors,
    "lu_unpack": _pivots,
    "embedding_bag": _bags,
    **{f"{layer}.input": _recurrent(gates) for layer, gates in _GATES.items()},
    **{f"{layer}.data": _packed(gates) for layer, gates in _GATES.items()},
    "repeat_interleave.Tensor": _repeats,
    "repeat_interleave.self_Tensor": _repeats_of,
    "_native_batch_norm_legit_no_training": _channels,
    "_native_batch_norm_legit.no_stats": _channels_alone,
    **{f"_fft_{kind}": _transformed for kind in ("c2c", "c2r", "r2c")},
    "_pdist_forward": _distances,
    "scaled_dot_product_attention": _attention,
    "_weight_norm": _norm_of_weight,
    "_weight_norm_interface": _norm_of_dense_weight,
    "linalg_eigvals": _finite,
    "max_pool1d": _window,
    "max_pool1d_with_indices": _window,
    "col2im": _blocks,
    "matrix_power": _power,
    "linalg_matrix_power": _power,
    "median.dim": _rows_apart,
    "nanmedian.dim": _rows_apart,
}
"""By overload, or by operator for all of its overloads."""
