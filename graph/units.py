"""The graph as cuts see it: units of computation, the tensors they make, and who reads them.

A unit is one value node together with what comes for free: the `getitem`s of an operator with several results,
and *free views* (reshapes, permutations, plain copies), which either side recomputes from the tensor
they view. So cuts that differ only by free views are one cut, and a view of a raw input is the raw input.
"""

from __future__ import annotations

import operator
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import sparse
from torch import Tensor, fx

from ..records import Crossing, Layout
from .layout import sample_shape
from .pairs import is_complex
from .sizes import at_batch_one, has_fixed_shape, per_sample
from .structures import TracedGraph

aten = torch.ops.aten

FREE_VIEWS = {
    aten.view.default, aten._unsafe_view.default, aten.reshape.default, aten.flatten.using_ints,
    aten.unflatten.int, aten.permute.default, aten.transpose.int, aten.t.default, aten.numpy_T.default,
    aten.squeeze.default, aten.squeeze.dim, aten.squeeze.dims, aten.unsqueeze.default, aten.movedim.int,
    aten.movedim.intlist, aten.alias.default, aten.clone.default, aten.contiguous.default, aten.view_as.default,
    aten.view_as_complex.default,
}  # fmt: skip
"""Invertible rearrangements: the same numbers, so the same information and the same payload."""

Mask = NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class UnitTensor:
    """A tensor that could cross: the node that makes it, the unit that node belongs to."""

    node: fx.Node
    unit: int
    crossable: bool


@dataclass(frozen=True, eq=False)
class Units:
    """The unit graph of a traced model, in topological order. The last unit is the output.

    Attributes:
        heads: the fx node of each unit (`output` for the last).
        members: by unit, every value node that it computes (views excluded).
        tensors: what could cross.
        readers: sparse `[tensor, unit]`: does the unit read the tensor (through views too)?
        unit_of: by node name, the unit that pays for the node (a view: the unit of its root).
        needs_public: by unit, the public placeholders that it reads, through any recomputed node.
        input_count: how many of the first units are private inputs.
    """

    heads: list[fx.Node]
    tensors: list[UnitTensor]
    readers: sparse.csr_matrix
    unit_of: dict[str, int]
    root_of: dict[str, fx.Node]
    needs_public: list[frozenset[fx.Node]]
    input_count: int
    traced: TracedGraph

    @property
    def count(self) -> int:
        """How many units there are, the output included."""
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
    def ancestors(self) -> Mask:
        """`[unit, unit]`: column v holds v and everything that v depends on."""
        closure = np.eye(self.count, dtype=bool)
        readers = self.readers.tocsc()
        for unit in range(self.count):
            sources = self.producers[readers.indices[readers.indptr[unit] : readers.indptr[unit + 1]]]
            for source in np.unique(sources):
                closure[unit] |= closure[source]
        return closure.T

    def crossings(self, edge: Mask) -> Mask:
        """`[tensor, cut]`: which tensors cross, for down-sets given as columns `[unit, cut]`."""
        outside = np.ascontiguousarray(~edge, dtype=np.float32)
        found: Mask = edge[self.producers] & (self.readers @ outside > 0)
        return found

    @cached_property
    def crossing_records(self) -> list[Crossing]:
        """By tensor, the record that a cut carries for it."""
        return _records(self)

    @cached_property
    def carries_batch(self) -> Mask:
        """By tensor, can the batch size be read off its shape?"""
        return np.array([_has_batch(tensor.node, self.traced) for tensor in self.tensors], dtype=bool)


def units(traced: TracedGraph) -> Units:
    """The unit graph of `traced` (built once, then kept)."""
    if "units" not in traced.cache:
        traced.cache["units"] = _build(traced)
    found: Units = traced.cache["units"]
    return found


def _build(traced: TracedGraph) -> Units:
    kinds = traced.kinds
    heads: list[fx.Node] = []
    tensors: list[UnitTensor] = []
    unit_of: dict[str, int] = {}
    root_of: dict[str, fx.Node] = {}
    tensor_index: dict[str, int] = {}
    reads: list[set[int]] = []
    public_below: dict[fx.Node, frozenset[fx.Node]] = {}
    needs_public: list[frozenset[fx.Node]] = []
    nodes = list(traced.flat.graph.nodes)
    private = [n for n in nodes if n.op == "placeholder" and kinds[n.name] == "value"]
    inputs_first = [*private, *(n for n in nodes if n.op != "placeholder" or kinds[n.name] != "value")]

    def add_tensor(node: fx.Node, unit: int, crossable: bool = True) -> None:
        tensor_index[node.name] = len(tensors)
        tensors.append(UnitTensor(node, unit, crossable))
        root_of[node.name] = node

    for node in inputs_first:
        if node.op != "output" and kinds[node.name] != "value":
            below = _union(public_below, node.all_input_nodes)
            public_below[node] = below | {node} if node.op == "placeholder" else below
            continue
        sources = [source for source in node.all_input_nodes if kinds[source.name] == "value"]
        recomputed = [source for source in node.all_input_nodes if kinds[source.name] != "value"]
        public = _union(public_below, recomputed)
        if node.op == "call_function" and node.target is operator.getitem:
            unit_of[node.name] = unit_of[sources[0].name]
            add_tensor(node, unit_of[node.name], _may_cross(node, traced))
            continue
        if node.target in FREE_VIEWS and len(sources) == 1 and not public:
            root = root_of[sources[0].name]
            root_of[node.name], unit_of[node.name] = root, unit_of[root.name]
            continue
        unit = len(heads)
        heads.append(node)
        unit_of[node.name] = unit
        needs_public.append(public)
        reads.append({tensor_index[root_of[source.name].name] for source in sources if source.name in root_of})
        several = isinstance(node.meta.get("val"), (tuple, list))
        if node.op != "output" and not (several and all(user.target is operator.getitem for user in node.users)):
            add_tensor(node, unit, _may_cross(node, traced))

    rows = [tensor for tensors_read in reads for tensor in tensors_read]
    columns = [unit for unit, tensors_read in enumerate(reads) for _ in tensors_read]
    ones = np.ones(len(rows), dtype=np.float32)
    readers = sparse.csr_matrix((ones, (rows, columns)), shape=(len(tensors), len(heads)))
    return Units(heads, tensors, readers, unit_of, root_of, needs_public, len(private), traced)


def _union(below: Mapping[fx.Node, frozenset[fx.Node]], nodes: Iterable[fx.Node]) -> frozenset[fx.Node]:
    return frozenset().union(*(below.get(node, frozenset()) for node in nodes))


def _records(graph: Units) -> list[Crossing]:
    names = _names(graph.traced, [tensor.node for tensor in graph.tensors])
    records = []
    for tensor, name in zip(graph.tensors, names, strict=True):
        layout = graph.traced.layouts.get(tensor.node.name)
        records.append(crossing_record(tensor.node, name, layout))
    return records


def crossing_record(node: fx.Node, name: str, layout: Layout | None, *, public: bool = False) -> Crossing:
    """The record of one crossing tensor."""
    value = node.meta.get("val")
    dtype = str(value.dtype).removeprefix("torch.") if isinstance(value, Tensor) else "int64"
    shape = tuple(at_batch_one(size) for size in value.shape) if isinstance(value, Tensor) else ()
    return Crossing(
        name=name,
        node=node.name,
        dtype=dtype,
        sample_shape=sample_shape(shape, layout) if layout else shape,
        layout=layout,
        public=public,
        raw_input=_is_input(node) and not public,
    )


def _is_input(node: fx.Node) -> bool:
    """An input, or the pairs of a complex one."""
    while node.target in (aten.view_as_real.default, aten.resolve_conj.default) or node.target in FREE_VIEWS:
        node = node.args[0]  # type: ignore[assignment]
    return node.op == "placeholder"


def _may_cross(node: fx.Node, traced: TracedGraph) -> bool:
    """A tensor whose size no value decides: what is sent has one size, which is known before.

    A complex one crosses as its pairs, unless it is an input.
    """
    if is_complex(node) and node.op != "placeholder":
        return False
    value = node.meta.get("val")
    return isinstance(value, Tensor) and has_fixed_shape(value, traced.batch_symbol)


def _has_batch(node: fx.Node, traced: TracedGraph) -> bool:
    value = node.meta.get("val")
    return isinstance(value, Tensor) and any(per_sample(size, traced.batch_symbol) for size in value.shape)


_CONTAINERS = {"torch.nn.modules.container.Sequential", "torch.nn.modules.container.ModuleList"}


def _names(traced: TracedGraph, nodes: list[fx.Node]) -> list[str]:
    """A name for every tensor: the outermost module (containers aside) that ends with it, else module.operator."""
    last: dict[str, int] = {}
    position = {node: index for index, node in enumerate(traced.flat.graph.nodes)}
    for node in traced.flat.graph.nodes:
        for path, _kind in node.meta.get("modules", ()):
            last[path] = position[node]
    ends = _module_ends(traced, last)
    counts: dict[str, int] = {}
    names = []
    for node in nodes:
        name = _name(node, ends)
        counts[name] = counts.get(name, 0) + 1
        names.append(name if counts[name] == 1 else f"{name}#{counts[name]}")
    return names


def _module_ends(traced: TracedGraph, last: dict[str, int]) -> dict[str, fx.Node]:
    """By module path, the tensor root that the module's last node is, or is a free view of."""
    nodes = list(traced.flat.graph.nodes)
    ends = {}
    for path, index in last.items():
        node = nodes[index]
        while node.target in FREE_VIEWS and isinstance(node.args[0], fx.Node):
            node = node.args[0]
        if any(path == own for own, _ in node.meta.get("modules", ())):
            ends[path] = node
    return ends


def _name(node: fx.Node, ends: dict[str, fx.Node]) -> str:
    if node.op == "placeholder":
        return str(node.meta["input"])
    modules = node.meta.get("modules", ())
    for path, kind in modules:
        if kind not in _CONTAINERS and ends.get(path) is node:
            return _plain(path)
    operation = _operation(node)
    return f"{_plain(modules[-1][0])}.{operation}" if modules else operation


def _plain(path: str) -> str:
    """A module path without the mark of a repeated call (`relu@1`)."""
    return ".".join(part.split("@")[0] for part in path.split("."))


def _operation(node: fx.Node) -> str:
    if node.target is operator.getitem:
        return f"{_operation(node.args[0])}.{node.args[1]}"  # type: ignore[arg-type]
    name = getattr(node.target, "_schema", None)
    return str(name.name.split("::")[-1]) if name else str(getattr(node.target, "__name__", node.target))
