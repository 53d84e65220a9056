"""The graph as cuts see it: units of computation, the tensors they make, and who reads them.

A unit is one value node together with what comes for free: the `getitem`s of an operator with several results, and
*free views*, which either side recomputes from the tensor that they view. So cuts that differ only by free views are
one cut, and a view of a raw input is the raw input.
"""

from __future__ import annotations

import operator
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, fx

from ..records import Crossing, Layout
from .ancestors import transitive_closure
from .free_views import FREE_VIEWS, shows_input
from .layout import sample_shape
from .naming import dtype_name, tensor_names
from .pairs import is_complex
from .sizes import at_batch_one, has_fixed_shape, per_sample
from .traced_graph import TracedGraph

if TYPE_CHECKING:
    from scipy import sparse

Mask = NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class UnitTensor:
    """A tensor that could cross: the node that makes it and the unit of that node."""

    node: fx.Node
    unit: int
    crossable: bool


@dataclass(frozen=True, eq=False)
class Units:
    """The unit graph of a traced model, in topological order. The last unit is the output.

    Attributes:
        heads: by unit, its fx node (`output` for the last).
        tensors: what could cross.
        readers: sparse `[tensor, unit]`: does the unit read the tensor, directly or through views?
        unit_of: by node name, the unit that pays for the node (for a view, the unit of the tensor that it views).
        needs_public: by unit, the public placeholders that it reads, directly or through recomputed nodes.
        input_count: the number of private inputs, which are the first units.
        traced: the graph that this was made from.
    """

    heads: list[fx.Node]
    tensors: list[UnitTensor]
    readers: sparse.csr_matrix
    unit_of: dict[str, int]
    needs_public: list[frozenset[fx.Node]]
    input_count: int
    traced: TracedGraph

    @property
    def count(self) -> int:
        """The number of units, the output included."""
        return len(self.heads)

    @cached_property
    def producers(self) -> NDArray[np.int64]:
        """By tensor, the unit that makes it."""
        return np.array([tensor.unit for tensor in self.tensors], dtype=np.int64)

    @cached_property
    def crossable(self) -> Mask:
        """By tensor, may it cross at all?"""
        return np.array([tensor.crossable for tensor in self.tensors], dtype=bool)

    @cached_property
    def is_input(self) -> Mask:
        """By unit, is it a private input?"""
        return np.arange(self.count) < self.input_count

    @cached_property
    def ancestors(self) -> Mask:
        """`[unit, unit]`: column v holds v and everything that v depends on."""
        readers = self.readers.tocsc()
        starts = readers.indptr
        read = [readers.indices[starts[unit] : starts[unit + 1]] for unit in range(self.count)]
        return transitive_closure([np.unique(self.producers[tensors]) for tensors in read]).T

    def crossings(self, edge: Mask) -> Mask:
        """`[tensor, cut]`: which tensors cross, for down-sets given as columns `[unit, cut]`."""
        outside = np.ascontiguousarray(~edge, dtype=np.float32)
        found: Mask = edge[self.producers] & (self.readers @ outside > 0)
        return found

    def crossing(self, edge: Mask) -> Mask:
        """By tensor, does it cross the one down-set `edge`, given by unit?"""
        crosses: Mask = self.crossings(edge[:, None])[:, 0]
        return crosses

    @cached_property
    def crossing_records(self) -> list[Crossing]:
        """By tensor, the record that a cut carries for it."""
        nodes = [tensor.node for tensor in self.tensors]
        names = tensor_names(self.traced.flat.graph, nodes)
        layouts = self.traced.layouts
        return [crossing_record(node, name, layouts.get(node.name)) for node, name in zip(nodes, names, strict=True)]

    @cached_property
    def carries_batch(self) -> Mask:
        """By tensor, can the batch size be read off its shape?"""
        return np.array([_has_batch(tensor.node, self.traced) for tensor in self.tensors], dtype=bool)


def units(traced: TracedGraph) -> Units:
    """The unit graph of `traced`, built on the first call."""
    return traced.cache.get(Units, lambda: _Builder(traced).build())


class _Builder:
    """Puts the nodes of a traced graph into units, one after the other."""

    def __init__(self, traced: TracedGraph) -> None:
        self.traced = traced
        self.heads: list[fx.Node] = []
        self.tensors: list[UnitTensor] = []
        self.reads: list[set[int]] = []
        self.needs_public: list[frozenset[fx.Node]] = []
        self.unit_of: dict[str, int] = {}
        self.root_of: dict[str, fx.Node] = {}
        self.tensor_index: dict[str, int] = {}
        self.public_below: dict[fx.Node, frozenset[fx.Node]] = {}

    def build(self) -> Units:
        nodes = list(self.traced.flat.graph.nodes)
        private = [node for node in nodes if node.op == "placeholder" and self._has_value(node)]
        others = [node for node in nodes if node.op != "placeholder" or not self._has_value(node)]
        for node in (*private, *others):
            if node.op == "output" or self._has_value(node):
                self._add_value(node)
            else:
                self._add_recomputed(node)
        return Units(
            self.heads,
            self.tensors,
            self._readers(),
            self.unit_of,
            self.needs_public,
            len(private),
            self.traced,
        )

    def _has_value(self, node: fx.Node) -> bool:
        return self.traced.kinds.get(node.name) == "value"

    def _add_recomputed(self, node: fx.Node) -> None:
        below = self._public(node.all_input_nodes)
        self.public_below[node] = below | {node} if node.op == "placeholder" else below

    def _add_value(self, node: fx.Node) -> None:
        sources = [source for source in node.all_input_nodes if self._has_value(source)]
        public = self._public(source for source in node.all_input_nodes if not self._has_value(source))
        if node.op == "call_function" and node.target is operator.getitem:
            self.unit_of[node.name] = self.unit_of[sources[0].name]
            self._add_tensor(node)
        elif node.target in FREE_VIEWS and len(sources) == 1 and not public:
            root = self.root_of[sources[0].name]
            self.root_of[node.name], self.unit_of[node.name] = root, self.unit_of[root.name]
        else:
            self._add_unit(node, sources, public)

    def _add_unit(self, node: fx.Node, sources: list[fx.Node], public: frozenset[fx.Node]) -> None:
        self.unit_of[node.name] = len(self.heads)
        self.heads.append(node)
        self.needs_public.append(public)
        roots = [self.root_of[source.name] for source in sources if source.name in self.root_of]
        self.reads.append({self.tensor_index[root.name] for root in roots})
        several = isinstance(node.meta.get("val"), (tuple, list))
        if node.op != "output" and not (several and all(user.target is operator.getitem for user in node.users)):
            self._add_tensor(node)

    def _add_tensor(self, node: fx.Node) -> None:
        self.tensor_index[node.name] = len(self.tensors)
        self.tensors.append(UnitTensor(node, self.unit_of[node.name], _may_cross(node, self.traced)))
        self.root_of[node.name] = node

    def _public(self, nodes: Iterable[fx.Node]) -> frozenset[fx.Node]:
        return frozenset().union(*(self.public_below.get(node, frozenset()) for node in nodes))

    def _readers(self) -> sparse.csr_matrix:
        from scipy import sparse  # only planning builds unit graphs; a device has no scipy

        rows = [tensor for read in self.reads for tensor in read]
        columns = [unit for unit, read in enumerate(self.reads) for _ in read]
        ones = np.ones(len(rows), dtype=np.float32)
        return sparse.csr_matrix((ones, (rows, columns)), shape=(len(self.tensors), len(self.heads)))


def crossing_record(node: fx.Node, name: str, layout: Layout | None, *, public: bool = False) -> Crossing:
    """The record of one crossing tensor.

    Args:
        name: what users call it.
        layout: how it becomes one row per sample; None: it cannot.
        public: the user declared it harmless.
    """
    value = node.meta.get("val")
    shape = tuple(at_batch_one(size) for size in value.shape) if isinstance(value, Tensor) else ()
    return Crossing(
        name=name,
        node=node.name,
        dtype=dtype_name(value.dtype) if isinstance(value, Tensor) else "int64",
        sample_shape=sample_shape(shape, layout) if layout else shape,
        layout=layout,
        public=public,
        raw_input=shows_input(node) and not public,
    )


def _may_cross(node: fx.Node, traced: TracedGraph) -> bool:
    """True for a tensor whose size does not depend on values: the size of a message must be known in advance.

    A complex tensor crosses as its pairs, unless it is an input.
    """
    if is_complex(node) and node.op != "placeholder":
        return False
    value = node.meta.get("val")
    return isinstance(value, Tensor) and has_fixed_shape(value, traced.batch_symbol)


def _has_batch(node: fx.Node, traced: TracedGraph) -> bool:
    value = node.meta.get("val")
    return isinstance(value, Tensor) and any(per_sample(size, traced.batch_symbol) for size in value.shape)
