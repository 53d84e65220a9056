"""Any PyTorch model to one flat, functional graph, by `torch.export`.

The export runs in eval mode **under `no_grad`**: a model that switches gradients off in its own forward
otherwise comes back with a graph that no gradient can cross, and every white-box attack on it would
read "private". The examples are repeated to batch 2, since a batch of 1 makes export fix the batch size.
"""

from __future__ import annotations

import contextlib
import io
import logging
import traceback
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, cast

import torch
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram, ShapesCollection
from torch.utils import _pytree as pytree

from ..records import TraceError
from .inputs import (
    InputBinder,
    close_values,
    describe_inputs,
    flatten_inputs,
    input_names,
    resize_batch,
    same_values,
)
from .layout import layouts
from .normalise import normalise
from .program import identify
from .signature import ragged_outputs
from .structures import InputSpec, TracedGraph
from .units import units
from .weights import usual_dtype

Method = Literal["non-strict", "strict", "static"]
TRACED_BATCH = 2


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
    batch_dims: Mapping[str, int | None] | None = None,
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
        batch_dims: by input name, the dimension that counts samples (None: it has none). Default: the
            first dimension of every tensor that agrees with the first tensor's.
        public_inputs: names of inputs that are harmless to send; every other input is private.

    Raises:
        TraceError: the model fails on its example inputs, cannot be traced (the source line is
            named), draws random numbers, keeps state between calls, or its graph does not reproduce it.
    """
    args = (args,) if isinstance(args, Tensor) else tuple(args)
    kwargs = dict(kwargs or {})
    names = input_names(model, args, kwargs)
    leaves, structure = flatten_inputs(args, kwargs)
    specs = describe_inputs(names, leaves, batch_dims, public_inputs)
    if not any(spec.is_tensor for spec in specs):
        raise TraceError("the example inputs hold no tensor; give at least one, with the batch as first dimension")
    with evaluation_mode(model):
        expected = _run_eagerly(model, args, kwargs)
        program, method, reason = _export(model, specs, leaves, structure)
        batch = TRACED_BATCH if method != "static" else _batch_of(specs, leaves)
        flat, kinds, batch_symbol, notes = normalise(program, specs)
        bind = InputBinder(specs, structure, batch if method == "static" else None)
        traced = TracedGraph(
            flat=flat,
            module=TracedModule(flat, bind, cast("pytree.TreeSpec", program.call_spec.out_spec)).eval(),
            inputs=specs,
            example_inputs=tuple(leaf.detach().clone() for leaf in leaves if isinstance(leaf, Tensor)),
            kinds=kinds,
            identity=identify(flat, specs, type(model).__name__),
            method=method,
            traced_batch=batch,
            batch_symbol=batch_symbol,
            notes=(*notes, *([f"only batch size {batch} can run{reason}"] if method == "static" else [])),
        )
        doubts = _verify(traced, model, args, kwargs, expected)
        ragged = ragged_outputs(traced)
        if ragged is not None:
            doubts.append(f"no plan can be made: {ragged}")
        crossable = [tensor.node for tensor in units(traced).tensors if tensor.crossable]
        found = layouts(traced, crossable)  # runs the model: here once, so that planning runs nothing
        return replace(traced, notes=(*traced.notes, *doubts), layouts=found, cache={})


@contextlib.contextmanager
def evaluation_mode(model: nn.Module) -> Iterator[None]:
    """Eval mode, no gradients and the plain attention path; every module's own flag is put back."""
    flags = [(module, module.training) for module in model.modules()]
    fast_path = torch.backends.mha.get_fastpath_enabled()
    try:
        model.eval()
        torch.backends.mha.set_fastpath_enabled(False)  # the fused kernel has no derivative
        with torch.no_grad():
            yield
    finally:
        torch.backends.mha.set_fastpath_enabled(fast_path)
        for module, flag in flags:
            module.training = flag


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Silence torch: export prints graphs, warnings and logs on failures that we report in one line ourselves."""
    logger = logging.getLogger("torch")
    levels = {log: log.level for log in [logger, *_children(logger)]}
    try:
        for log in levels:
            log.setLevel(logging.CRITICAL + 1)
        with (
            warnings.catch_warnings(),
            contextlib.redirect_stdout(io.StringIO()),
            contextlib.redirect_stderr(io.StringIO()),
        ):
            warnings.simplefilter("ignore")
            yield
    finally:
        for log, level in levels.items():
            log.setLevel(level)


def _children(parent: logging.Logger) -> list[logging.Logger]:
    prefix = f"{parent.name}."
    every = parent.manager.loggerDict.items()
    return [log for name, log in every if name.startswith(prefix) and isinstance(log, logging.Logger)]


def _run_eagerly(model: nn.Module, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
    try:
        return model(*_copies(args), **_copies(kwargs))
    except Exception as error:
        given = [leaf for leaf in pytree.tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
        own, theirs = usual_dtype(model.parameters()), usual_dtype(given)
        remedy = "give example inputs that the model accepts"
        if own and theirs and own != theirs:
            remedy = f"give floating inputs in {own}, as the model's weights are"
        raise TraceError(
            f"the model itself fails on the example inputs (shapes {[list(leaf.shape) for leaf in given]}): "
            f"{_first_line(error)}{_place(error)}; {remedy}"
        ) from error


def _copies(inputs: Any) -> Any:
    """Fresh tensors, so that a model that writes into its inputs does not change the user's."""
    return pytree.tree_map(lambda leaf: leaf.clone() if isinstance(leaf, Tensor) else leaf, inputs)


def _export(
    model: nn.Module, specs: tuple[InputSpec, ...], leaves: list[Any], structure: pytree.TreeSpec
) -> tuple[ExportedProgram, Method, str]:
    """The first export that works, by which method, and why none with a free batch did."""
    attempts: list[tuple[Method, bool, bool]] = [
        ("non-strict", False, True),
        ("strict", True, True),
        ("static", False, False),
        ("static", True, False),
    ]
    failures: list[Exception] = []
    for method, strict, dynamic in attempts:
        if dynamic and not any(spec.batch_dim is not None for spec in specs):
            continue
        try:
            program = _export_once(model, specs, leaves, structure, strict=strict, dynamic=dynamic)
            reason = f", since with a free one: {_first_line(failures[0])}{_place(failures[0])}" if failures else ""
            return program, method, reason
        except Exception as error:
            failures.append(error)
    failure = next((error for error in failures if _is_data_dependent(error)), failures[-1])
    if _is_data_dependent(failure):
        raise TraceError(
            f"the model cannot be traced: its control flow depends on tensor values{_place(failure)}; replace the "
            "branch by torch.where (or torch.cond), or move it out of forward"
        ) from failure
    raise TraceError(
        f"the model cannot be traced: {_first_line(failure)}{_place(failure)}; make this part of forward plain tensor "
        "operations, or trace the part of the model before it"
    ) from failure


def _export_once(
    model: nn.Module,
    specs: tuple[InputSpec, ...],
    leaves: list[Any],
    structure: pytree.TreeSpec,
    *,
    strict: bool,
    dynamic: bool,
) -> ExportedProgram:
    examples: list[Any] = []
    shapes: Any = ShapesCollection()  # type: ignore[no-untyped-call]
    batch = Dim("batch")
    for spec, leaf in zip(specs, leaves, strict=True):
        if isinstance(leaf, Tensor):
            leaf = leaf.detach().clone()
            if dynamic and spec.batch_dim is not None:
                leaf = resize_batch(leaf, spec.batch_dim, TRACED_BATCH)
                shapes[leaf] = {spec.batch_dim: batch}
        examples.append(leaf)
    args, kwargs = pytree.tree_unflatten(examples, structure)
    with quiet():
        program = torch.export.export(model, args, kwargs, dynamic_shapes=shapes if dynamic else None, strict=strict)
        functional: ExportedProgram = program.run_decompositions({})
        return functional


def _batch_of(specs: Sequence[InputSpec], leaves: Sequence[Any]) -> int:
    for spec, leaf in zip(specs, leaves, strict=True):
        if spec.batch_dim is not None:
            return int(leaf.shape[spec.batch_dim])
    return 1


def _verify(
    traced: TracedGraph, model: nn.Module, args: tuple[Any, ...], kwargs: Mapping[str, Any], expected: Any
) -> list[str]:
    """Run the trace on the example inputs; what there is to say where it equals the model up to rounding only.

    Raises:
        TraceError: it does not reproduce the model.
    """
    got = traced.module(*_copies(args), **_copies(kwargs))
    if same_values(got, expected):
        return []
    if not same_values(_run_eagerly(model, args, kwargs), expected):
        raise TraceError(
            "the model gives another output each time it runs on the same input (random numbers or state kept "
            "between calls); make its eval mode deterministic"
        )
    if close_values(got, expected):
        return ["the graph equals the model up to rounding, not bit for bit"]
    raise TraceError(
        "the traced graph does not reproduce the model on the example inputs; the model depends on something that "
        "tracing cannot see (Python state, the environment, custom operators)"
    )


def _is_data_dependent(error: BaseException) -> bool:
    text = f"{type(error).__name__} {error}"
    return "data-dependent" in text or "DataDependent" in text or "Data-dependent" in text


def _first_line(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    first = lines[0].split(" For more information")[0] if lines else ""
    return f"{type(error).__name__}: {first}" if first else type(error).__name__


def _place(error: BaseException) -> str:
    """` (at FILE:LINE: CODE)` of the deepest frame that is the user's, not a library's."""
    place = ""
    seen: BaseException | None = error
    while seen is not None:
        for frame in traceback.extract_tb(seen.__traceback__):
            if _is_users(frame.filename):
                place = f" (at {frame.filename}:{frame.lineno}: {frame.line})"
        seen = seen.__cause__ or seen.__context__
    return place


def _is_users(filename: str) -> bool:
    parts = Path(filename).parts
    if filename.startswith("<") or "site-packages" in parts or "dist-packages" in parts:
        return False
    ours = Path(__file__).parent.parent
    inside = Path(filename).resolve().is_relative_to(ours)
    return not (inside and Path(filename).resolve().relative_to(ours).parts[0] in {"graph", "records", "cli"})
