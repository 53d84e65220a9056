"""Stand-ins for composite operators whose own code fixes sizes, or reads values, during an export.

torch writes these in C++ with plain integers, which makes the batch a constant, or reads a tensor's values to decide
about a warning. During an export a twin stands in for each of them, to find shapes. The graph keeps the operator
itself, and what runs later is torch's own code, bit for bit.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor
from torch._ops import OpOverload

aten = torch.ops.aten
_COMPOSITE = torch._C.DispatchKey.CompositeImplicitAutograd
_AUTOGRAD = torch._C.DispatchKey.Autograd
_KEPT_WHOLE = (aten.multi_margin_loss.default,)
"""Not composite, but export replaces these by a Python formula, which rounds differently."""


@contextlib.contextmanager
def twins() -> Iterator[None]:
    """Within, an export uses the twins. The operators are restored afterwards."""
    before = {operator: dict(operator.py_kernels) for operator in (*_TWINS, *_KEPT_WHOLE)}
    try:
        for operator in _KEPT_WHOLE:
            operator.py_kernels.pop(_AUTOGRAD, None)
            operator._dispatch_cache.clear()
        for operator, twin in _TWINS.items():
            operator.py_kernels[_COMPOSITE] = twin
            operator._dispatch_cache.clear()
        yield
    finally:
        for operator, kernels in before.items():
            operator.py_kernels.clear()
            operator.py_kernels.update(kernels)
            operator._dispatch_cache.clear()


def _kron(self: Tensor, other: Tensor) -> Tensor:
    rank = max(self.ndim, other.ndim)
    rows, columns = ([1] * (rank - each.ndim) + list(each.shape) for each in (self, other))
    left = self.reshape([size for row in rows for size in (row, 1)])
    right = other.reshape([size for column in columns for size in (1, column)])
    return (left * right).reshape([row * column for row, column in zip(rows, columns, strict=True)])


def _pdist(self: Tensor, p: float = 2.0) -> Tensor:
    first, second = torch.triu_indices(self.shape[0], self.shape[0], 1)
    distances: Tensor = torch.linalg.vector_norm(self[first] - self[second], p, dim=1)
    return distances


def _cdist(x1: Tensor, x2: Tensor, p: float = 2.0, *_: Any, **__: Any) -> Tensor:
    """torch chooses a method by size, which would bound the batch."""
    distances: Tensor = torch.linalg.vector_norm(x1.unsqueeze(-2) - x2.unsqueeze(-3), p, dim=-1)
    return distances


def _multi_dot(tensors: Sequence[Tensor]) -> Tensor:
    return functools.reduce(torch.matmul, tensors)


def _matrix_norm(
    self: Tensor, ord: float, dim: Sequence[int] = (-2, -1), keepdim: bool = False, *, dtype: torch.dtype | None = None
) -> Tensor:
    rows, columns = (each % self.ndim for each in dim)
    moved = self.to(dtype or self.dtype).movedim((rows, columns), (-2, -1))
    found = torch.linalg.svdvals(moved) if abs(ord) == 2 else moved.abs().sum(-2 if abs(ord) == 1 else -1)
    norm = found.amax(-1) if ord > 0 else found.amin(-1)
    return norm.unsqueeze(min(rows, columns)).unsqueeze(max(rows, columns)) if keepdim else norm


def _gradient(self: Tensor, *, spacing: Any = None, dim: Any = None, edge_order: int = 1) -> list[Tensor]:
    step = 1 if spacing is None else spacing
    places = range(self.ndim) if dim is None else [dim] if isinstance(dim, int) else dim
    return [_slope(self, place, step, edge_order) for place in places]


def _slope(x: Tensor, dim: int, step: Any, edge_order: int) -> Tensor:
    count = x.shape[dim]

    def at(first: int, length: int) -> Tensor:
        return x.narrow(dim, first, length)

    inner = (at(2, count - 2) - at(0, count - 2)) / (2 * step)
    if edge_order == 1:
        return torch.cat(((at(1, 1) - at(0, 1)) / step, inner, (at(count - 1, 1) - at(count - 2, 1)) / step), dim)
    first = (-1.5 * at(0, 1) + 2 * at(1, 1) - 0.5 * at(2, 1)) / step
    last = (1.5 * at(count - 1, 1) - 2 * at(count - 2, 1) + 0.5 * at(count - 3, 1)) / step
    return torch.cat((first, inner, last), dim)


def _cov(
    self: Tensor, *, correction: int = 1, fweights: Tensor | None = None, aweights: Tensor | None = None
) -> Tensor:
    x = self if self.ndim == 2 else self.reshape(1, -1)
    weights = fweights if aweights is None else aweights if fweights is None else fweights * aweights
    if weights is None:
        centred = x - x.mean(1, keepdim=True)
        return (centred @ centred.mH / (x.shape[1] - correction)).squeeze()
    total = weights.sum()
    centred = x - (x * weights).sum(1, keepdim=True) / total
    of = total if aweights is None else (weights * aweights).sum() / total
    return (centred @ (centred * weights).mH / (total - correction * of)).squeeze()


def _corrcoef(self: Tensor) -> Tensor:
    covariance = _cov(self)
    if covariance.ndim == 0:
        return covariance / covariance
    deviation = covariance.diagonal().real.sqrt() if covariance.is_complex() else covariance.diagonal().sqrt()
    return covariance / deviation[:, None] / deviation[None]


_TWINS: dict[OpOverload, Callable[..., Any]] = {
    aten.kron.default: _kron,
    aten.pdist.default: _pdist,
    aten.cdist.default: _cdist,
    aten.linalg_multi_dot.default: _multi_dot,
    aten.chain_matmul.default: _multi_dot,
    aten.linalg_matrix_norm.default: _matrix_norm,
    aten.gradient.scalarint: _gradient,
    aten.gradient.array: _gradient,
    aten.gradient.scalararray: _gradient,
    aten.cov.default: _cov,
    aten.corrcoef.default: _corrcoef,
}
