"""The operators of a program file by name: the ATen operators that `allowlist` admits, and Python arithmetic."""

from __future__ import annotations

import functools
import math
import operator
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch

from ..records import RecordError, TraceError
from .allowlist import kind_of, refusal
from .guards import bounded, guarded

_RANDOM_IN_TRAINING = {
    "dropout", "feature_dropout", "alpha_dropout", "native_dropout", "rrelu", "lstm", "gru", "rnn_tanh", "rnn_relu",
}  # fmt: skip

PYTHON: dict[str, Callable[..., Any]] = {
    "add": operator.add, "sub": operator.sub, "mul": operator.mul, "floordiv": operator.floordiv,
    "truediv": operator.truediv, "mod": operator.mod, "neg": operator.neg, "pow": operator.pow,
    "eq": operator.eq, "ne": operator.ne, "lt": operator.lt, "le": operator.le, "gt": operator.gt, "ge": operator.ge,
    "getitem": operator.getitem, "sym_float": torch.sym_float, "sym_max": torch.sym_max, "sym_min": torch.sym_min,
    "sym_int": torch.sym_int, "floor": math.floor, "ceil": math.ceil, "trunc": math.trunc,
}  # fmt: skip
"""By name in a file: Python's arithmetic on sizes."""

_PYTHON_NAMES = {function: name for name, function in PYTHON.items()}


def draws_random_numbers(target: torch._ops.OpOverload, args: Sequence[Any], kwargs: Mapping[str, Any]) -> bool:
    """True for a call that depends on the random number generator; an attention without dropout does not."""
    if torch.Tag.nondeterministic_seeded not in target.tags:
        return False
    given = {argument.name: argument.default_value for argument in target._schema.arguments}
    given.update(zip(given, args, strict=False))
    given.update(kwargs)
    name = target._schema.name.split("::")[1]
    if "dropout_p" in given:
        return given["dropout_p"] != 0
    if name in _RANDOM_IN_TRAINING:
        return bool(given.get("train", given.get("training"))) and given.get("dropout", 1.0) != 0
    return True


def require_admitted(target: torch._ops.OpOverload, place: str = "") -> None:
    """Refuse an operator that no program file may name.

    Args:
        target: the operator.
        place: the line of the user's code that calls it, for the message.

    Raises:
        TraceError: the reason, and what to do instead.
    """
    refused = refusal(target)
    if refused is not None:
        raise TraceError(f"a plan cannot carry {target}{place}: {refused.reason}; {refused.remedy}")


def name_of(target: Any) -> str:
    """The name of an operator in a file: `aten.conv2d.default` or `python.getitem`.

    Raises:
        TraceError: an operator that is not admitted.
    """
    if isinstance(target, torch._ops.OpOverload):
        require_admitted(target)
        return f"aten.{target._schema.name.split('::')[1]}.{target._overloadname}"
    if target in _PYTHON_NAMES:
        return f"python.{_PYTHON_NAMES[target]}"
    raise TraceError(f"the traced graph calls {target}, which is no ATen operator")


def function_of(name: Any) -> Callable[..., Any]:
    """The operator that a file names.

    Raises:
        RecordError: a name that is not on the allow-list, or an overload that writes in place.
    """
    parts = name.split(".") if isinstance(name, str) else []
    if len(parts) == 2 and parts[0] == "python" and parts[1] in PYTHON:
        return bounded(PYTHON[parts[1]])
    if len(parts) == 3 and parts[0] == "aten":
        overload = _overload(parts[1], parts[2])
        if overload is not None and refusal(overload) is None:
            return guarded(overload)
    raise RecordError(f"operator {name!r} is not on the list of operators that a program may name")


def require_constants(name: str, args: Sequence[Any], kwargs: Mapping[str, Any]) -> None:
    """Refuse anything but a dtype, layout, memory format or device where an operator takes one.

    torch itself takes any number in such a place.

    Args:
        name: an operator that `function_of` knows.
        args, kwargs: its arguments as the file has them.

    Raises:
        RecordError: something else in such a place.
    """
    overload = _overload(*name.split(".")[1:]) if name.startswith("aten.") else None
    if overload is None:
        return
    given = {argument.name: None for argument in overload._schema.arguments}
    given.update(zip(given, args, strict=False))
    given.update(kwargs)
    for argument in overload._schema.arguments:
        tag = _TAGS.get(kind_of(argument))
        value = given[argument.name]
        if tag is not None and value is not None and not (isinstance(value, dict) and set(value) == {tag}):
            raise RecordError(f"{name} takes a {tag} as {argument.name}, the file says {value!r}")


_TAGS = {"ScalarType": "dtype", "Layout": "layout", "MemoryFormat": "memory_format", "Device": "device"}


def _overload(name: str, overload: str) -> torch._ops.OpOverload | None:
    """The overload, if the dispatcher has registered it: a name from a file is only ever compared."""
    full = f"aten::{name}" if overload == "default" else f"aten::{name}.{overload}"
    if full not in _registered():
        return None
    found: torch._ops.OpOverload = getattr(getattr(torch.ops.aten, name), overload)
    return found


@functools.cache
def _registered() -> frozenset[str]:
    return frozenset(torch._C._dispatch_get_all_op_names())
