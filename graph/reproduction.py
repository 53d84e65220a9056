"""Does a traced graph compute what the model computes?"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from ..records import TraceError
from .admission import copies, run_eagerly
from .batches import resized
from .comparing import close_values, same_values
from .inputs import batch_of
from .probes import is_constant, noisy, other_values
from .refusals import forward_line
from .traced_graph import FixedBatchError, TracedGraph


@dataclass(frozen=True, eq=False)
class ModelCall:
    """Inputs, and what the model returned for them."""

    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]
    expected: Any

    def of(self, traced: TracedGraph) -> Any:
        """What the trace returns for the same inputs."""
        return traced.module(*copies(self.args), **copies(self.kwargs))


def other_calls(traced: TracedGraph, model: nn.Module, leaves: Sequence[Any]) -> Iterator[ModelCall]:
    """At most one further call: with other numbers if the example's are constant, with one sample if it has more.

    Zeros hide errors, and `if x.shape[0] > 1` was decided for the traced batch. Export has proven that all larger
    batches take one path.

    Args:
        traced: the trace to check.
        model: in eval mode.
        leaves: the example inputs, flattened.
    """
    constant = any(is_constant(leaf) for leaf in leaves if isinstance(leaf, Tensor))
    several = traced.dynamic_batch and batch_of(traced.inputs, leaves) != 1
    if not (constant or several):
        return
    given = resized(traced.inputs, leaves, 1) if traced.dynamic_batch else leaves
    structure: pytree.TreeSpec = traced.module.bind.structure  # type: ignore[assignment, union-attr]
    for change in (other_values, noisy):  # other integers may be ids beyond a table
        generator = torch.Generator().manual_seed(0)
        changed = [change(leaf, generator) if isinstance(leaf, Tensor) else leaf for leaf in given]
        args, kwargs = pytree.tree_unflatten(changed, structure)
        with contextlib.suppress(TraceError):  # the model itself refuses such inputs
            yield ModelCall(args, kwargs, run_eagerly(model, args, kwargs))
            return


def doubt(traced: TracedGraph, model: nn.Module, call: ModelCall, got: Any) -> str:
    """A note if the trace equals the model only up to rounding; empty if it does so bit for bit.

    Args:
        traced: the trace.
        model: in eval mode.
        call: the inputs, and what the model returned.
        got: what the trace returned.

    Raises:
        TraceError: it does not reproduce the model.
        FixedBatchError: it does not, but may do so at the example's batch size.
    """
    if same_values(got, call.expected):
        return ""
    if not same_values(run_eagerly(model, call.args, call.kwargs), call.expected):
        raise TraceError(
            f"the model{forward_line(model)} gives another output each time it runs on the same input (random numbers "
            "or state kept between calls); make its eval mode deterministic"
        )
    if close_values(got, call.expected):
        return "the graph equals the model up to rounding, not bit for bit"
    if traced.dynamic_batch:
        batch = batch_of(traced.inputs, pytree.tree_leaves((call.args, call.kwargs)))
        raise FixedBatchError(f"at batch {batch} the model does something else{forward_line(model)}")
    raise TraceError(
        f"the traced graph does not reproduce the model{forward_line(model)}; it depends on something that tracing "
        "cannot see (Python state, an assigned .data, the environment, custom code): compute it from inputs, "
        "parameters and buffers"
    )
