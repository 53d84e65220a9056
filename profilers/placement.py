"""A traced graph on another device, in another dtype, at another batch size: always a copy.

The user's model is never moved. A traced graph names devices and dtypes in its constants
(`aten.arange(..., device=cpu)`, `aten.full(..., dtype=float32)`). The copy names the new ones; otherwise its
halves would mix devices.
"""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.fx.node import map_aggregate

from ..graph import TracedGraph
from ..graph.inputs import resize_batch
from ..graph.naming import dtype_name
from ..graph.weights import stored_tensors, usual_dtype
from ..records import CollabplanError

DTYPES = {
    "float32": torch.float32,
    "float16": torch.float16,
    "bfloat16": torch.bfloat16,
    "float64": torch.float64,
}


def place(traced: TracedGraph, device: torch.device, dtype: str | None, batch: int) -> TracedGraph:
    """The traced graph ready to run on `device`, with example inputs of `batch` samples.

    Where nothing changes the parameters are shared with `traced`; otherwise every floating parameter,
    buffer, input and dtype named in the graph becomes `dtype`. A model that deliberately computes some parts in a
    higher precision therefore computes them in `dtype` too.

    Args:
        traced: the graph to copy.
        device: from `timers.resolve_device`.
        dtype: one of `DTYPES`; None keeps the dtype of every tensor.
        batch: samples to repeat the example inputs to.

    Raises:
        CollabplanError: an unknown dtype, a dtype that the device lacks, or a batch that the trace cannot run.
    """
    inputs = resize(traced, batch)
    wanted = converted_dtype(traced, device, dtype)
    if wanted is None and device.type == "cpu":
        return replace(traced, example_inputs=inputs)
    flat = copy_graph(traced.flat, device, wanted)
    return replace(
        traced,
        flat=flat,
        example_inputs=tuple(move(tensor, device, wanted) for tensor in inputs),
    )


def on_device(traced: TracedGraph, device: torch.device) -> TracedGraph:
    """The traced graph ready to run on `device`, with its own example inputs; itself on the CPU.

    Args:
        traced: the graph to copy.
        device: from `timers.resolve_device`.

    Raises:
        CollabplanError: a model of float64, which an Apple GPU lacks.
    """
    if device.type == "cpu":
        return traced
    converted_dtype(traced, device, None)
    inputs = tuple(move(tensor, device, None) for tensor in traced.example_inputs)
    return replace(traced, flat=copy_graph(traced.flat, device, None), example_inputs=inputs)


def resize(traced: TracedGraph, batch: int) -> tuple[Tensor, ...]:
    """The example inputs with their samples repeated (or cut off) to `batch`.

    Raises:
        CollabplanError: a batch below 1, another batch than that of a static trace, or several samples of a model whose
            samples read each other.
    """
    if batch < 1:
        raise CollabplanError(f"batch {batch} is not possible; give 1 or more")
    if traced.mixed_at is not None and batch != 1 and traced.dynamic_batch:
        raise CollabplanError(
            f"samples of a batch read each other, first at {traced.mixed_at}, so this model is measured and served one "
            "sample at a time; profile with --batch 1"
        )
    if not traced.dynamic_batch and batch != traced.traced_batch:
        raise CollabplanError(
            f"this model could only be traced for batch {traced.traced_batch}, batch {batch} was asked for; profile "
            f"with --batch {traced.traced_batch}, or trace it with example inputs of batch {batch}"
        )
    specs = traced.tensor_inputs
    return tuple(
        tensor if spec.batch_dim is None else resize_batch(tensor, spec.batch_dim, batch)
        for tensor, spec in zip(traced.example_inputs, specs, strict=True)
    )


def converted_dtype(traced: TracedGraph, device: torch.device, dtype: str | None) -> torch.dtype | None:
    """The dtype to convert to; None if the model has it already, or has no floating numbers.

    Raises:
        CollabplanError: an unknown dtype, or float64 on an Apple GPU.
    """
    if dtype is not None and dtype not in DTYPES:
        raise CollabplanError(f"unknown dtype {dtype!r}; give one of {', '.join(DTYPES)}")
    native = native_dtype(traced)
    wanted = native if dtype is None else DTYPES[dtype]
    if device.type == "mps" and wanted is torch.float64:
        raise CollabplanError("an Apple GPU has no float64; use --dtype float32 or --device cpu")
    return None if native in (None, wanted) else wanted


def native_dtype_name(traced: TracedGraph) -> str:
    """The name of the model's own floating dtype; `float32` for a model without floating numbers."""
    return dtype_name(native_dtype(traced) or torch.float32)


def native_dtype(traced: TracedGraph) -> torch.dtype | None:
    """The floating dtype of most of the model's numbers, or of its inputs' if it has none."""
    return usual_dtype(stored_tensors(traced.flat).values()) or usual_dtype(traced.example_inputs)


def copy_graph(flat: fx.GraphModule, device: torch.device, dtype: torch.dtype | None) -> fx.GraphModule:
    """A copy of the graph whose tensors are on `device`, floating ones in `dtype` (None: as they are)."""
    graph = copy.deepcopy(flat.graph)
    for node in graph.nodes:
        node.args = map_aggregate(node.args, lambda leaf: _rewrite(leaf, device, dtype))
        node.kwargs = map_aggregate(node.kwargs, lambda leaf: _rewrite(leaf, device, dtype))
    moved = {name: move(tensor, device, dtype) for name, tensor in stored_tensors(flat).items()}
    return fx.GraphModule(dict(moved), graph)


def _rewrite(leaf: Any, device: torch.device, dtype: torch.dtype | None) -> Any:
    if isinstance(leaf, torch.device):
        return device
    if dtype is not None and isinstance(leaf, torch.dtype) and leaf.is_floating_point:
        return dtype
    return leaf


def move(tensor: Tensor, device: torch.device, dtype: torch.dtype | None) -> Tensor:
    """The tensor on `device`, in `dtype` if it is floating; a parameter stays a parameter."""
    floating = dtype is not None and tensor.is_floating_point()
    moved = tensor.detach().to(device=device, dtype=dtype if floating else tensor.dtype)
    return nn.Parameter(moved, requires_grad=False) if isinstance(tensor, nn.Parameter) else moved
