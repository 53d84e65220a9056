"""Looks for the export that reproduces a model: with a free batch before a fixed one."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.export import ExportedProgram
from torch.utils import _pytree as pytree

from ..records import TraceError
from .batches import failure_at, free_batch
from .comparing import same_values
from .exporting import TRACED_BATCH, exported
from .inputs import InputBinder, batch_of
from .normalise import normalise
from .program_document import identify
from .refusals import fixed_batch, untraceable
from .reproduction import ModelCall, doubt, other_calls
from .traced_graph import FixedBatchError, InputSpec, Method, TracedGraph


class TracedModule(nn.Module):
    """Runs the traced graph with the model's own args, kwargs and output structure."""

    def __init__(self, flat: torch.fx.GraphModule, bind: InputBinder, output_structure: pytree.TreeSpec):
        super().__init__()
        self.graph_module = flat
        self.bind = bind
        self.output_structure = output_structure

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """The model's output. Raises TraceError where the inputs are not those it was traced for."""
        outputs = self.graph_module(*self.bind(args, kwargs))
        return pytree.tree_unflatten(outputs, self.output_structure)


@dataclass(eq=False)
class TraceSearch:
    """Tries the ways to export one model.

    Attributes:
        model: in eval mode.
        args, kwargs: the example inputs.
        expected: what the model returned for them.
        leaves, structure: the same inputs, flattened, and their nesting.
        stuck: why the model cannot run at another batch size; empty where it can.
        failures: what each export that failed raised.
    """

    model: nn.Module
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]
    expected: Any
    leaves: list[Any]
    structure: pytree.TreeSpec
    stuck: str = ""
    failures: list[Exception] = field(default_factory=list)

    def traced(self, specs: tuple[InputSpec, ...], settled: Collection[str]) -> TracedGraph:
        """The first trace that reproduces the model, with notes on how it was found.

        Args:
            specs: the inputs with the first guess of their batch dimensions.
            settled: the inputs whose batch dimension the user gave.

        Raises:
            TraceError: no trace does.
        """
        if all(spec.batch_dim is None for spec in specs):
            return self.fixed(specs)
        found = self._attempt(specs, "non-strict", strict=False)
        if found is not None:
            return found
        moved, how, self.stuck = free_batch(
            self.model, specs, self.leaves, self.structure, self._other_size(specs), settled
        )
        if how:
            found = self._attempt(moved, "non-strict", strict=False)
        if found is None and not self.stuck:
            found = self._attempt(moved, "strict", strict=True)
        return with_notes(self.fixed(moved) if found is None else found, how)

    def cannot_resize(self, specs: tuple[InputSpec, ...]) -> bool:
        """True where the model itself fails at another batch size."""
        self.stuck = failure_at(self._other_size(specs), self.model, specs, self.leaves, self.structure)
        return bool(self.stuck)

    def _other_size(self, specs: tuple[InputSpec, ...]) -> int:
        return TRACED_BATCH if batch_of(specs, self.leaves) != TRACED_BATCH else TRACED_BATCH + 1

    def fixed(self, specs: tuple[InputSpec, ...]) -> TracedGraph:
        """The trace for the example's batch size alone.

        Raises:
            TraceError: no export reproduces the model.
        """
        if all(spec.batch_dim is None for spec in specs):
            note = "no input has a batch: one call is one sample"
        else:
            size, reason = batch_of(specs, self.leaves), self.stuck or fixed_batch(self.failures)
            note = f"only batch size {size} can run, since with a free one: {reason}"
        for strict in (False, True):
            found = self._attempt(specs, "static", strict=strict)
            if found is not None:
                return with_notes(found, note)
        raise untraceable(self.model, self.failures) from self.failures[-1]

    def _attempt(self, specs: tuple[InputSpec, ...], method: Method, *, strict: bool) -> TracedGraph | None:
        """The trace of one way to export; None where the export fails or holds for some batch sizes only.

        Raises:
            TraceError: a fault of the model, which no other way avoids.
        """
        export = partial(
            exported, self.model, specs, self.leaves, self.structure, strict=strict, dynamic=method != "static"
        )
        try:
            program = export()
        except Exception as error:
            self.failures.append(error)
            return None
        try:
            traced = self._assembled(program, specs, method)
            calls = [ModelCall(self.args, self.kwargs, self.expected), *other_calls(traced, self.model, self.leaves)]
            got = [call.of(traced) for call in calls]
            if not all(same_values(each, call.expected) for each, call in zip(got, calls, strict=True)):
                traced = self._assembled(export(again=True), specs, method)
                got = [call.of(traced) for call in calls]
            doubts = [doubt(traced, self.model, call, each) for each, call in zip(got, calls, strict=True)]
        except Exception as error:
            if isinstance(error, TraceError) and not isinstance(error, FixedBatchError):
                raise
            self.failures.append(error)
            return None
        return with_notes(traced, *doubts)

    def _assembled(self, program: ExportedProgram, specs: tuple[InputSpec, ...], method: Method) -> TracedGraph:
        batch = TRACED_BATCH if method != "static" else batch_of(specs, self.leaves)
        flat, kinds, batch_symbol, notes = normalise(program, specs)
        bind = InputBinder(specs, self.structure, batch if method == "static" else None, self.model)
        return TracedGraph(
            flat=flat,
            module=TracedModule(flat, bind, cast("pytree.TreeSpec", program.call_spec.out_spec)).eval(),
            inputs=specs,
            example_inputs=tuple(leaf.detach().clone() for leaf in self.leaves if isinstance(leaf, Tensor)),
            kinds=kinds,
            identity=identify(flat, specs, type(self.model).__name__),
            method=method,
            traced_batch=batch,
            batch_symbol=batch_symbol,
            notes=tuple(notes),
        )


def with_notes(traced: TracedGraph, *notes: str) -> TracedGraph:
    """The trace with further notes; empty and repeated ones are left out."""
    all_notes = dict.fromkeys([*traced.notes, *(note for note in notes if note)])
    return replace(traced, notes=tuple(all_notes))
