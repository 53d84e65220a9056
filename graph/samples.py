"""Do the samples of a batch stay apart, and where do they lie in each tensor?

The rules of the operators are asked first (see `rows`): most models are proven to keep samples apart, or found to mix
them, and no batches are compared. Where an operator has no rule, two batches run side by side that share their last
sample. At one batch size, kernels compute a sample to the same last bit whatever the other samples hold. So where the
shared sample's rows differ at all, they depend on other samples: by statistics of the batch, a softmax over it, or what
came before. Rounding cannot explain it. Whether the first sample reads later ones, or their number, only its own answer
alone shows, up to rounding.

A probe of two samples misses what happens at larger batches, at other places, or for rare values. So larger batches are
tried as well, with the shared samples first, in the middle and last, beside others that are large or NaN.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, fx

from ..records import Layout
from .comparing import alike, same_values
from .inputs import resize_batch
from .layout import possible_layouts, to_samples
from .naming import place_of
from .probes import other_values, rearranged, shuffled, varied
from .row_calls import Rows
from .rows import walk
from .sizes import has_fixed_shape
from .traced_graph import InputSpec, TracedGraph

UNTRIED = "a place that is not known, since the model fails on other values than the example's"

_Change = Literal["everything", "numbers", "places"]
_CHANGES: tuple[_Change, ...] = ("everything", "numbers", "places")
"""What differs between two batches: all inputs, private numbers alone, or the order of the example's own values. The
first change that the model runs with is used."""


@dataclass(frozen=True, slots=True)
class Samples:
    """The verdict.

    Attributes:
        layouts: by node name, how a tensor becomes one row per sample (None: it cannot).
        mixed_at: where samples first read each other, for a message; None: nowhere.
    """

    layouts: dict[str, Layout | None]
    mixed_at: str | None


def find_samples(traced: TracedGraph, nodes: Sequence[fx.Node]) -> Samples:
    """Where samples lie in `nodes`, and whether they stay apart in these and in the outputs.

    The model runs only where the rules of operators leave it open.
    """
    options = {node.name: possible_layouts(traced, node) for node in nodes}
    outputs = {node for node in traced.flat.graph.output_node().all_input_nodes if traced.kinds[node.name] == "value"}
    if not traced.dynamic_batch and traced.traced_batch == 1:
        return Samples({name: next(iter(given), None) for name, given in options.items()}, None)
    if traced.dynamic_batch:
        verdict = by_rule(traced, options)
        if verdict is not None:
            return verdict
    for change in _CHANGES:
        try:
            found = compare_batches(traced, options, outputs, _Probe.of(traced, change))
        except Exception:  # values that an input cannot have, such as ids beyond a table
            continue
        return _one_at_a_time(found, options) if traced.dynamic_batch and found.mixed_at else found
    unambiguous = {name: given[0] if len(given) == 1 else None for name, given in options.items()}
    return Samples(unambiguous, UNTRIED)


def by_rule(traced: TracedGraph, options: dict[str, list[Layout]]) -> Samples | None:
    """The verdict by the rules of operators; None where the model must run.

    Args:
        traced: the traced model, with a free batch.
        options: by node name, the layouts that its shape allows.
    """
    walked = walk(traced)
    if walked.mixed is not None:
        if not _runs(traced):
            return None
        return _one_at_a_time(Samples(dict.fromkeys(options), place_of(walked.mixed)), options)
    if not walked.proven:
        return None
    layouts: dict[str, Layout | None] = {}
    for name, given in options.items():
        rows = walked.rows.get(name)
        if given and not isinstance(rows, Rows):
            return None
        layouts[name] = next((layout for layout in given if _lies(rows, layout)), None)
    return Samples(layouts, None)


def _runs(traced: TracedGraph) -> bool:
    """True where the model runs at another batch size than the example's, which the rules do not show."""
    inputs = [
        example if spec.batch_dim is None else resize_batch(example, spec.batch_dim, traced.traced_batch)
        for spec, example in zip(traced.tensor_inputs, traced.example_inputs, strict=True)
    ]
    try:
        with torch.no_grad():
            traced.flat(*inputs)
    except Exception:
        return False
    return True


def _lies(rows: Any, layout: Layout) -> bool:
    inner = layout.groups if layout.batch_major else 1
    return rows.dim == layout.batch_dim and inner in rows.inner


def _one_at_a_time(found: Samples, options: dict[str, list[Layout]]) -> Samples:
    """The verdict on a model that runs one sample at a time: then every order of rows is right."""
    known = {name: found.layouts[name] or next(iter(given), None) for name, given in options.items()}
    return Samples(known, found.mixed_at)


def compare_batches(
    traced: TracedGraph, options: dict[str, list[Layout]], outputs: set[fx.Node], probe: _Probe
) -> Samples:
    """The verdict by two batches that run side by side.

    Args:
        traced: the traced model.
        options: by node name, the layouts that its shape allows.
        outputs: the output nodes that depend on private values.
        probe: the two batches.
    """
    layouts: dict[str, Layout | None] = {}
    mixed_at: str | None = None
    answers: dict[fx.Node, tuple[Tensor, Layout]] = {}
    for node, before, after in _side_by_side(traced.flat, probe.first, probe.second):
        if not isinstance(before, Tensor) or not (node.name in options or node in outputs):
            continue
        given = options[node.name] if node.name in options else possible_layouts(traced, node)
        certain = traced.dynamic_batch and len(given) == 1
        layout = given[0] if certain else _separating(given, before, after)
        if node.name in options:
            layouts[node.name] = layout
        if layout is not None:
            mixed = not same_values(to_samples(before, layout)[-1], to_samples(after, layout)[-1])
        else:
            mixed = node in outputs and not same_values(before, after)
        if mixed and mixed_at is None and has_fixed_shape(node.meta.get("val"), traced.batch_symbol):
            mixed_at = place_of(node)
        if node in outputs and layout is not None:
            answers[node] = (before, layout)
    if mixed_at is None and traced.dynamic_batch:
        mixed_at = _counted(traced, probe, answers) or _among_many(traced, probe.change, answers)
    elif mixed_at is None:
        mixed_at = _placed(traced, probe, answers)
    return Samples(layouts, mixed_at)


def _separating(given: Sequence[Layout], before: Tensor, after: Tensor) -> Layout | None:
    """The first layout that keeps the shared sample's row, up to rounding, and changes its neighbour's."""
    for layout in given:
        rows, changed = to_samples(before, layout), to_samples(after, layout)
        kept = torch.allclose(_real(rows[-1]), _real(changed[-1]), rtol=1e-4, atol=1e-5, equal_nan=True)
        if kept and not torch.equal(rows[-2], changed[-2]):
            return layout
    return None


def _real(tensor: Tensor) -> Tensor:
    return torch.view_as_real(tensor).double() if tensor.is_complex() else tensor.double()


def _counted(traced: TracedGraph, probe: _Probe, answers: dict[fx.Node, tuple[Tensor, Layout]]) -> str | None:
    """The output in which the first sample differs from itself alone: it reads later samples, or their number."""
    found: dict[fx.Node, Tensor] = {}
    for node, alone, _ in _side_by_side(traced.flat, probe.alone, ()):
        if node in answers:
            found[node] = alone
    for node, (tensor, layout) in answers.items():
        if not alike(to_samples(tensor, layout)[0], to_samples(found[node], layout)[0]):
            return f"{place_of(node)}, where a sample's answer is another than alone"
    return None


_MANY = ((5, False), (8, True))
"""Larger batch sizes to try, and whether some samples are large or NaN."""


def _among_many(traced: TracedGraph, change: _Change, answers: dict[fx.Node, tuple[Tensor, Layout]]) -> str | None:
    """The output in which a sample's answer depends on the other samples of a larger batch."""
    layouts = {node: layout for node, (_, layout) in answers.items()}
    for size, extreme in _MANY:
        shared = (0, size // 2, size - 1)
        try:
            first, second = _crowds(traced, change, size, shared, extreme=extreme)
            results = _outputs(traced, layouts, first), _outputs(traced, layouts, second)
            alone = _outputs(traced, layouts, _narrowed(traced, first, size // 2))
        except Exception:  # values that an input cannot have
            continue
        for node in layouts:
            before, after = (result[node] for result in results)
            if not all(same_values(before[row], after[row]) for row in shared):
                return place_of(node)
            if not alike(before[size // 2], alone[node][0]):
                return f"{place_of(node)}, where a sample's answer is another than alone"
    return None


def _crowds(
    traced: TracedGraph, change: _Change, size: int, shared: Sequence[int], *, extreme: bool
) -> tuple[list[Tensor], list[Tensor]]:
    """Two batches that have the samples of rows `shared` in common."""
    generator = torch.Generator().manual_seed(size)
    made: tuple[list[Tensor], list[Tensor]] = ([], [])
    for spec, example in zip(traced.tensor_inputs, traced.example_inputs, strict=True):
        first = second = example
        if spec.batch_dim is not None:
            first = second = resize_batch(example, spec.batch_dim, size)
            if change == "everything" or _is_private_number(spec):
                first, second = (
                    other_values(first, generator),
                    other_values(second, generator, scale=1e4 if extreme else 10),
                )
                if extreme and second.is_floating_point():
                    second.narrow(spec.batch_dim, 1, 1).fill_(float("nan"))
            elif change == "places":
                first, second = shuffled(first, generator), shuffled(second, generator)
            second = second.clone()
            for row in shared:
                second.narrow(spec.batch_dim, row, 1).copy_(first.narrow(spec.batch_dim, row, 1))
        made[0].append(first)
        made[1].append(second)
    return made


def _narrowed(traced: TracedGraph, inputs: Sequence[Tensor], row: int) -> list[Tensor]:
    """One sample of a batch, alone."""
    return [
        given if spec.batch_dim is None else given.narrow(spec.batch_dim, row, 1).contiguous()
        for spec, given in zip(traced.tensor_inputs, inputs, strict=True)
    ]


def _outputs(traced: TracedGraph, layouts: dict[fx.Node, Layout], inputs: Sequence[Tensor]) -> dict[fx.Node, Tensor]:
    """By output node, its rows."""
    found = {}
    for node, value, _ in _side_by_side(traced.flat, inputs, ()):
        if node in layouts:
            found[node] = to_samples(value, layouts[node])
    return found


def _placed(traced: TracedGraph, probe: _Probe, answers: dict[fx.Node, tuple[Tensor, Layout]]) -> str | None:
    """The output of a fixed batch in which a sample's answer depends on its place: the batch is turned by one."""
    turned = [
        given if spec.batch_dim is None else given.roll(1, spec.batch_dim)
        for spec, given in zip(traced.tensor_inputs, probe.first, strict=True)
    ]
    results = _outputs(traced, {node: layout for node, (_, layout) in answers.items()}, turned)
    for node, (tensor, layout) in answers.items():
        rows = to_samples(tensor, layout).roll(1, 0)
        if not all(alike(row, other) for row, other in zip(rows, results[node], strict=True)):
            return f"{place_of(node)}, where a sample's answer depends on its place"
    return None


def _side_by_side(
    flat: fx.GraphModule, first: Sequence[Tensor], second: Sequence[Tensor]
) -> Iterator[tuple[fx.Node, Any, Any]]:
    """Each node with its results on both inputs, in order. A result is dropped after its last use.

    Without a second input, the second result is None.
    """
    runs = [fx.Interpreter(flat), *([fx.Interpreter(flat)] if second else [])]
    for run, inputs in zip(runs, (first, second), strict=False):
        run.args_iter = iter(inputs)
    with torch.no_grad():
        for node in flat.graph.nodes:
            if node.op == "output":
                return
            for run in runs:
                run.env[node] = run.run_node(node)
            results = [run.env[node] for run in runs]
            yield node, results[0], results[1] if second else None
            for run in runs:
                for done in run.user_to_last_uses.get(node, []):
                    del run.env[done]


@dataclass(frozen=True, eq=False)
class _Probe:
    """Two flat inputs that share their last sample, and the first sample of the first input alone."""

    first: list[Tensor]
    second: list[Tensor]
    alone: list[Tensor]
    change: _Change

    @classmethod
    def of(cls, traced: TracedGraph, change: _Change) -> _Probe:
        """Raises ValueError where the example inputs do not allow this change."""
        generator = torch.Generator().manual_seed(0)
        made: list[list[Tensor]] = [[], [], []]
        for spec, example in zip(traced.tensor_inputs, traced.example_inputs, strict=True):
            parts = [example] * 3
            if spec.batch_dim is not None and change == "places":
                parts = rearranged(example, spec.batch_dim, traced.traced_batch, generator)
            elif spec.batch_dim is not None and (change == "everything" or _is_private_number(spec)):
                parts = varied(example, spec.batch_dim, traced.traced_batch, generator)
            elif spec.batch_dim is not None:
                parts = [resize_batch(example, spec.batch_dim, size) for size in (*[traced.traced_batch] * 2, 1)]
            for column, part in zip(made, parts, strict=True):
                column.append(part)
        return cls(made[0], made[1], made[2], change)


def _is_private_number(spec: InputSpec) -> bool:
    return not spec.public and spec.dtype is not None and (spec.dtype.is_floating_point or spec.dtype.is_complex)
