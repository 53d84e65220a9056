"""The model's inputs, flattened: their names, their batch dimensions, and checks before every call."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from ..records import TraceError
from .traced_graph import InputSpec


def flatten_inputs(args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> tuple[list[Any], pytree.TreeSpec]:
    """The leaves of (args, kwargs) in the order of the traced graph's inputs, and their structure."""
    return pytree.tree_flatten((args, dict(kwargs)))


def parameters(model: nn.Module) -> list[inspect.Parameter]:
    """The parameters of the model's forward; empty where Python cannot inspect it."""
    try:
        return list(inspect.signature(model.forward).parameters.values())
    except (TypeError, ValueError):
        return []


def positional_parameters(model: nn.Module) -> list[str]:
    """The names of the parameters that forward takes by position, in order."""
    kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    return [parameter.name for parameter in parameters(model) if parameter.kind in kinds]


def input_names(model: nn.Module, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> list[str]:
    """One name per leaf: the forward parameter, with `.key` for what is nested in it."""
    positional_names = positional_parameters(model)
    leaves, _ = pytree.tree_flatten_with_path((args, dict(kwargs)))
    names = []
    for path, _leaf in leaves:
        keys = [str(getattr(key, "idx", getattr(key, "key", getattr(key, "name", key)))) for key in path]
        positional = keys[0] == "0"
        head = keys[1]
        if positional:
            index = int(head)
            head = positional_names[index] if index < len(positional_names) else f"input_{index}"
        names.append(".".join([head, *keys[2:]]))
    return names


def describe_inputs(
    names: Sequence[str], leaves: Sequence[Any], batch_dims: Sequence[int | None], public_inputs: Sequence[str]
) -> tuple[InputSpec, ...]:
    """One InputSpec per leaf; `batch_dims` holds the dimension that counts samples in each."""
    return tuple(
        InputSpec(name, tuple(leaf.shape), leaf.dtype, batch_dim, name in public_inputs)
        if isinstance(leaf, Tensor)
        else InputSpec(name, None, None, None, False, leaf)
        for name, leaf, batch_dim in zip(names, leaves, batch_dims, strict=True)
    )


def resize_batch(leaf: Tensor, batch_dim: int, batch: int) -> Tensor:
    """`leaf` with its samples repeated (or cut off) to `batch` along `batch_dim`.

    Args:
        leaf: any shape with at least one sample.
        batch_dim: the dimension that counts samples.
        batch: the wanted number of samples.

    Examples:
        >>> from collabplan.graph import resize_batch
        >>> resize_batch(torch.tensor([[1], [2]]), 0, 3).flatten().tolist()
        [1, 2, 1]
    """
    repeats = -(-batch // max(leaf.shape[batch_dim], 1))
    return torch.cat([leaf] * repeats, dim=batch_dim).narrow(batch_dim, 0, batch).contiguous()


def batch_of(specs: Sequence[InputSpec], leaves: Sequence[Any]) -> int:
    """The number of samples in flattened inputs; 1 where no input has a batch."""
    for spec, leaf in zip(specs, leaves, strict=True):
        if spec.batch_dim is not None:
            return int(leaf.shape[spec.batch_dim])
    return 1


class InputBinder:
    """Turns a call's args and kwargs into the flat tensors of the graph.

    A call is as free as one of the model itself: an input may come by position or by keyword, keywords and the keys of
    dicts may come in any order, and an argument at its default may be left out.

    Args:
        specs: the model's inputs.
        structure: their nesting when the model was traced.
        static_batch: the only batch size that can run; None: any.
        model: for the signature of its forward.
    """

    def __init__(
        self,
        specs: tuple[InputSpec, ...],
        structure: pytree.TreeSpec,
        static_batch: int | None,
        model: nn.Module,
    ):
        self.specs = specs
        self.structure = structure
        self.static_batch = static_batch
        self.positional = positional_parameters(model)
        self.defaults = {p.name: p.default for p in parameters(model) if p.default is not p.empty}

    def __call__(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> list[Tensor]:
        """The tensor inputs in order.

        Raises:
            TraceError: the structure, a dtype, a shape or a constant is not that of the trace.
        """
        leaves, structure = flatten_inputs(*self._as_traced(args, kwargs))
        if structure != self.structure:
            expected = ", ".join(spec.name for spec in self.specs)
            raise TraceError(
                f"the model was traced with the inputs ({expected}); call it with the same args and kwargs "
                f"(expected structure {self.structure}, got {structure})"
            )
        batch: int | None = self.static_batch
        tensors = []
        for spec, leaf in zip(self.specs, leaves, strict=True):
            if not spec.is_tensor:
                if leaf is not spec.constant and leaf != spec.constant:
                    raise TraceError(
                        f"input {spec.name!r} was fixed to {spec.constant!r} when the model was traced and is now "
                        f"{leaf!r}; trace the model again with that value"
                    )
                continue
            batch = self._check(spec, leaf, batch)
            tensors.append(leaf.resolve_conj())
        return tensors

    def _as_traced(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """The same call with each input in the place that it had when the model was traced."""
        traced_args, traced_kwargs = self.structure.children()
        by_position = self.positional[: traced_args.num_children]
        traced = [*by_position, *traced_kwargs.context]
        given = {**dict(zip(self.positional, args, strict=False)), **kwargs}
        for name, default in self.defaults.items():
            if name in traced:
                given.setdefault(name, default)
            elif name in given and not isinstance(given[name], Tensor) and given[name] == default:
                del given[name]
        if any(name not in given for name in traced):
            return args, dict(kwargs)
        laid = tuple(given.pop(name) for name in by_position) + args[len(self.positional) :]
        named = {name: given.pop(name) for name in traced_kwargs.context} | given
        ordered: tuple[tuple[Any, ...], dict[str, Any]] = _in_order((laid, named), self.structure)
        return ordered

    def _check(self, spec: InputSpec, leaf: Any, batch: int | None) -> int | None:
        assert spec.shape is not None
        if not isinstance(leaf, Tensor) or leaf.dtype != spec.dtype:
            got = leaf.dtype if isinstance(leaf, Tensor) else type(leaf).__name__
            raise TraceError(f"input {spec.name!r} must be a tensor of {spec.dtype}, got {got}")
        expected = list(spec.shape)
        if spec.batch_dim is not None and leaf.ndim == len(expected):
            if batch is None:
                batch = leaf.shape[spec.batch_dim]
            expected[spec.batch_dim] = batch
        if list(leaf.shape) != expected:
            hint = f" (traced for batch {batch} only)" if self.static_batch is not None else ""
            raise TraceError(f"input {spec.name!r} must have the shape {expected}{hint}, got {list(leaf.shape)}")
        return batch


def _in_order(value: Any, structure: pytree.TreeSpec) -> Any:
    """`value` with the keys of its dicts in the order of `structure`. Other differences stay."""
    if structure.is_leaf() or type(value) is not structure.type:
        return value
    children = structure.children()
    if structure.type is dict and set(value) == set(structure.context):
        return {key: _in_order(value[key], child) for key, child in zip(structure.context, children, strict=True)}
    if structure.type in (tuple, list) and len(value) == len(children):
        return structure.type(_in_order(part, child) for part, child in zip(value, children, strict=True))
    return value
