"""Do the samples of a batch stay apart, and where do they lie in each tensor?

The graph's rules are asked first (see rows.py): most models are proven to keep samples apart, or found to mix them, and
no batches are compared. Where an operator has no rule, two batches are run side by side. They share the last sample. At
one batch size, kernels make the same numbers of a sample to the last bit whatever the others hold. So where the shared
sample's rows differ at all, they were made of other samples as well: by statistics of the batch, a softmax over it, or
what came before. Rounding it is not. Whether the first sample reads later ones, or how many there are, its own answer
alone tells, up to rounding.

A probe of two samples misses what happens at more of them, at other places, or for rare values. So larger batches are
tried as well, with the shared samples first, in the middle and last, beside others that are large or NaN.
"""

from __future__ import annotations

import operator
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, fx

from ..records import Layout
from .inputs import resize_batch, same_values
from .layout import possible_layouts, to_samples
from .row_calls import Rows
from .rows import walk
from .sizes import has_fixed_shape
from .structures import InputSpec, TracedGraph

UNTRIED = "a place that is not known, since the model fails on other values than the example's"

_Change = Literal["everything", "numbers", "places"]
_CHANGES: tuple[_Change, ...] = ("everything", "numbers", "places")
"""What differs between the batches: all inputs; private numbers alone; or where the example's own values stand. The
first that the model runs with is taken."""

_ALIKE = {torch.float16: 0.1, torch.bfloat16: 0.1}
"""By dtype, how far a sample's numbers in a batch may be from those of the sample alone, as a share of the largest.
Kernels round by batch size. What divides by the number of samples is far above."""

_ALIKE_ELSE = 0.01


@dataclass(frozen=True, slots=True)
class Samples:
    """What was found.

    `layouts`: by node name, how a tensor comes back to rows (None: it cannot). `mixed_at`: where samples first read
    each other, for a message; None: nowhere.
    """

    layouts: dict[str, Layout | None]
    mixed_at: str | None


def find_samples(traced: TracedGraph, nodes: Sequence[fx.Node]) -> Samples:
    """Where samples lie in `nodes`, and whether they stay apart in these and in the outputs.

    Runs the model where no rule tells.
    """
    options = {node.name: possible_layouts(traced, node) for node in nodes}
    outputs = {node for node in traced.flat.graph.output_node().all_input_nodes if traced.kinds[node.name] == "value"}
    if not traced.dynamic_batch and traced.traced_batch == 1:
        return Samples({name: next(iter(given), None) for name, given in options.items()}, None)
    if traced.dynamic_batch:
        by_rule = _by_rule(traced, options)
        if by_rule is not None:
            return by_rule
    for change in _CHANGES:
        try:
            found = _compared(traced, options, outputs, _Probe.of(traced, change))
        except Exception:  # values that an input cannot have, such as ids beyond a table
            continue
        return _one_at_a_time(found, options) if traced.dynamic_batch and found.mixed_at else found
    doubtless = {name: given[0] if len(given) == 1 else None for name, given in options.items()}
    return Samples(doubtless, UNTRIED)


def _by_rule(traced: TracedGraph, options: dict[str, list[Layout]]) -> Samples | None:
    """What the rules of operators tell; None where the model must be run."""
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
    """Whether the model runs with another number of samples than the example's: rules do not tell."""
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
    """A model whose samples read each other runs one at a time, and then every order of rows is right."""
    known = {name: found.layouts[name] or next(iter(given), None) for name, given in options.items()}
    return Samples(known, found.mixed_at)


def _compared(traced: TracedGraph, options: dict[str, list[Layout]], outputs: set[fx.Node], probe: _Probe) -> Samples:
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
    """The output in which the first sample is another than alone: it reads later ones, or how many there are."""
    found: dict[fx.Node, Tensor] = {}
    for node, alone, _ in _side_by_side(traced.flat, probe.alone, ()):
        if node in answers:
            found[node] = alone
    for node, (tensor, layout) in answers.items():
        if not alike(to_samples(tensor, layout)[0], to_samples(found[node], layout)[0]):
            return f"{place_of(node)}, where a sample's answer is another than alone"
    return None


_MANY = ((5, False), (8, True))
"""Numbers of samples that are tried together, and whether some are large or NaN."""


def _among_many(traced: TracedGraph, change: _Change, answers: dict[fx.Node, tuple[Tensor, Layout]]) -> str | None:
    """The output in which a sample's answer changes with others of a larger batch, or is another than alone."""
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
                first, second = (
                    each.flatten()[torch.randperm(each.numel(), generator=generator)].reshape(each.shape)
                    for each in (first, second)
                )
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
    """The rows of outputs."""
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


def alike(row: Tensor, alone: Tensor) -> bool:
    """Whether a sample's numbers in a batch are those of the sample alone, up to how kernels round by batch size.

    Whole numbers and booleans are not rounded.
    """
    if row.is_complex():
        return alike(torch.view_as_real(row), torch.view_as_real(alone))
    if not row.is_floating_point():
        return bool(torch.equal(row, alone))
    if not torch.equal(row.isnan(), alone.isnan()):
        return False
    if not row.numel() or not bool(row.isfinite().all()):
        return True
    gap = float((row.double() - alone.double()).abs().amax())
    return gap <= _ALIKE.get(row.dtype, _ALIKE_ELSE) * float(row.double().abs().amax())


def place_of(node: fx.Node) -> str:
    """`layer1.bn (batch_norm)`: the innermost module that a node belongs to, and its operator."""
    if node.target is operator.getitem:
        return place_of(node.all_input_nodes[0])
    schema = getattr(node.target, "_schema", None)
    operation = schema.name.split("::")[-1] if schema else str(getattr(node.target, "__name__", node.target))
    modules = node.meta.get("modules", ())
    return f"{modules[-1][0]} ({operation})" if modules else operation


def _side_by_side(
    flat: fx.GraphModule, first: Sequence[Tensor], second: Sequence[Tensor]
) -> Iterator[tuple[fx.Node, Any, Any]]:
    """Each node with its results on both inputs, in order. Nothing is held longer than the graph needs it.

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
    """Two flat inputs that share their last sample, and the first sample of the first alone."""

    first: list[Tensor]
    second: list[Tensor]
    alone: list[Tensor]
    change: _Change

    @classmethod
    def of(cls, traced: TracedGraph, change: _Change) -> _Probe:
        """Raises ValueError where the example inputs admit no such change."""
        generator = torch.Generator().manual_seed(0)
        made: list[list[Tensor]] = [[], [], []]
        for spec, example in zip(traced.tensor_inputs, traced.example_inputs, strict=True):
            parts = [example] * 3
            if spec.batch_dim is not None and change == "places":
                parts = _rearranged(example, spec.batch_dim, traced.traced_batch, generator)
            elif spec.batch_dim is not None and (change == "everything" or _is_private_number(spec)):
                parts = varied(example, spec.batch_dim, traced.traced_batch, generator)
            elif spec.batch_dim is not None:
                parts = [resize_batch(example, spec.batch_dim, size) for size in (*[traced.traced_batch] * 2, 1)]
            for column, part in zip(made, parts, strict=True):
                column.append(part)
        return cls(made[0], made[1], made[2], change)


def _is_private_number(spec: InputSpec) -> bool:
    return not spec.public and spec.dtype is not None and (spec.dtype.is_floating_point or spec.dtype.is_complex)


def varied(example: Tensor, batch_dim: int, batch: int, generator: torch.Generator) -> list[Tensor]:
    """Two batches that have the last sample in common, and the first sample of the first batch alone.

    The common one is the example's, but for one that is all the same number: what it loses would not be seen.
    """
    first, second, shared = (resize_batch(example, batch_dim, size) for size in (batch, batch, 1))
    if bool((shared == shared.flatten()[:1]).all()):
        shared = other_values(shared, generator)
    first, second = noisy(first, generator), other_values(second, generator, scale=10)
    for each in (first, second):
        each.narrow(batch_dim, batch - 1, 1).copy_(shared)
    return [first, second, first.narrow(batch_dim, 0, 1).contiguous()]


def _rearranged(example: Tensor, batch_dim: int, batch: int, generator: torch.Generator) -> list[Tensor]:
    """The same of the example's own numbers in other places, for ids that are floating: they have no noise."""
    if bool((example == example.flatten()[:1]).all()):
        raise ValueError("an example that is all the same number looks alike in every order")
    given = resize_batch(example, batch_dim, batch)
    orders = [torch.randperm(given.numel(), generator=generator) for _ in range(2)]
    first, second = (given.flatten()[order].reshape(given.shape) for order in orders)
    for each in (first, second):
        each.narrow(batch_dim, batch - 1, 1).copy_(resize_batch(example, batch_dim, 1))
    return [first, second, first.narrow(batch_dim, 0, 1).contiguous()]


def noisy(tensor: Tensor, generator: torch.Generator) -> Tensor:
    """Numbers with noise. Integers as they are: others may come out the same a second time."""
    return other_values(tensor, generator) if tensor.is_floating_point() or tensor.is_complex() else tensor


def other_values(tensor: Tensor, generator: torch.Generator, scale: float = 1.0) -> Tensor:
    """Other values of the same kind: noise on numbers, for integers others from 0, or the least, to the greatest."""
    if tensor.is_floating_point() or tensor.is_complex():
        dtype = torch.complex64 if tensor.is_complex() else torch.float32
        noise = torch.randn(tensor.shape, generator=generator, dtype=dtype)
        spread = float(tensor.abs().double().mean()) + 1  # in half precision a sum overflows long before a mean does
        return tensor + (noise * spread * scale).to(tensor)
    if tensor.dtype == torch.bool:
        return ~tensor
    values = tensor.long()
    low, high = min(int(values.min()), 0), max(int(values.max()), 1)  # 0 is what pads
    shift = torch.randint(1, high - low + 1, tensor.shape, generator=generator).to(tensor.device)
    return (low + (values - low + shift) % (high - low + 1)).to(tensor.dtype)
