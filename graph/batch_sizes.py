"""Makes every size that depends on the batch a node, computed from one node that reads the batch size off an input."""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

import sympy
import torch
from torch import fx

from ..records import TraceError
from .sizes import counts_on_batch, symbolic

aten = torch.ops.aten

_ARITHMETIC: dict[str, Callable[..., Any]] = {
    "FloorDiv": operator.floordiv,
    "CleanDiv": operator.floordiv,
    "PythonMod": operator.mod,
    "Mod": operator.mod,
}


class BatchSizes:
    """The sizes of one graph, each made once.

    Attributes:
        symbol: counts samples; None: no input has a free batch.
    """

    def __init__(self, graph: fx.Graph) -> None:
        self.symbol: sympy.Expr | None = None
        self._graph = graph
        self._made: dict[sympy.Expr, fx.Node] = {}
        self._source: tuple[fx.Node, int] | None = None

    def read_from(self, placeholder: fx.Node, batch_dim: int | None) -> None:
        """Read the batch size off this input, unless an earlier one has it already, or this one has none."""
        if self.symbol is not None or batch_dim is None:
            return
        expression = symbolic(placeholder.meta["val"].shape[batch_dim])
        if expression is not None:
            self.symbol, self._source = expression, (placeholder, batch_dim)

    def dimension(self, extent: Any) -> Any:
        """A dimension of a tensor as an integer or as a node. Raises TraceError where it depends on values."""
        size = self.size(extent)
        if size is None:
            raise TraceError(f"a tensor's size ({extent}) depends on tensor values; make it depend on shapes alone")
        return size

    def size(self, value: torch.SymInt | int) -> Any:
        """A size as an integer or as a node computed from the batch; None where it depends on values."""
        expression = symbolic(value)
        if expression is None:
            return int(value)
        if not counts_on_batch(value, self.symbol):
            return None
        return self._expression(expression, value)

    def _expression(self, expression: sympy.Expr, value: Any) -> Any:
        if expression.is_Integer:
            return int(expression)
        if expression in self._made:
            return self._made[expression]
        if expression == self.symbol:
            assert self._source is not None
            made = self._graph.call_function(aten.sym_size.int, self._source)
        else:
            function = _arithmetic(expression)
            if function is None:
                return None
            terms = [self._expression(term, value) for term in expression.args]
            if any(term is None for term in terms):
                return None
            made = terms[0]
            for term in terms[1:]:
                made = self._graph.call_function(function, (made, term))
        made.meta.update(val=value, modules=())
        self._made[expression] = made
        return made


def _arithmetic(expression: sympy.Expr) -> Callable[..., Any] | None:
    if expression.is_Mul:
        return operator.mul
    if expression.is_Add:
        return operator.add
    return _ARITHMETIC.get(type(expression).__name__)
