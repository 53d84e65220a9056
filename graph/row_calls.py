"""What the rules of `rows` work on: where samples lie in a tensor, one call of an operator, and fixed values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx

from .sizes import free_dims, per_sample, symbolic
from .traced_graph import TracedGraph
from .weights import fetched

aten = torch.ops.aten


@dataclass(frozen=True, slots=True)
class Rows:
    """Dimension `dim` counts samples: index `i` there belongs to sample `i // n % batch`, for each n of `inner`.

    Several n hold at once where all samples have the same entries.
    """

    dim: int
    inner: frozenset[int] = frozenset({1})


@dataclass(frozen=True, slots=True)
class Own:
    """Integers that say, along `dim`, which sample each row belongs to."""

    dim: int


class Mixed(Exception):
    """Samples read each other here."""


class Unknown(Exception):
    """No rule covers this."""


LOST = "lost"
"""The state of a tensor about which nothing is known. None: the tensor is the same for every batch."""

State = Any
"""Rows, None, `Own`, `LOST`, or a tuple of them for several results."""


def is_tensor(node: Any) -> bool:
    """True for a node whose result is one tensor."""
    return isinstance(node, fx.Node) and isinstance(node.meta.get("val"), Tensor)


class Fixed:
    """What follows from the batch size and from constants alone, computed at several sizes."""

    NUMBERS = (1, 2, 3, 4, 5, 7, 8, 9, 16, 17, 33, 65, 100, 1000, 10000)
    SIZES = (1, 2, 3, 17)

    def __init__(self, traced: TracedGraph) -> None:
        self.traced = traced
        self.batch = traced.batch_symbol
        self.known: dict[tuple[fx.Node, int], Any] = {}
        self.states: dict[fx.Node, State] = {}

    def at(self, node: fx.Node, size: int) -> Any:
        """The value of a node at a batch size."""
        key = (node, size)
        if key not in self.known:
            if node.op == "get_attr":
                self.known[key] = fetched(self.traced.flat, str(node.target))
            elif node.target is aten.sym_size.int:
                expression = symbolic(node.meta["val"])
                value = node.meta["val"] if expression is None else expression.subs(self.batch, size)
                self.known[key] = int(value)
            else:
                args, kwargs = fx.map_arg((node.args, node.kwargs), lambda each: self.at(each, size))
                with torch.no_grad():
                    self.known[key] = node.target(*args, **kwargs)  # type: ignore[operator]
        return self.known[key]

    def varies(self, node: fx.Node) -> bool:
        """True for a number that depends on the batch size."""
        first = self.at(node, self.NUMBERS[0])
        return any(self.at(node, size) != first for size in self.NUMBERS)

    def state(self, node: fx.Node) -> State:
        """The state of a tensor.

        Raises:
            Mixed: it depends on the place of a sample, or on their number.
            Unknown: it cannot be computed at all sizes.
        """
        if node not in self.states:
            try:
                self.states[node] = self._state(node)
            except Mixed:
                raise
            except Exception as error:  # a batch size that it cannot have
                raise Unknown from error
        return self.states[node]

    def _state(self, node: fx.Node) -> State:
        value = node.meta["val"]
        if not isinstance(value, Tensor):
            raise Unknown
        free = free_dims(value)
        if not free:
            if self.traced.kinds[node.name] != "constant":
                first, *others = (self.at(node, size) for size in self.SIZES)
                if not all(torch.equal(first, other) for other in others):
                    raise Mixed
            return None
        if len(free) > 1:
            raise Mixed
        groups = per_sample(value.shape[free[0]], self.batch)
        if groups is None:
            raise Unknown
        found = [self.at(node, size).movedim(free[0], 0) for size in self.SIZES]
        inner = frozenset(n for n in _divisors(groups) if _all_alike(found, n, groups))
        if inner:
            return Rows(free[0], inner)
        last = found[-1]
        own = torch.arange(self.SIZES[-1]).view(-1, *[1] * (last.ndim - 1)).expand_as(last)
        if groups == 1 and not last.is_floating_point() and torch.equal(last.long(), own):
            return Own(free[0])
        raise Mixed


def _divisors(number: int) -> list[int]:
    return [n for n in range(1, number + 1) if number % n == 0]


def _all_alike(found: Sequence[Tensor], inner: int, groups: int) -> bool:
    """True where all samples have the same entries at all batch sizes, in the order of `inner`."""
    alone = found[0].reshape(groups // inner, 1, inner, *found[0].shape[1:])
    return all(bool((each.reshape(groups // inner, -1, inner, *each.shape[1:]) == alone).all()) for each in found[1:])


class Call:
    """One call: its arguments by the names of the schema, and the states of the tensors among them."""

    def __init__(self, node: fx.Node, states: Mapping[fx.Node, State], fixed: Fixed) -> None:
        self.node, self.known, self.fixed = node, states, fixed
        self.target = node.target
        self.value: Any = node.meta.get("val")
        schema = getattr(node.target, "_schema", None)
        self.name = schema.name.split("::")[-1] if schema else ""
        self.arguments: dict[str, Any] = {}
        if schema:
            self.arguments = {each.name: each.default_value for each in schema.arguments}
            self.arguments.update(zip(self.arguments, node.args, strict=False))
            self.arguments.update(node.kwargs)
        self.tensors = [each for each in node.all_input_nodes if is_tensor(each)]

    def __getitem__(self, name: str) -> Any:
        return self.arguments.get(name)

    @property
    def values(self) -> Sequence[Any]:
        """The results; a single one as a list."""
        return self.value if isinstance(self.value, (tuple, list)) else [self.value]

    @property
    def several(self) -> bool:
        """True where the operator has a tuple of results."""
        return isinstance(self.value, (tuple, list))

    def state(self, node: Any) -> State:
        """The state of an argument; None for one that is not a tensor."""
        if not isinstance(node, fx.Node):
            return None
        return self.known[node] if node in self.known else self.fixed.state(node)

    def rows(self, node: Any) -> Rows | None:
        """The rows of a tensor argument; None where it is the same for every batch."""
        state = self.state(node)
        if isinstance(state, Own):
            raise Mixed
        if state is not None and not isinstance(state, Rows):
            raise Unknown
        return state

    def first(self) -> tuple[fx.Node, Rows, int]:
        """The first argument, its rows, and its number of dimensions. The others must be the same for every batch."""
        node = next(iter(self.arguments.values()))
        rows = self.rows(node)
        if rows is None:
            raise Unknown
        self.require_same(*[each for each in self.tensors if each is not node])
        return node, rows, node.meta["val"].ndim

    def require_same(self, *nodes: Any) -> None:
        """Raises Unknown where a tensor is not the same for every batch."""
        for node in nodes:
            if self.rows(node) is not None:
                raise Unknown

    def require_plain_numbers(self) -> None:
        """Raises Mixed where a number that is no size depends on the batch size."""
        for each in self.node.all_input_nodes:
            if is_tensor(each) or each in self.known:
                continue
            try:
                varies = not isinstance(each.meta.get("val"), (tuple, list)) and self.fixed.varies(each)
            except Exception as error:
                raise Unknown from error
            if varies:
                raise Mixed

    def placed(self, inner: frozenset[int]) -> State:
        """The rows of each result, by the one dimension that counts samples."""
        if self.several:
            return tuple(self._place(each, inner) for each in self.value)
        return self._place(self.value, inner)

    def _place(self, value: Any, inner: frozenset[int]) -> Rows | None:
        free = free_dims(value)
        if len(free) > 1:
            raise Mixed
        if not free and not value.numel():
            return None
        if not free or per_sample(value.shape[free[0]], self.fixed.batch) is None:
            raise Unknown
        return Rows(free[0], inner)

    def aligned(self, nodes: Sequence[Any]) -> Rows | None:
        """The rows of tensors that are broadcast against each other. Raises Mixed where they do not agree."""
        ndim = max((node.meta["val"].ndim for node in nodes if is_tensor(node)), default=0)
        found: list[Rows] = []
        for node in nodes:
            rows = self.rows(node)
            if rows is not None:
                found.append(Rows(rows.dim + ndim - node.meta["val"].ndim, rows.inner))
        if not found:
            return None
        if len({rows.dim for rows in found}) > 1:
            raise Mixed
        return Rows(found[0].dim, agreed([rows.inner for rows in found]))

    def across(self, node: fx.Node, rows: Rows) -> State:
        """For a result with some entries of the dimension that counts samples.

        Raises:
            Mixed: these are the entries of some samples.
            Unknown: samples are folded, and the entries may be some of each.
        """
        raise Mixed if per_sample(node.meta["val"].shape[rows.dim], self.fixed.batch) == 1 else Unknown


def agreed(orders: Sequence[frozenset[int]]) -> frozenset[int]:
    """The orders of rows that tensors have in common. Raises Mixed where they have none."""
    inner = frozenset.intersection(*orders)
    if not inner:
        raise Mixed
    return inner
