"""Any PyTorch model to one flat, functional graph, by `torch.export`.

The export runs in eval mode **under `no_grad`**. A model that switches gradients off in its own forward would otherwise
give a graph that no gradient can cross, and every white-box attack on it would read "private".
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from torch import Tensor, nn

from .admission import evaluation_mode, require_inputs, require_output, require_traceable, run_eagerly, unwrapped
from .batch_dims import BatchDims, ask_which, batch_dims_of, require_known
from .inputs import describe_inputs, flatten_inputs, input_names
from .samples import UNTRIED, find_samples
from .signature import ragged_outputs
from .trace_search import TraceSearch, with_notes
from .traced_graph import TracedGraph
from .units import units

_ALONE = "everything is measured and served one sample at a time, and requests are never put together"


def trace(
    model: nn.Module,
    args: tuple[Any, ...] | Tensor,
    kwargs: Mapping[str, Any] | None = None,
    *,
    batch_dims: BatchDims = None,
    public_inputs: Sequence[str] = (),
) -> TracedGraph:
    """Trace `model` into a flat functional graph whose batch size is free if possible.

    Tries `torch.export` non-strict, then strict, both with a free batch, then with the example's own
    batch size (recorded in `method`; the trace then refuses other batch sizes). The model's
    weights and training flags stay as they were.

    Args:
        model: any module whose forward is one graph (no control flow on tensor values).
        args: example positional inputs, or one tensor. Batch 1 is fine.
        kwargs: example keyword inputs.
        batch_dims: the dimension that counts samples: one for all inputs, or one by input name (None: it has none), or
            "none" where one call is one sample. Default: the first dimension of every tensor that agrees with the
            first tensor's, or the only others that the model runs with. Where the first dimension looks like time, or
            like the nodes of a graph, it must be given.
        public_inputs: names of inputs that are harmless to send; every other input is private.

    Raises:
        TraceError: the model fails on its example inputs, cannot be traced (the message names the source line),
            draws random numbers, keeps state between calls, or its graph does not reproduce it; or its batch
            dimensions are impossible, or must be given.

    Examples:
        >>> import torch
        >>> from collabplan.graph import trace
        >>> traced = trace(torch.nn.Linear(3, 2), torch.ones(1, 3))
        >>> traced.dynamic_batch, traced.identity.parameter_count
        (True, 8)
    """
    model = unwrapped(model)
    require_traceable(model)
    args = (args,) if isinstance(args, Tensor) else tuple(args)
    kwargs = dict(kwargs or {})
    names = input_names(model, args, kwargs)
    leaves, structure = flatten_inputs(args, kwargs)
    require_inputs(names, leaves)
    tensor_names = [name for name, leaf in zip(names, leaves, strict=True) if isinstance(leaf, Tensor)]
    require_known("public_inputs", public_inputs, tensor_names)
    specs = describe_inputs(names, leaves, batch_dims_of(names, leaves, batch_dims), public_inputs)
    with evaluation_mode(model):
        expected = run_eagerly(model, args, kwargs)
        require_output(model, expected)
        search = TraceSearch(model, args, kwargs, expected, leaves, structure)
        traced = _examined(search.traced(specs, batch_dims if isinstance(batch_dims, Mapping) else ()))
        if traced.mixed_at == UNTRIED and traced.dynamic_batch and search.cannot_resize(traced.inputs):
            traced = _examined(search.fixed(traced.inputs))
        if traced.mixed_at is not None and batch_dims is None:
            ask_which(model, traced.inputs, leaves, structure, traced.mixed_at, resizes=not search.stuck)
        return traced


def _examined(traced: TracedGraph) -> TracedGraph:
    """The trace with what planning needs to know: the layout of each crossing, and whether a plan can be made."""
    notes = []
    ragged = ragged_outputs(traced)
    if ragged is not None:
        notes.append(f"no plan can be made: {ragged}")
    crossable = [tensor.node for tensor in units(traced).tensors if tensor.crossable]
    found = find_samples(traced, crossable)  # may run the model: once here, so that planning runs nothing
    if found.mixed_at is not None:
        together = _ALONE
        if not traced.dynamic_batch:
            together = f"only {traced.traced_batch} can run together, so no plan can be made"
        notes.append(f"samples of a batch read each other, first at {found.mixed_at}: {together}")
    return replace(with_notes(traced, *notes), layouts=found.layouts, mixed_at=found.mixed_at)
