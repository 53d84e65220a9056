"""Which models can be traced: checks on the module, on its example inputs, and on what it returns.

A model that torch runs but a graph cannot hold (TorchScript, int8 modules, a forward that returns an object) is refused
here in the user's words, before `torch.export` fails on it in its own.
"""

from __future__ import annotations

import contextlib
import dataclasses
import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from types import GeneratorType
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from ..records import TraceError
from .inputs import parameters, positional_parameters
from .refusals import first_line, forward_line, place
from .weights import usual_dtype

_PLAIN = (int, float, complex, bool, str, type(None))
_QUANTIZED = ("torch.ao.nn.quantized", "torch.ao.nn.intrinsic.quantized", "torch.nn.quantized")


def unwrapped(model: nn.Module) -> nn.Module:
    """The module inside `torch.compile`, `DataParallel` and `DistributedDataParallel`, which computes the same.

    Args:
        model: any module; one without a wrapper is returned as it is.

    Examples:
        >>> import torch
        >>> from collabplan.graph import unwrapped
        >>> model = torch.nn.ReLU()
        >>> unwrapped(torch.nn.DataParallel(model)) is model
        True
    """
    while True:
        if isinstance(getattr(model, "_orig_mod", None), nn.Module):  # by name: the class would import the compiler
            model = model._orig_mod  # type: ignore[assignment]
        elif isinstance(model, nn.DataParallel | nn.parallel.DistributedDataParallel):
            model = model.module
        else:
            return model


def require_traceable(model: nn.Module) -> None:
    """Refuse modules without Python code to trace, and quantized modules.

    Raises:
        TraceError: names the module and the remedy.
    """
    if getattr(model.forward, "__func__", None) is nn.Module.forward:
        raise TraceError(
            f"the model, of class {type(model).__name__}, has no forward; define it, or give the module that has one"
        )
    for path, module in model.named_modules():
        name = f"its module {path!r}" if path else "it"
        if isinstance(module, torch.jit.ScriptModule):
            raise TraceError(
                f"the model cannot be traced: {name} is TorchScript (torch.jit.script, trace or load), which holds no "
                "Python; give the Python module that it was made from, with the same weights (load_state_dict)"
            )
        if type(module).__module__.startswith(_QUANTIZED):
            raise TraceError(
                f"the model cannot be traced: {name} is a quantized {type(module).__name__}; give the float model: "
                "the search finds how many bits to send"
            )


def require_inputs(names: Sequence[str], leaves: Sequence[Any]) -> None:
    """Refuse example inputs that a graph cannot take.

    Raises:
        TraceError: names the input.
    """
    for name, leaf in zip(names, leaves, strict=True):
        if isinstance(leaf, np.ndarray | np.generic):
            raise TraceError(
                f"example input {name!r} is a numpy value; give a tensor (torch.from_numpy) or a plain number"
            )
        if not _is_plain(leaf):
            kind = type(leaf).__name__
            raise TraceError(
                f"example input {name!r} is of class {kind}; a graph takes tensors, numbers and strings, in tuples, "
                f"lists and dicts: give the model inside a module whose forward takes these and makes the {kind} itself"
            )
        if isinstance(leaf, Tensor):
            require_dense(f"example input {name!r}", leaf)
    if not any(isinstance(leaf, Tensor) for leaf in leaves):
        raise TraceError("the example inputs hold no tensor; give at least one, with the batch as first dimension")


def _is_plain(leaf: Any) -> bool:
    """True for a tensor, a number and a string. A subclass of these (an Enum) has a meaning of its own."""
    return isinstance(leaf, Tensor) or type(leaf) in _PLAIN


def require_dense(what: str, tensor: Tensor) -> None:
    """Refuse sparse, nested and quantized tensors.

    Raises:
        TraceError: says how to make it dense.
    """
    if tensor.is_nested:
        raise TraceError(f"{what} is a nested tensor; pad it (torch.nested.to_padded_tensor) and pass a mask")
    if tensor.is_quantized:
        raise TraceError(f"{what} is quantized; give it in floating point (.dequantize())")
    if tensor.layout is not torch.strided:
        layout = str(tensor.layout).removeprefix("torch.")
        raise TraceError(f"{what} has the layout {layout}; make it dense (.to_dense()), a plan carries plain tensors")


def require_output(model: nn.Module, output: Any) -> None:
    """Refuse outputs other than tensors and plain values in tuples, lists and dicts.

    Raises:
        TraceError: names the class and the line of forward.
    """
    at = forward_line(model)
    leaves = pytree.tree_leaves(output)
    for leaf in leaves:
        if isinstance(leaf, Tensor):
            require_dense(f"what forward{at} returns", leaf)
        elif not _is_plain(leaf):
            name = type(leaf).__name__
            raise TraceError(f"forward{at} returns {_kind(leaf, name)}")
    if not any(isinstance(leaf, Tensor) for leaf in leaves):
        got = type(leaves[0]).__name__ if leaves else "nothing"
        raise TraceError(
            f"forward{at} returns no tensor ({got}); return the tensor that it is computed from (without .item(), "
            "float() or .tolist())"
        )


def _kind(leaf: Any, name: str) -> str:
    if isinstance(leaf, np.ndarray | np.generic):
        return "a numpy array; return the tensor (without .numpy())"
    if isinstance(leaf, GeneratorType):
        return "a generator; return a list of tensors"
    if dataclasses.is_dataclass(leaf):
        return (
            f"the dataclass {name}; return a tuple or a dict of its fields, or register it once, below the class: "
            f"torch.export.register_dataclass({name})"
        )
    return f"an object of class {name}; return its tensors, in a tuple, a list or a dict"


@contextlib.contextmanager
def evaluation_mode(model: nn.Module) -> Iterator[None]:
    """Eval mode, no gradients and the plain attention path; every module's own flag is restored.

    A model that overrides `train(mode)` is switched by its own method. Where `train` is something else (a training
    loop), fails, or leaves a module in training mode, only the flags are set.
    """
    flags = [(module, module.training) for module in model.modules()]
    switches = all(_is_switch(kind) for kind in {type(module) for module, _ in flags})
    fast_path = torch.backends.mha.get_fastpath_enabled()
    try:
        if switches:
            switches = _switched(model, False)
        for module, _ in flags:
            module.training = False
        torch.backends.mha.set_fastpath_enabled(False)  # the fused kernel has no derivative
        with torch.no_grad():
            yield
    finally:
        torch.backends.mha.set_fastpath_enabled(fast_path)
        if switches and flags[0][1]:
            _switched(model, True)  # undoes what a model's own `train(False)` did, such as merging weights
        for module, flag in flags:
            module.training = flag


def _is_switch(kind: type[nn.Module]) -> bool:
    """True where `train` takes a mode, as torch's does."""
    return "mode" in inspect.signature(kind.train).parameters


def _switched(model: nn.Module, mode: bool) -> bool:
    """True where the model's own switch worked.

    `eval` is preferred where it takes no arguments: a model may override it alone.
    """
    try:
        if mode or _needs_arguments(model.eval):
            model.train(mode)
        else:
            model.eval()
    except Exception:
        return False
    return True


def _needs_arguments(function: Callable[..., Any]) -> bool:
    loose = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    given = inspect.signature(function).parameters.values()
    return any(parameter.default is parameter.empty and parameter.kind not in loose for parameter in given)


def run_plainly(model: nn.Module, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
    """The model's own output. Compiled parts run uncompiled, as in the graph: fused kernels round differently."""
    with torch.compiler.set_stance("force_eager"):
        return model(*copies(args), **copies(kwargs))


def run_eagerly(model: nn.Module, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
    """`run_plainly` on the example inputs.

    Raises:
        TraceError: the model fails. The message names its line and what its forward takes.
    """
    try:
        return run_plainly(model, args, kwargs)
    except Exception as error:
        given = [leaf for leaf in pytree.tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
        raise TraceError(
            f"the model itself fails on the example inputs (shapes {[list(leaf.shape) for leaf in given]}): "
            f"{first_line(error)}{place(error)}; {_remedy(model, kwargs, given, error)}"
        ) from error


def _remedy(model: nn.Module, kwargs: Mapping[str, Any], given: Sequence[Tensor], error: BaseException) -> str:
    own, theirs = usual_dtype(model.parameters()), usual_dtype(given)
    if own and theirs and own != theirs:
        return f"give floating inputs in {own}, as the model's weights are"
    if "CUDA" in str(error) or "NVIDIA" in str(error):
        return "build it on the CPU and take devices from its inputs (x.device); `--device cuda` moves the whole"
    named = [p.name for p in parameters(model) if p.kind is p.KEYWORD_ONLY and p.default is p.empty]
    if any(name not in kwargs for name in named):
        by_name = "{" + ", ".join(f'"{name}": ...' for name in named) + "}"
        example = f"((...,), {by_name})" if positional_parameters(model) else by_name
        return f"forward takes {', '.join(named)} by keyword only: example_inputs = {example}"
    return f"give example inputs that the model accepts: forward takes ({', '.join(map(_shown, parameters(model)))})"


def _shown(parameter: inspect.Parameter) -> str:
    return str(parameter.replace(annotation=parameter.empty))


def copies(inputs: Any) -> Any:
    """Copies of all tensors, so that a model that writes into its inputs does not change the user's."""
    return pytree.tree_map(lambda leaf: leaf.clone() if isinstance(leaf, Tensor) else leaf, inputs)
