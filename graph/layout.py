"""Rearranges a crossing tensor to one row per sample, and back.

Attention folds the batch into other dimensions (`4 * batch` windows, `batch * heads`). The shape does not show which
index moves fastest; `samples` finds out.
"""

from __future__ import annotations

from torch import Tensor, fx

from ..records import Layout
from .sizes import free_dims, per_sample
from .traced_graph import TracedGraph


def to_samples(tensor: Tensor, layout: Layout) -> Tensor:
    """A crossing tensor as rows `[batch, *sample_shape]`.

    Args:
        tensor: with `groups * batch` entries along the layout's dimension.
        layout: where its samples lie.

    Examples:
        >>> import torch
        >>> from collabplan.graph import to_samples
        >>> to_samples(torch.zeros(5, 6, 2), Layout(batch_dim=1, groups=3)).shape
        torch.Size([2, 3, 5, 2])
    """
    moved = tensor.movedim(layout.batch_dim, 0)
    if layout.groups == 1:
        return moved
    if layout.batch_major:
        return moved.reshape(-1, layout.groups, *moved.shape[1:])
    return moved.reshape(layout.groups, -1, *moved.shape[1:]).movedim(1, 0)


def from_samples(rows: Tensor, layout: Layout) -> Tensor:
    """The inverse of `to_samples`.

    Args:
        rows: `[batch, *sample_shape]`.
        layout: where the samples shall lie.

    Examples:
        >>> import torch
        >>> from collabplan.graph import from_samples
        >>> from_samples(torch.zeros(2, 3, 5, 2), Layout(batch_dim=1, groups=3)).shape
        torch.Size([5, 6, 2])
    """
    if layout.groups > 1:
        rows = rows.flatten(0, 1) if layout.batch_major else rows.movedim(0, 1).flatten(0, 1)
    return rows.movedim(0, layout.batch_dim)


def sample_shape(shape: tuple[int, ...], layout: Layout) -> tuple[int, ...]:
    """The shape of one sample of a tensor of `shape`, whose size in the batch dimension does not matter."""
    rest = shape[: layout.batch_dim] + shape[layout.batch_dim + 1 :]
    return (layout.groups, *rest) if layout.groups > 1 else rest


def possible_layouts(traced: TracedGraph, node: fx.Node) -> list[Layout]:
    """Every layout that the shape of a tensor node allows, likely ones first; empty if no dimension counts samples."""
    value = node.meta["val"]
    shape, free = tuple(value.shape), free_dims(value)
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
