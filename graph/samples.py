"""Do the samples of a batch stay apart, and where do they lie in each tensor? Two batches are run side by side.

They share the last sample. At one batch size, kernels make the same numbers of a sample to the last bit whatever the
others hold. So where the shared sample's rows differ at all, they were made of other samples as well: by statistics of
the batch, a softmax over it, or what came before. Rounding it is not. Whether the first sample reads later ones, or how
many there are, its own answer alone tells, up to rounding.
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
    """Where samples lie in `nodes`, and whether they stay apart in these and in the outputs. Runs the model."""
    options = {node.name: possible_layouts(traced, node) for node in nodes}
    outputs = {node for node in traced.flat.graph.output_node().all_input_nodes if traced.kinds[node.name] == "value"}
    if not traced.dynamic_batch and traced.traced_batch == 1:
        return Samples({name: next(iter(given), None) for name, given in options.items()}, None)
    for change in _CHANGES:
        try:
            found = _compared(traced, options, outputs, _Probe.of(traced, change))
        except Exception:  # values that an input cannot have, such as ids beyond a table
            continue
        return _one_at_a_time(found, options) if traced.dynamic_batch and found.mixed_at else found
    doubtless = {name: given[0] if len(given) == 1 else None for name, given in options.items()}
    return Samples(doubtless, UNTRIED)


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
        mixed_at = _counted(traced, probe, answers)
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


def alike(row: Tensor, alone: Tensor) -> bool:
    """Whether a sample's numbers in a batch are those of the sample alone, up to how kernels round by batch size."""
    if not row.is_floating_point() or not row.numel() or not bool(row.isfinite().all()):
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
        return cls(*made)


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
    """Other values of the same kind: noise on numbers, for integers others between the least and the greatest."""
    if tensor.is_floating_point() or tensor.is_complex():
        dtype = torch.complex64 if tensor.is_complex() else torch.float32
        noise = torch.randn(tensor.shape, generator=generator, dtype=dtype)
        spread = float(tensor.abs().double().mean()) + 1  # in half precision a sum overflows long before a mean does
        return tensor + (noise * spread * scale).to(tensor)
    if tensor.dtype == torch.bool:
        return ~tensor
    values = tensor.long()
    low, high = int(values.min()), int(values.max())
    if low == high:
        low, high = min(low, 0), max(high, 1)
    shift = torch.randint(1, high - low + 1, tensor.shape, generator=generator).to(tensor.device)
    return (low + (values - low + shift) % (high - low + 1)).to(tensor.dtype)
