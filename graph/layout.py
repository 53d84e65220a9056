"""Brings a crossing tensor back to one row per sample, and checks that the rows really are the samples.

Attention folds the batch into other dimensions (`4 * batch` windows, `batch * heads`). Which index moves
fastest is not in the shape, so it is tried out: two inputs that differ in one sample must differ in that
row alone.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, fx

from ..records import Layout
from .inputs import resize_batch
from .sizes import per_sample, symbolic
from .structures import TracedGraph


def to_samples(tensor: Tensor, layout: Layout) -> Tensor:
    """A crossing tensor as rows `[batch, *sample_shape]`."""
    moved = tensor.movedim(layout.batch_dim, 0)
    if layout.groups == 1:
        return moved
    if layout.batch_major:
        return moved.reshape(-1, layout.groups, *moved.shape[1:])
    return moved.reshape(layout.groups, -1, *moved.shape[1:]).movedim(1, 0)


def from_samples(rows: Tensor, layout: Layout) -> Tensor:
    """The inverse of `to_samples`."""
    if layout.groups > 1:
        rows = rows.flatten(0, 1) if layout.batch_major else rows.movedim(0, 1).flatten(0, 1)
    return rows.movedim(0, layout.batch_dim)


def sample_shape(shape: tuple[int, ...], layout: Layout) -> tuple[int, ...]:
    """The shape of one sample of a tensor that has `shape` (its batch dimension is not looked at)."""
    rest = shape[: layout.batch_dim] + shape[layout.batch_dim + 1 :]
    return (layout.groups, *rest) if layout.groups > 1 else rest


def layouts(traced: TracedGraph, nodes: Iterable[fx.Node]) -> dict[str, Layout | None]:
    """The layout of each tensor node; None where no dimension, or none that proves right, counts samples."""
    found: dict[str, Layout | None] = {}
    doubtful: dict[str, list[Layout]] = {}
    for node in nodes:
        options = _options(traced, node)
        if options == [Layout()] or (len(options) == 1 and traced.traced_batch == 1):
            found[node.name] = options[0]
        elif options:
            doubtful[node.name] = options
        else:
            found[node.name] = None
    if doubtful:
        found.update(_try_out(traced, doubtful))
    return found


def _options(traced: TracedGraph, node: fx.Node) -> list[Layout]:
    shape = tuple(node.meta["val"].shape)
    free = [dim for dim, size in enumerate(shape) if symbolic(size) is not None]
    if traced.dynamic_batch:
        groups = per_sample(shape[free[0]], traced.batch_symbol) if len(free) == 1 else None
        return [] if groups is None else _orders(free[0], groups)
    if free:
        return []
    if traced.traced_batch == 1:
        return [Layout(groups=max(int(shape[0]), 1))] if shape else []
    batch = traced.traced_batch
    return [
        layout
        for dim, size in enumerate(shape)
        if int(size) % batch == 0 and size
        for layout in _orders(dim, int(size) // batch)
    ]


def _orders(dim: int, groups: int) -> list[Layout]:
    if groups == 1:
        return [Layout(batch_dim=dim)]
    return [Layout(batch_dim=dim, groups=groups, batch_major=major) for major in (True, False)]


def _try_out(traced: TracedGraph, doubtful: dict[str, list[Layout]]) -> dict[str, Layout | None]:
    """Run on samples [a, b, ...] and [a, c, ...]: the right layout keeps row 0 and changes row 1."""
    first, second = _probes(traced)
    before, after = _capture(traced, first, doubtful), _capture(traced, second, doubtful)
    found: dict[str, Layout | None] = {}
    for name, options in doubtful.items():
        found[name] = next((layout for layout in options if _separates(before[name], after[name], layout)), None)
    return found


def _separates(before: Tensor, after: Tensor, layout: Layout) -> bool:
    rows, changed = (_real(to_samples(tensor, layout)) for tensor in (before, after))
    kept = torch.allclose(rows[0], changed[0], rtol=1e-4, atol=1e-5, equal_nan=True)
    return kept and not torch.equal(rows[1], changed[1])


def _real(tensor: Tensor) -> Tensor:
    return torch.view_as_real(tensor).double() if tensor.is_complex() else tensor.double()


def _probes(traced: TracedGraph) -> tuple[list[Tensor], list[Tensor]]:
    """Two flat inputs, equal but for the private samples after the first."""
    generator = torch.Generator().manual_seed(0)
    first, second = [], []
    batch = max(traced.traced_batch, 2)
    for spec, example in zip(traced.tensor_inputs, traced.example_inputs, strict=True):
        if spec.batch_dim is None or spec.public:
            tensor = example if spec.batch_dim is None else resize_batch(example, spec.batch_dim, batch)
            first.append(tensor)
            second.append(tensor)
            continue
        base = resize_batch(example, spec.batch_dim, batch)
        changed = base.clone()
        changed.narrow(spec.batch_dim, 1, batch - 1).copy_(_other(base.narrow(spec.batch_dim, 1, batch - 1), generator))
        first.append(base)
        second.append(changed)
    return first, second


def _other(tensor: Tensor, generator: torch.Generator) -> Tensor:
    """Other values of the same kind: noise on numbers, values seen in the example for integers."""
    if tensor.is_floating_point() or tensor.is_complex():
        noise = torch.randn(tensor.shape, generator=generator, dtype=torch.float32).to(tensor)
        return tensor + noise * (tensor.abs().mean() + 1)
    if tensor.dtype == torch.bool:
        return ~tensor
    low, high = int(tensor.min()), int(tensor.max())
    if low == high:
        low = 0
    return torch.randint(low, high + 1, tensor.shape, generator=generator).to(tensor)


def _capture(traced: TracedGraph, inputs: list[Tensor], names: Iterable[str]) -> dict[str, Tensor]:
    wanted = set(names)
    kept: dict[str, Tensor] = {}

    class Capture(fx.Interpreter):
        def run_node(self, n: fx.Node) -> Any:
            result = super().run_node(n)
            if n.name in wanted:
                kept[n.name] = result
            return result

    with torch.no_grad():
        Capture(traced.flat).run(*inputs)
    return kept
