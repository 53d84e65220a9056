"""What a traced model takes and returns, as records: for those who run it without having the model."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, fx

from ..records import CutError, OutputSpec, TensorSpec
from .naming import dtype_name
from .refusals import user_line
from .sizes import counts_on_batch, has_fixed_shape, per_sample, symbolic
from .traced_graph import TracedGraph


def input_specs(traced: TracedGraph) -> tuple[TensorSpec, ...]:
    """The model's tensor inputs in order. Other inputs were fixed when it was traced.

    Args:
        traced: the traced model.

    Examples:
        >>> import torch
        >>> from collabplan.graph import input_specs, trace
        >>> [spec.shape_at(5) for spec in input_specs(trace(torch.nn.ReLU(), torch.ones(1, 3)))]
        [(5, 3)]
    """
    specs = []
    for spec in traced.tensor_inputs:
        assert spec.shape is not None
        shape = list(spec.shape)
        batch_dims: tuple[int, ...] = ()
        if spec.batch_dim is not None:
            shape[spec.batch_dim], batch_dims = 1, (spec.batch_dim,)
        specs.append(
            TensorSpec(
                name=spec.name,
                dtype=dtype_name(spec.dtype),
                shape=tuple(shape),
                batch_dims=batch_dims,
                public=spec.public,
            )
        )
    return tuple(specs)


def output_spec(traced: TracedGraph, document: Mapping[str, Any]) -> OutputSpec:
    """What the model returns.

    Args:
        traced: the traced model.
        document: `Program.document` of a program that ends in the model's output.

    Examples:
        >>> import tempfile, pathlib, torch
        >>> from collabplan.graph import load_program, output_spec, save_program, trace
        >>> traced = trace(torch.nn.ReLU(), torch.ones(1, 3))
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     save_program(traced.module, pathlib.Path(folder))
        ...     output_spec(traced, load_program(pathlib.Path(folder)).document).structure
        {'output': 0}
    """
    nodes = _output_nodes(traced)
    tensors = tuple(_spec(f"output_{index}", node.meta.get("val"), traced) for index, node in enumerate(nodes))
    return OutputSpec(structure=_numbered(document["output"], iter(range(len(nodes)))), tensors=tensors)


def ragged_outputs(traced: TracedGraph) -> str | None:
    """The complaint about an output whose shape depends on values, with the remedy; None where no shape does."""
    for node in _output_nodes(traced):
        value = node.meta.get("val")
        if isinstance(value, Tensor) and not has_fixed_shape(value, traced.batch_symbol):
            sizes = ", ".join(_size_text(size, traced) for size in value.shape)
            return (
                f"the model returns a tensor [{sizes}] whose size depends on values{user_line(node)}; return one of "
                "fixed size: all rows and their mask, or the best k rows (topk), padded"
            )
    return None


def require_fixed_outputs(traced: TracedGraph) -> None:
    """Refuse a model that no plan can serve.

    Args:
        traced: the traced model.

    Raises:
        CutError: the shape of an output depends on values.

    Examples:
        >>> import torch
        >>> from collabplan.graph import require_fixed_outputs, trace
        >>> require_fixed_outputs(trace(torch.nn.ReLU(), torch.ones(1, 3)))
    """
    wrong = ragged_outputs(traced)
    if wrong is not None:
        raise CutError(wrong)


def _output_nodes(traced: TracedGraph) -> list[fx.Node]:
    leaves = traced.flat.graph.output_node().args[0]
    assert isinstance(leaves, (list, tuple))
    return [leaf for leaf in leaves if isinstance(leaf, fx.Node)]


def _size_text(size: Any, traced: TracedGraph) -> str:
    if symbolic(size) is None:
        return str(size)
    return "batch" if counts_on_batch(size, traced.batch_symbol) else "?"


def _spec(name: str, value: Any, traced: TracedGraph) -> TensorSpec:
    if not isinstance(value, Tensor):
        dtype = "float64" if isinstance(value, (float, torch.SymFloat)) else "int64"
        return TensorSpec(name=name, dtype=dtype, shape=(), number=True)
    shape: list[int] = []
    batch_dims: list[int] = []
    free_dims: list[int] = []
    for dim, size in enumerate(value.shape):
        if symbolic(size) is None:
            shape.append(int(size))
            continue
        groups = per_sample(size, traced.batch_symbol)
        shape.append(groups or 0)
        (free_dims if groups is None else batch_dims).append(dim)
    return TensorSpec(
        name=name,
        dtype=dtype_name(value.dtype),
        shape=tuple(shape),
        batch_dims=tuple(batch_dims),
        free_dims=tuple(free_dims),
    )


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
