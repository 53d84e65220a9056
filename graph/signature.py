"""What goes into a traced model and what comes back, as records: for whoever runs it without having the model."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, fx

from ..records import OutputSpec, TensorSpec
from .normalise import batch_expression
from .structures import TracedGraph


def input_specs(traced: TracedGraph) -> tuple[TensorSpec, ...]:
    """The model's tensor inputs in order; inputs that are no tensors were fixed when it was traced."""
    specs = []
    for spec in traced.tensor_inputs:
        assert spec.shape is not None
        shape = list(spec.shape)
        batch_dims: tuple[int, ...] = ()
        if traced.dynamic_batch and spec.batch_dim is not None:
            shape[spec.batch_dim], batch_dims = 1, (spec.batch_dim,)
        specs.append(
            TensorSpec(
                name=spec.name, dtype=_name(spec.dtype), shape=tuple(shape), batch_dims=batch_dims, public=spec.public
            )
        )
    return tuple(specs)


def output_spec(traced: TracedGraph, document: Mapping[str, Any]) -> OutputSpec:
    """What the model returns.

    Args:
        document: `Program.document` of a program that ends in the model's output.
    """
    leaves = traced.flat.graph.output_node().args[0]
    assert isinstance(leaves, (list, tuple))
    nodes = [leaf for leaf in leaves if isinstance(leaf, fx.Node)]
    tensors = tuple(_spec(f"output_{index}", node.meta.get("val")) for index, node in enumerate(nodes))
    return OutputSpec(structure=_numbered(document["output"], iter(range(len(nodes)))), tensors=tensors)


def _spec(name: str, value: Any) -> TensorSpec:
    if not isinstance(value, Tensor):
        dtype = "float64" if isinstance(value, (float, torch.SymFloat)) else "int64"
        return TensorSpec(name=name, dtype=dtype, shape=(), number=True)
    shape: list[int] = []
    batch_dims: list[int] = []
    free_dims: list[int] = []
    for dim, size in enumerate(value.shape):
        expression = batch_expression(size)
        if expression is None:
            shape.append(int(size))
            continue
        symbols = expression.free_symbols
        per_sample = expression / next(iter(symbols))
        proportional = len(symbols) == 1 and bool(per_sample.is_Integer)
        shape.append(int(per_sample) if proportional else 0)
        (batch_dims if proportional else free_dims).append(dim)
    return TensorSpec(
        name=name,
        dtype=_name(value.dtype),
        shape=tuple(shape),
        batch_dims=tuple(batch_dims),
        free_dims=tuple(free_dims),
    )


def _name(dtype: torch.dtype | None) -> str:
    return str(dtype).removeprefix("torch.")


def _numbered(structure: Any, numbers: Iterator[int]) -> Any:
    """A program's output with its references numbered in their order."""
    if isinstance(structure, dict):
        ((tag, content),) = structure.items()
        if tag == "ref":
            return {"output": next(numbers)}
        if tag == "dict":
            return {tag: [[key, _numbered(child, numbers)] for key, child in content]}
        if tag in ("list", "tuple"):
            return {tag: [_numbered(child, numbers) for child in content]}
    return structure
