"""How a program file spells values: references, constants of torch, floating numbers, and the nesting of an output.

A plain JSON value stands for itself. An object with one key is tagged: `{"ref": "n3"}`, `{"dtype": "float32"}`,
`{"layout": ...}`, `{"memory_format": ...}`, `{"float": "inf"}`, `{"complex": [re, im]}`, `{"slice": [...]}`, and
`{"device": null}`, the device that the program runs on.
"""

from __future__ import annotations

import dataclasses
import math
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
from torch import fx
from torch.utils import _pytree as pytree

from ..records import RecordError, TraceError, output_key

Json = dict[str, Any]

# writing ----------------------------------------------------------------------------------------------


def encode_value(value: Any, names: Mapping[fx.Node, str]) -> Any:
    """An argument of a node as JSON.

    Args:
        value: a node, a constant, or a nesting of them.
        names: by node, the name of its result in the file.

    Raises:
        TraceError: a value that a program file cannot hold.
    """
    if isinstance(value, fx.Node):
        return {"ref": names[value]}
    if value is None or isinstance(value, (bool, int, str)):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else {"float": str(value)}
    if isinstance(value, (list, tuple)):
        return [encode_value(item, names) for item in value]
    for kind, key in ((torch.dtype, "dtype"), (torch.layout, "layout"), (torch.memory_format, "memory_format")):
        if isinstance(value, kind):
            return {key: str(value).removeprefix("torch.")}
    if isinstance(value, torch.device):
        return {"device": None}
    if isinstance(value, complex):
        return {"complex": [value.real, value.imag]}
    if isinstance(value, slice):
        return {"slice": [encode_value(part, names) for part in (value.start, value.stop, value.step)]}
    raise TraceError(f"the graph holds an argument of type {type(value).__name__}, which a program file cannot hold")


def encode_structure(spec: pytree.TreeSpec, leaves: Iterator[Any]) -> Any:
    """The output's nesting in dicts, lists and tuples: classes of libraries need not exist where it is loaded.

    Whatever has keys becomes a dict (a `defaultdict`, an ordered one, a registered dataclass, whose fields that are
    None come last), a named tuple a tuple.

    Args:
        spec: the model's own nesting.
        leaves: what stands at its leaves, in order.

    Raises:
        TraceError: a key of a dictionary that is no text, number or tuple of these.
    """
    if spec.is_leaf():
        return next(leaves)
    children = [encode_structure(child, leaves) for child in spec.children()]
    keys = _keys(spec)
    if keys is None:
        return {"list" if spec.type is list else "tuple": children}
    pairs = [[_encode_key(key), child] for key, child in zip(keys, children, strict=True)]
    return {"dict": pairs + [[name, None] for name in _absent_fields(spec)]}


def _keys(spec: pytree.TreeSpec) -> list[Any] | None:
    """The keys of a dictionary's children, or the field names of a registered class's; None for a sequence."""
    context, count = spec.context, spec.num_children
    if spec.type is defaultdict:
        return list(context[1])  # beside its factory
    keyed = isinstance(spec.type, type) and issubclass(spec.type, Mapping)  # of a named tuple it is a function
    if keyed and isinstance(context, (list, tuple)) and len(context) == count:
        return list(context)
    if isinstance(context, (list, tuple)) and context and isinstance(context[0], (list, tuple)):
        context = context[0]
    matches = isinstance(context, (list, tuple)) and len(context) == count
    return list(context) if matches and context and all(isinstance(key, str) for key in context) else None


def _absent_fields(spec: pytree.TreeSpec) -> list[str]:
    """The fields of a dataclass (as `torch.export.register_dataclass` keeps them) that were None."""
    context = spec.context
    both = dataclasses.is_dataclass(spec.type) and isinstance(context, list) and len(context) == 2
    return [str(name) for name in context[1]] if both else []


def _encode_key(key: Any) -> Any:
    """A dictionary's key in JSON, for `output_key`. Raises TraceError."""
    if key is None or isinstance(key, bool):
        return key
    if isinstance(key, str):
        return str.__str__(key)  # the value of a text enumeration
    if isinstance(key, tuple):
        return [_encode_key(part) for part in key]
    for kind in (int, float):
        if isinstance(key, kind) and math.isfinite(key):
            return kind(key)
    raise TraceError(
        f"the model returns a dictionary with the key {key!r} ({type(key).__name__}), which a program file cannot "
        "hold; use text or numbers, or tuples of these"
    )


# reading ----------------------------------------------------------------------------------------------


def decode_value(value: Any, values: Mapping[str, Any], device: torch.device) -> Any:
    """The argument that a JSON value stands for.

    Args:
        value: as `encode_value` wrote it.
        values: by name, the results so far.
        device: what `{"device": null}` stands for.
    """
    if isinstance(value, list):
        return [decode_value(item, values, device) for item in value]
    if not isinstance(value, dict):
        return value
    ((tag, content),) = value.items()
    if tag == "ref":
        return values[content]
    if tag == "device":
        return device
    if tag == "complex":
        return complex(*content)
    if tag == "slice":
        return slice(*(decode_value(part, values, device) for part in content))
    return _TAGS[tag](content)


def decode_structure(structure: Any, values: Mapping[str, Any], device: torch.device) -> Any:
    """The output that a JSON nesting stands for: dicts, lists and tuples of `decode_value`."""
    if isinstance(structure, dict) and set(structure) == {"dict"}:
        return {output_key(key): decode_structure(child, values, device) for key, child in structure["dict"]}
    if isinstance(structure, dict) and set(structure) == {"list"}:
        return [decode_structure(child, values, device) for child in structure["list"]]
    if isinstance(structure, dict) and set(structure) == {"tuple"}:
        return tuple(decode_structure(child, values, device) for child in structure["tuple"])
    return decode_value(structure, values, device)


def is_reference(value: Any) -> bool:
    """True for `{"ref": NAME}`."""
    return isinstance(value, dict) and set(value) == {"ref"}


def references(value: Any) -> list[str]:
    """The names of all results that a JSON value reads."""
    if is_reference(value):
        return [value["ref"]]
    if isinstance(value, dict):
        return [name for item in value.values() for name in references(item)]
    if isinstance(value, list):
        return [name for item in value for name in references(item)]
    return []


def varies(value: Any) -> bool:
    """True for a value that is known only during a run: it reads a result, or names the device."""
    if isinstance(value, list):
        return any(varies(item) for item in value)
    return isinstance(value, dict) and (
        not value.keys().isdisjoint(("ref", "device")) or any(varies(item) for item in value.values())
    )


def require_decodable(value: Any) -> None:
    """Refuse a tagged value that `decode_value` does not know.

    Raises:
        RecordError: an unknown tag or constant. Damaged content raises what Python raises for it.
    """
    if isinstance(value, list):
        for item in value:
            require_decodable(item)
    elif isinstance(value, dict):
        ((tag, content),) = value.items()
        if tag in _TAGS:
            _TAGS[tag](content)
        elif tag == "slice":
            slice(*content)
            require_decodable(content)
        elif tag == "complex":
            complex(*content)
        elif tag not in ("ref", "device"):
            raise RecordError(f"{tag!r} is no kind of argument")


def require_structure(structure: Any) -> None:
    """Refuse a nesting that `decode_structure` does not build. Raises as `require_decodable` does."""
    tag = next(iter(structure)) if isinstance(structure, dict) and len(structure) == 1 else None
    if tag == "dict":
        if len({output_key(key) for key, _ in structure[tag]}) < len(structure[tag]):
            raise RecordError("the output has one key twice")
        for _, child in structure[tag]:
            require_structure(child)
    elif tag in ("list", "tuple"):
        for child in structure[tag]:
            require_structure(child)
    else:
        require_decodable(structure)


_TAGS: dict[str, Callable[[str], Any]] = {
    "dtype": lambda name: _torch_constant(name, torch.dtype),
    "layout": lambda name: _torch_constant(name, torch.layout),
    "memory_format": lambda name: _torch_constant(name, torch.memory_format),
    "float": lambda text: {"inf": math.inf, "-inf": -math.inf, "nan": math.nan}[text],
}

_CONSTANTS: dict[type, dict[str, Any]] = {
    torch.dtype: {n: v for n, v in vars(torch).items() if isinstance(v, torch.dtype) and not n.startswith("q")},
    torch.layout: {"strided": torch.strided},
    torch.memory_format: {n: v for n, v in vars(torch).items() if isinstance(v, torch.memory_format)},
}
"""Looked up here and not by `getattr(torch, name)`, which imports modules for some names. Sparse and quantized tensors
are left out: kernels that check dense ones look less closely at these."""


def _torch_constant(name: str, kind: type) -> Any:
    if name not in _CONSTANTS[kind]:
        raise RecordError(f"{name!r} is not a {kind.__name__}")
    return _CONSTANTS[kind][name]
