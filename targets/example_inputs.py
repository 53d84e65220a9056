"""Example inputs, from a target file or from `--input 1x3x224x224` options."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from ..records import TargetError

if TYPE_CHECKING:
    from ..graph.batch_dims import BatchDims

_OPTION = re.compile(r"(?:(?P<name>[A-Za-z_]\w*)=)?(?P<shape>\d+(?:x\d+)*)(?::(?P<dtype>\w+))?")
_DTYPES = {
    name: getattr(torch, name)
    for name in ("float32", "float16", "bfloat16", "float64", "int64", "int32", "int16", "int8", "uint8", "bool")
}


@dataclass(frozen=True, eq=False)
class ExampleInputs:
    """What the model is called with: positional and keyword arguments, and their source in words."""

    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    source: str

    def summary(self) -> str:
        """One line, such as `float32 1x3x224x224, mask=int64 1x128`."""
        named = [(None, value) for value in self.args] + list(self.kwargs.items())
        return ", ".join((f"{name}=" if name else "") + _summary(value) for name, value in named)


def read_batch_dim(declared: Mapping[str, Any], options: Sequence[str]) -> BatchDims:
    """The dimension that counts samples: from `--batch-dim` options, or else from the file's `batch_dim`.

    Args:
        declared: all names that the file binds.
        options: as `1`, `none`, `x=1` or `mask=none`.

    Returns:
        One dimension for all inputs, dimensions by name, "none" if one call is one sample, or None if neither says.

    Raises:
        TargetError: the value is not a dimension, or options mix one for all inputs with others by name.
    """
    if options:
        named = dict(_batch_dim_option(option) for option in options)
        if "" not in named:
            return named
        if len(options) > 1:
            raise TargetError("--batch-dim gives one dimension for all inputs, or NAME=DIM for each; not both")
        return "none" if named[""] is None else named[""]
    if "batch_dim" not in declared:
        return None
    value = declared["batch_dim"]
    if value is None:
        return "none"
    dims = list(value.values()) if isinstance(value, Mapping) else [value]
    if not all(_is_dimension(dim) or (dim is None and isinstance(value, Mapping)) for dim in dims):
        raise TargetError(
            f'batch_dim is {value!r:.80}; write the dimension that counts samples, 1 say, or {{"x": 1, "mask": None}}, '
            "or None where one call is one sample"
        )
    return dict(value) if isinstance(value, Mapping) else int(value)


def _is_dimension(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _batch_dim_option(option: str) -> tuple[str, int | None]:
    name, _, text = option.strip().rpartition("=")
    if text.lower() == "none":
        return name, None
    if not (text.isascii() and text.isdigit()):
        raise TargetError(f"--batch-dim {option!r} is not a dimension; write 1, x=1 or mask=none")
    return name, int(text)


def from_value(value: Any, name: str = "example_inputs") -> ExampleInputs:
    """Read `example_inputs`: a tensor, a tuple of arguments, a dict of keyword arguments, or `(args, kwargs)`.

    Raises:
        TargetError: the value is something else.
    """
    if isinstance(value, Tensor):
        return ExampleInputs((value,), {}, f"`{name}`")
    if isinstance(value, Mapping):
        return ExampleInputs((), _string_keys(value, name), f"`{name}`, by keyword")
    if not isinstance(value, tuple | list) or not value:
        raise TargetError(
            f"{name} is {_article(value)}; give a tensor, a tuple of the model's arguments, or (args, kwargs)"
        )
    if len(value) == 2 and isinstance(value[0], tuple | list) and isinstance(value[1], Mapping):
        return ExampleInputs(tuple(value[0]), _string_keys(value[1], name), f"`{name}`, (args, kwargs)")
    return ExampleInputs(tuple(value), {}, f"`{name}`")


def from_options(options: Sequence[str], usual: torch.dtype = torch.float32) -> ExampleInputs:
    """Make inputs from `--input` options, one for each input in order.

    Floating inputs are uniform in [0, 1), integers are 0 or 1 because they may index an embedding. The same options
    always give the same values.

    Args:
        options: as `1x3x224x224`, `1x128:int64` or `name=1x128:int64`.
        usual: the dtype of an option that names none.

    Raises:
        TargetError: an option has another form, an unknown dtype, or a size of zero.

    Examples:
        >>> from_options(["1x3", "mask=1x2:bool"]).summary()
        'float32 1x3, mask=bool 1x2'
    """
    args: list[Tensor] = []
    kwargs: dict[str, Tensor] = {}
    generator = torch.Generator().manual_seed(0)
    for option in options:
        name, tensor = _parse(option, generator, usual)
        if name is not None:
            kwargs[name] = tensor
        elif kwargs:
            raise TargetError(f"--input {option} has no name but follows named ones; give positional inputs first")
        else:
            args.append(tensor)
    return ExampleInputs(tuple(args), kwargs, "`--input` (made-up values)")


def _parse(option: str, generator: torch.Generator, usual: torch.dtype) -> tuple[str | None, Tensor]:
    match = _OPTION.fullmatch(option.strip())
    if match is None:
        raise TargetError(
            f"--input {option!r} is not a shape; write for example 1x3x224x224, 1x128:int64 or input_ids=1x128:int64"
        )
    if match["dtype"] not in (None, *_DTYPES):
        raise TargetError(f"--input {option!r} has the unknown dtype {match['dtype']!r}; known: {', '.join(_DTYPES)}")
    shape = [int(size) for size in match["shape"].split("x")]
    if 0 in shape:
        raise TargetError(f"--input {option!r} has a dimension of size 0; every dimension needs at least one element")
    dtype: torch.dtype = usual if match["dtype"] is None else _DTYPES[match["dtype"]]
    if dtype.is_floating_point:
        return match["name"], torch.rand(shape, generator=generator).to(dtype)
    return match["name"], torch.randint(0, 2, shape, generator=generator).to(dtype)


def _string_keys(value: Mapping[Any, Any], name: str) -> dict[str, Any]:
    if not all(isinstance(key, str) for key in value):
        raise TargetError(f"{name} has keyword arguments whose names are not strings")
    return dict(value)


def _summary(value: Any) -> str:
    if isinstance(value, Tensor):
        return f"{str(value.dtype).removeprefix('torch.')} {'nested' if value.is_nested else shape_text(value.shape)}"
    return repr(value) if isinstance(value, int | float | str | bool | None) else type(value).__name__


def shape_text(shape: Sequence[int]) -> str:
    """A shape as text, such as `1x3x224x224`; that of a scalar is `scalar`."""
    return "x".join(str(size) for size in shape) or "scalar"


def _article(value: Any) -> str:
    return "empty" if isinstance(value, tuple | list) else f"of type {type(value).__name__}"
