"""Finds the model in a target, and refuses one with unusable weights.

If an attribute is named (`path.py:attr`), it is used. Otherwise these are tried in order: the name `model`, the only
module that the file binds, and the only `nn.Module` class of the file that needs no arguments. The choice is reported.
If there is none, the message lists what the file has.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from ..graph import unwrapped
from ..records import TargetError
from .user_code import TargetSpec, call, main_block


def find_model(module: ModuleType, spec: TargetSpec, file: Path | None) -> tuple[nn.Module, str]:
    """The target's model, and how it was found, as "Net, built by the function `model`".

    Raises:
        TargetError: the target has no model and nothing that builds one, or building it raised.
    """
    if spec.attribute is not None:
        value = _attribute(module, spec)
        return _build(value, spec.attribute, file)
    if hasattr(module, "model"):
        return _build(module.model, "model", file)
    instances = {id(value): name for name, value in _public(module).items() if isinstance(value, nn.Module)}
    if len(instances) == 1:
        name = next(iter(instances.values()))
        return _build(getattr(module, name), name, file, why="the only model in the file")
    classes = [
        name
        for name, value in _public(module).items()
        if _is_model_class(value) and value.__module__ == module.__name__ and not _required(value)
    ]
    if not instances and len(classes) == 1:
        return _build(getattr(module, classes[0]), classes[0], file, why="the only model class in the file")
    raise TargetError(_nothing_found(module, spec) + main_block(file))


def require_usable_weights(model: nn.Module) -> None:
    """Refuse parameters without values or with NaN or infinity, and buffers with NaN.

    Infinity in a buffer is allowed, because attention masks hold it.

    Raises:
        TargetError: names the tensor.
    """
    for name, parameter in model.named_parameters():
        _require_values(name, parameter)
        if _count(parameter, lambda tensor: ~torch.isfinite(tensor)):
            bad = _count(parameter, lambda tensor: ~torch.isfinite(tensor))
            raise TargetError(
                f"the model's weights are broken: {name} holds NaN or infinity in {bad:,} of {parameter.numel():,} "
                "numbers; load a sound checkpoint"
            )
    for name, buffer in model.named_buffers():
        _require_values(name, buffer)
        if _count(buffer, torch.isnan):
            raise TargetError(f"the model's buffer {name} holds NaN; load a sound checkpoint")


def _count(tensor: Tensor, test: Callable[[Tensor], Tensor]) -> int:
    if not (tensor.is_floating_point() or tensor.is_complex()):
        return 0
    return int(test(tensor.detach()).sum())


def _require_values(name: str, tensor: Tensor) -> None:
    if is_lazy(tensor):
        raise TargetError(f"the model's {name} is uninitialised (a lazy module); run the model once in the target file")
    if tensor.is_meta:
        raise TargetError(f"the model's {name} is on the meta device and has no values; load the weights")


def _attribute(module: ModuleType, spec: TargetSpec) -> Any:
    assert spec.attribute is not None
    value: Any = module
    for part in spec.attribute.split("."):
        if not hasattr(value, part):
            raise TargetError(f"{spec.text.rpartition(':')[0]} has no attribute {spec.attribute!r}; {_listing(module)}")
        value = getattr(value, part)
    return value


def _build(value: Any, name: str, file: Path | None, why: str = "") -> tuple[nn.Module, str]:
    """The module that `value` is or builds, and how it was found."""
    because = f" ({why})" if why else ""
    module = _module(value)
    if module is not None:
        return module, f"{type(module).__name__}, bound to `{name}`{because}"
    if isinstance(value, Mapping) and value and all(isinstance(part, Tensor) for part in value.values()):
        raise TargetError(
            f"`{name}` holds weights alone (a state_dict); build the module in the target file and load them into it"
        )
    if not callable(value):
        raise TargetError(
            f"`{name}` is of type {type(value).__name__}; a model is an nn.Module or a function returning one"
        )
    required = _required(value.func.forward if _is_partial_of_module(value) else value)
    if required:
        raise TargetError(
            f"`{name}` needs the arguments {', '.join(required)}; give it defaults, or add a function without "
            f"arguments that returns the model; if `{name}` computes outputs, make it the forward of an nn.Module"
        )
    module = _module(built := call(value, f"`{name}`", file))
    if module is None:
        raise TargetError(f"`{name}` returned {type(built).__name__}; a function must return an nn.Module")
    kind = "class" if inspect.isclass(value) else "function"
    return module, f"{type(module).__name__}, built by the {kind} `{name}`{because}"


def _module(value: Any) -> nn.Module | None:
    """The plain module that `value` is, holds or wraps; None if it is something else."""
    if isinstance(value, torch.export.ExportedProgram):
        value = value.module()
    return unwrapped(value) if isinstance(value, nn.Module) else None


def _is_partial_of_module(value: Any) -> bool:
    return isinstance(value, functools.partial) and isinstance(value.func, nn.Module)


def _required(value: Callable[..., Any]) -> list[str]:
    """The names of the arguments that a call needs."""
    try:
        parameters = inspect.signature(value).parameters.values()
    except (TypeError, ValueError):
        return []
    loose = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    return [p.name for p in parameters if p.default is p.empty and p.kind not in loose]


def _is_model_class(value: Any) -> bool:
    return inspect.isclass(value) and issubclass(value, nn.Module)


def _public(module: ModuleType) -> dict[str, Any]:
    return {name: value for name, value in vars(module).items() if not name.startswith("_")}


def _nothing_found(module: ModuleType, spec: TargetSpec) -> str:
    return (
        f"{spec.text} defines no `model` (a module, or a function that returns one); {_listing(module)}; "
        f"add `model`, or name what to take: {spec.text}:NAME"
    )


def _listing(module: ModuleType, limit: int = 8) -> str:
    """The names in a module that the user may have meant, likely ones first."""
    public = {n: v for n, v in _public(module).items() if not inspect.ismodule(v)}
    modules = [n for n, v in public.items() if isinstance(v, nn.Module)]
    own = [n for n, v in public.items() if callable(v) and getattr(v, "__module__", None) == module.__name__]
    values = [n for n, v in public.items() if not callable(v) and n != "annotations"]
    names = list(dict.fromkeys(modules + own + values))
    if not names:
        return "it defines nothing"
    more = f" and {len(names) - limit} more" if len(names) > limit else ""
    return f"it has {', '.join(names[:limit])}{more}"
