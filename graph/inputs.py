"""The model's inputs, flattened: names, which of them carry the batch, and checks before every call."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from ..records import TraceError
from .structures import InputSpec


def flatten_inputs(args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> tuple[list[Any], pytree.TreeSpec]:
    """The leaves of (args, kwargs) in the order of the traced graph's inputs, and their structure."""
    return pytree.tree_flatten((args, dict(kwargs)))


def input_names(model: nn.Module, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> list[str]:
    """One name per leaf: the forward parameter's own, with `.key` for what is nested in it."""
    parameters = [
        name
        for name, parameter in inspect.signature(model.forward).parameters.items()
        if parameter.kind in (parameter.POSITIONAL_ONLY, parameter.POSITIONAL_OR_KEYWORD)
    ]
    leaves, _ = pytree.tree_flatten_with_path((args, dict(kwargs)))
    names = []
    for path, _leaf in leaves:
        keys = [str(getattr(key, "idx", getattr(key, "key", getattr(key, "name", key)))) for key in path]
        positional = keys[0] == "0"
        head = keys[1]
        if positional:
            index = int(head)
            head = parameters[index] if index < len(parameters) else f"input_{index}"
        names.append(".".join([head, *keys[2:]]))
    return names


def describe_inputs(
    names: Sequence[str],
    leaves: Sequence[Any],
    batch_dims: Mapping[str, int | None] | None,
    public_inputs: Sequence[str],
) -> tuple[InputSpec, ...]:
    """One InputSpec per leaf.

    Without `batch_dims`, the first dimension of the first tensor is the batch, and every tensor whose
    first dimension has that size carries it.

    Raises:
        TraceError: a name in `batch_dims` or `public_inputs` that no input has, or a dimension that
            the tensor does not have.
    """
    tensor_names = [name for name, leaf in zip(names, leaves, strict=True) if isinstance(leaf, Tensor)]
    _require_known("batch_dims", batch_dims or {}, tensor_names)
    _require_known("public_inputs", public_inputs, tensor_names)
    first = next((leaf for leaf in leaves if isinstance(leaf, Tensor) and leaf.ndim), None)
    specs = []
    for name, leaf in zip(names, leaves, strict=True):
        if not isinstance(leaf, Tensor):
            specs.append(InputSpec(name, None, None, None, False, leaf))
            continue
        if batch_dims is not None and name in batch_dims:
            batch_dim = batch_dims[name]
            if batch_dim is not None and not 0 <= batch_dim < leaf.ndim:
                raise TraceError(
                    f"batch_dims names dimension {batch_dim} of input {name!r}, which has {leaf.ndim} dimensions"
                )
        else:
            same = first is not None and leaf.ndim > 0 and leaf.shape[0] == first.shape[0]
            batch_dim = 0 if same else None
        specs.append(InputSpec(name, tuple(leaf.shape), leaf.dtype, batch_dim, name in public_inputs))
    return tuple(specs)


def _require_known(option: str, asked: Sequence[str] | Mapping[str, Any], known: Sequence[str]) -> None:
    for name in asked:
        if name not in known:
            raise TraceError(f"{option} names {name!r}, but the model's tensor inputs are {', '.join(known) or 'none'}")


def resize_batch(leaf: Tensor, batch_dim: int, batch: int) -> Tensor:
    """`leaf` with its samples repeated (or cut off) to `batch` along `batch_dim`."""
    repeats = -(-batch // max(leaf.shape[batch_dim], 1))
    return torch.cat([leaf] * repeats, dim=batch_dim).narrow(batch_dim, 0, batch).contiguous()


class InputBinder:
    """Turns a call's args and kwargs into the flat tensors of the graph, or says what is wrong with them."""

    def __init__(self, specs: tuple[InputSpec, ...], structure: pytree.TreeSpec, static_batch: int | None):
        self.specs = specs
        self.structure = structure
        self.static_batch = static_batch

    def __call__(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> list[Tensor]:
        """The tensor inputs in order.

        Raises:
            TraceError: another number or structure of inputs, another dtype or shape, a changed constant.
        """
        leaves, structure = flatten_inputs(args, kwargs)
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


def same_values(left: Any, right: Any) -> bool:
    """Bitwise equality of two output structures (NaN equals NaN)."""
    return _compare(left, right, lambda a, b: bool(((a == b) | ((a != a) & (b != b))).all()))


def close_values(left: Any, right: Any) -> bool:
    """Equality up to rounding of two output structures."""
    return _compare(left, right, lambda a, b: torch.allclose(a, b, rtol=1e-3, atol=1e-4, equal_nan=True))


def _compare(left: Any, right: Any, equal: Callable[[Tensor, Tensor], bool]) -> bool:
    left_leaves, right_leaves = pytree.tree_leaves(left), pytree.tree_leaves(right)
    if len(left_leaves) != len(right_leaves):
        return False
    for a, b in zip(left_leaves, right_leaves, strict=True):
        if isinstance(a, Tensor) and isinstance(b, Tensor):
            if a.dtype != b.dtype or a.shape != b.shape or not equal(a, b):
                return False
        elif isinstance(a, Tensor) or isinstance(b, Tensor) or a != b:
            return False
    return True
