"""Any PyTorch model to one flat, functional graph, by `torch.export`.

The export runs in eval mode **under `no_grad`**: a model that switches gradients off in its own forward
otherwise comes back with a graph that no gradient can cross, and every white-box attack on it would
read "private".
"""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, Literal, cast

import torch
from torch import Tensor, nn
from torch.export import ExportedProgram
from torch.utils import _pytree as pytree

from ..records import TraceError
from .admission import (
    copies,
    evaluation_mode,
    require_inputs,
    require_output,
    require_traceable,
    run_eagerly,
    unwrapped,
)
from .batch_dims import BatchDims, ask_which, batch_dims_of, require_known
from .batches import failure_at, free_batch, resized
from .comparing import close_values, same_values
from .exporting import TRACED_BATCH, exported
from .inputs import InputBinder, describe_inputs, flatten_inputs, input_names
from .normalise import normalise
from .probes import noisy, other_values
from .program_document import identify
from .refusals import fixed_batch, forward_line, untraceable
from .samples import UNTRIED, find_samples
from .signature import ragged_outputs
from .traced_graph import FixedBatchError, InputSpec, TracedGraph
from .units import units

Method = Literal["non-strict", "strict", "static"]

_ALONE = "everything is measured and served one sample at a time, and requests are never put together"


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


def trace(
    model: nn.Module,
    args: tuple[Any, ...] | Tensor,
    kwargs: Mapping[str, Any] | None = None,
    *,
    batch_dims: BatchDims = None,
    public_inputs: Sequence[str] = (),
) -> TracedGraph:
    """Trace `model` into a flat functional graph whose batch size is free where that is possible.

    Tries `torch.export` non-strict, then strict, both with a free batch, then with the example's own
    batch size (recorded in `method`; other batch sizes are refused from then on). The model's
    weights and training flags are left as they were.

    Args:
        model: any module whose forward is one graph (no control flow on tensor values).
        args: example positional inputs, or one tensor. Batch 1 is fine.
        kwargs: example keyword inputs.
        batch_dims: the dimension that counts samples: one for all inputs, or by input name (None: it has none), or
            "none" where one call is one sample. Default: the first dimension of every tensor that agrees with the
            first tensor's, or the only others that the model runs with; where the first looks like time, or like the
            nodes of a graph, it must be said.
        public_inputs: names of inputs that are harmless to send; every other input is private.

    Raises:
        TraceError: the model fails on its example inputs, cannot be traced (the source line is
            named), draws random numbers, keeps state between calls, or its graph does not reproduce it; or batch
            dimensions that must be said, or cannot be as they are.
    """
    model = unwrapped(model)
    require_traceable(model)
    args = (args,) if isinstance(args, Tensor) else tuple(args)
    kwargs = dict(kwargs or {})
    names = input_names(model, args, kwargs)
    leaves, structure = flatten_inputs(args, kwargs)
    require_inputs(names, leaves)
    require_known("public_inputs", public_inputs, _tensor_names(names, leaves))
    specs = describe_inputs(names, leaves, batch_dims_of(names, leaves, batch_dims), public_inputs)
    with evaluation_mode(model):
        expected = run_eagerly(model, args, kwargs)
        require_output(model, expected)
        search = _Search(model, args, kwargs, expected, leaves, structure)
        traced = _finished(search.traced(specs, batch_dims if isinstance(batch_dims, Mapping) else ()))
        if traced.mixed_at == UNTRIED and traced.dynamic_batch and search.cannot_resize(traced.inputs):
            traced = _finished(search.fixed(traced.inputs))
        if traced.mixed_at is not None and batch_dims is None:
            ask_which(model, traced.inputs, leaves, structure, traced.mixed_at, resizes=not search.stuck)
        return traced


@dataclass(eq=False)
class _Search:
    """Looks for the export that reproduces a model, with a free batch before one with a fixed batch.

    `stuck` says why the model cannot run with another number of samples, where it cannot.
    """

    model: nn.Module
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]
    expected: Any
    leaves: list[Any]
    structure: pytree.TreeSpec
    stuck: str = ""
    failures: list[Exception] = field(default_factory=list)

    def traced(self, specs: tuple[InputSpec, ...], said: Collection[str]) -> TracedGraph:
        """The first trace that reproduces the model, with notes on how it came about.

        Raises:
            TraceError: none does.
        """
        if all(spec.batch_dim is None for spec in specs):
            return self.fixed(specs)
        found = self._attempt(specs, "non-strict", strict=False)
        if found is not None:
            return found
        moved, how, self.stuck = free_batch(
            self.model, specs, self.leaves, self.structure, self._other_size(specs), said
        )
        if how:
            found = self._attempt(moved, "non-strict", strict=False)
        if found is None and not self.stuck:
            found = self._attempt(moved, "strict", strict=True)
        return _noted(self.fixed(moved) if found is None else found, how)

    def cannot_resize(self, specs: tuple[InputSpec, ...]) -> bool:
        """True where the model itself fails with another number of samples."""
        self.stuck = failure_at(self._other_size(specs), self.model, specs, self.leaves, self.structure)
        return bool(self.stuck)

    def _other_size(self, specs: tuple[InputSpec, ...]) -> int:
        return TRACED_BATCH if _batch_of(specs, self.leaves) != TRACED_BATCH else TRACED_BATCH + 1

    def fixed(self, specs: tuple[InputSpec, ...]) -> TracedGraph:
        """The trace for the example's batch size alone. Raises TraceError where there is none."""
        if all(spec.batch_dim is None for spec in specs):
            note = "no input has a batch: one call is one sample"
        else:
            size, reason = _batch_of(specs, self.leaves), self.stuck or fixed_batch(self.failures)
            note = f"only batch size {size} can run, since with a free one: {reason}"
        for strict in (False, True):
            found = self._attempt(specs, "static", strict=strict)
            if found is not None:
                return _noted(found, note)
        raise untraceable(self.model, self.failures) from self.failures[-1]

    def _attempt(self, specs: tuple[InputSpec, ...], method: Method, *, strict: bool) -> TracedGraph | None:
        """One way to export; None where it fails, or where it turns out to hold for some batch sizes alone.

        Raises:
            TraceError: a fault of the model, which another way would not mend.
        """
        export = partial(
            exported, self.model, specs, self.leaves, self.structure, strict=strict, dynamic=method != "static"
        )
        assemble = partial(
            _assemble, model=self.model, specs=specs, leaves=self.leaves, structure=self.structure, method=method
        )
        try:
            program = export()
        except Exception as error:
            self.failures.append(error)
            return None
        try:
            traced = assemble(program)
            calls = [_Call(self.args, self.kwargs, self.expected), *_other_calls(traced, self.model, self.leaves)]
            given = [call.of(traced) for call in calls]
            if not all(same_values(got, call.expected) for got, call in zip(given, calls, strict=True)):
                traced = assemble(export(again=True))
                given = [call.of(traced) for call in calls]
            doubts = [_doubt(traced, self.model, call, got) for got, call in zip(given, calls, strict=True)]
        except Exception as error:
            if isinstance(error, TraceError) and not isinstance(error, FixedBatchError):
                raise
            self.failures.append(error)
            return None
        return _noted(traced, *doubts)


def _noted(traced: TracedGraph, *notes: str) -> TracedGraph:
    told = dict.fromkeys([*traced.notes, *(note for note in notes if note)])
    return replace(
        traced,
        notes=tuple(told),
    )


def _finished(traced: TracedGraph) -> TracedGraph:
    """With what planning asks of it: how each crossing comes back to samples, and whether a plan can be made."""
    notes = []
    ragged = ragged_outputs(traced)
    if ragged is not None:
        notes.append(f"no plan can be made: {ragged}")
    crossable = [tensor.node for tensor in units(traced).tensors if tensor.crossable]
    found = find_samples(traced, crossable)  # runs the model: here once, so that planning runs nothing
    if found.mixed_at is not None:
        together = _ALONE
        if not traced.dynamic_batch:
            together = f"only {traced.traced_batch} can run together, so no plan can be made"
        notes.append(f"samples of a batch read each other, first at {found.mixed_at}: {together}")
    return replace(
        _noted(traced, *notes),
        layouts=found.layouts,
        mixed_at=found.mixed_at,
    )


def _tensor_names(names: Sequence[str], leaves: Sequence[Any]) -> list[str]:
    return [name for name, leaf in zip(names, leaves, strict=True) if isinstance(leaf, Tensor)]


def _assemble(
    program: ExportedProgram,
    model: nn.Module,
    specs: tuple[InputSpec, ...],
    leaves: list[Any],
    structure: pytree.TreeSpec,
    method: Method,
) -> TracedGraph:
    batch = TRACED_BATCH if method != "static" else _batch_of(specs, leaves)
    flat, kinds, batch_symbol, notes = normalise(program, specs)
    bind = InputBinder(specs, structure, batch if method == "static" else None, model)
    return TracedGraph(
        flat=flat,
        module=TracedModule(flat, bind, cast("pytree.TreeSpec", program.call_spec.out_spec)).eval(),
        inputs=specs,
        example_inputs=tuple(leaf.detach().clone() for leaf in leaves if isinstance(leaf, Tensor)),
        kinds=kinds,
        identity=identify(flat, specs, type(model).__name__),
        method=method,
        traced_batch=batch,
        batch_symbol=batch_symbol,
        notes=tuple(notes),
    )


def _batch_of(specs: Sequence[InputSpec], leaves: Sequence[Any]) -> int:
    for spec, leaf in zip(specs, leaves, strict=True):
        if spec.batch_dim is not None:
            return int(leaf.shape[spec.batch_dim])
    return 1


@dataclass(frozen=True, eq=False)
class _Call:
    """Inputs, and what the model returned for them."""

    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]
    expected: Any

    def of(self, traced: TracedGraph) -> Any:
        """What the trace returns for them."""
        return traced.module(*copies(self.args), **copies(self.kwargs))


def _other_calls(traced: TracedGraph, model: nn.Module, leaves: Sequence[Any]) -> Iterator[_Call]:
    """A call with other numbers where the example's are all the same, and with one sample where the example has more.

    Zeros hide what is wrong, and `if x.shape[0] > 1` was decided for `TRACED_BATCH`. That all larger batches take one
    path, export has proven.
    """
    tensors = [leaf for leaf in leaves if isinstance(leaf, Tensor)]
    dull = any(bool((leaf == leaf.flatten()[:1]).all()) for leaf in tensors)
    alone = traced.dynamic_batch and _batch_of(traced.inputs, leaves) != 1
    if not (dull or alone):
        return
    given = resized(traced.inputs, leaves, 1) if traced.dynamic_batch else leaves
    structure: pytree.TreeSpec = traced.module.bind.structure  # type: ignore[assignment, union-attr]
    for change in (other_values, noisy):  # other integers may be ids that a table has not
        generator = torch.Generator().manual_seed(0)
        changed = [change(leaf, generator) if isinstance(leaf, Tensor) else leaf for leaf in given]
        args, kwargs = pytree.tree_unflatten(changed, structure)
        with contextlib.suppress(TraceError):  # the model itself takes no such inputs
            yield _Call(args, kwargs, run_eagerly(model, args, kwargs))
            return


def _doubt(traced: TracedGraph, model: nn.Module, call: _Call, got: Any) -> str:
    """What there is to say where the trace returned what the model does up to rounding only; else nothing.

    Raises:
        TraceError: it does not reproduce the model; FixedBatchError where it might do so at the example's batch.
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
        batch = _batch_of(traced.inputs, pytree.tree_leaves((call.args, call.kwargs)))
        raise FixedBatchError(f"at batch {batch} the model does something else{forward_line(model)}")
    raise TraceError(
        f"the traced graph does not reproduce the model{forward_line(model)}; it depends on something that tracing "
        "cannot see (Python state, an assigned .data, the environment, custom code): compute it from inputs, "
        "parameters and buffers"
    )
