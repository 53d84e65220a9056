"""Where a model can be divided: bottlenecks, frontiers of a few tensors, and the cheapest cut of all.

A cut is a down-set of the unit graph. There are exponentially many; three families, each linear in the size of
the graph, hold every single-tensor cut and the frontiers that people mean: prefixes of the execution order, all that
one node needs, and all that does not need one node. The cheapest cut over *all* down-sets is a minimum
s-t cut (DADS, Hu et al., INFOCOM 2019, with each tensor paid once however many read it).
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.sparse import csgraph
from torch import fx

from ..records import Crossing, CutError, CutKind, Layout, canonical_json
from .structures import Cut, TracedGraph
from .units import Mask, Units, crossing_record, units


def candidate_cuts(traced: TracedGraph, max_crossing: int = 4) -> list[Cut]:
    """Cuts in the order from input to output: cloud-only first, edge-only last.

    Args:
        traced: the traced model.
        max_crossing: how many private tensors may cross (public inputs do not count).

    Returns:
        Every cut that one tensor crosses, and the frontiers with up to `max_crossing` tensors; no two
        that let the same tensors cross.

    Raises:
        CutError: `max_crossing` below 1.
    """
    if max_crossing < 1:
        raise CutError(f"max_crossing must be at least 1, got {max_crossing}")
    graph = units(traced)
    edges = _families(graph)
    crossing = graph.crossings(edges)
    allowed = (crossing.sum(axis=0) <= max_crossing) & ~crossing[~graph.crossable].any(axis=0)
    if traced.dynamic_batch:
        allowed &= crossing[graph.carries_batch].any(axis=0)
    first, last = _cloud_only(graph), _edge_only(graph)
    seen = {np.packbits(crosses).tobytes() for _, crosses in (first, last)}
    columns = []
    for column in np.flatnonzero(allowed):
        key = np.packbits(crossing[:, column]).tobytes()
        if key not in seen:
            seen.add(key)
            columns.append(int(column))
    columns.sort(key=lambda column: int(edges[:, column].sum()))
    masks = [first, *((edges[:, column], crossing[:, column]) for column in columns), last]
    return [_cut(graph, edge, crosses, depth) for depth, (edge, crosses) in enumerate(masks)]


def cheapest_cut(
    traced: TracedGraph,
    edge_ms: Mapping[str, float],
    cloud_ms: Mapping[str, float],
    transfer_ms: Mapping[str, float],
) -> Cut:
    """The cut with the least additive cost over **all** down-sets of the graph, by minimum s-t cut.

    The cost is the sum of `edge_ms` over the edge's nodes, of `cloud_ms` over the cloud's, of `transfer_ms` over the
    private tensors that cross (each once), and `transfer_ms["output"]`, the download of the result, unless
    everything runs on the edge. A free view's time counts where the tensor it views is made. Missing names
    cost nothing. Costs are resolved to 1e-9 of their sum.

    Args:
        edge_ms, cloud_ms: milliseconds by node name, on either side.
        transfer_ms: milliseconds to send a node's tensor (inputs: the upload).

    Raises:
        CutError: a cost that is negative or not finite, or a name that the graph does not have.
    """
    graph = units(traced)
    known = {node.name for node in traced.flat.graph.nodes}
    for what, costs in (("edge_ms", edge_ms), ("cloud_ms", cloud_ms), ("transfer_ms", transfer_ms)):
        for name, cost in costs.items():
            if name not in known:
                raise CutError(f"{what} names {name!r}, which is no node of the traced graph")
            if not (math.isfinite(cost) and cost >= 0):
                raise CutError(f"{what}[{name!r}] is {cost}; costs are finite and not negative")
    on_edge, on_cloud = _unit_costs(graph, edge_ms), _unit_costs(graph, cloud_ms)
    on_cloud[-1] += transfer_ms.get("output", 0.0)
    sending = np.array([transfer_ms.get(tensor.node.name, 0.0) for tensor in graph.tensors])
    edge = _minimum_cut(graph, on_edge, on_cloud, sending)
    if edge[-1]:
        edge, crosses = _edge_only(graph)
    else:
        crosses = graph.crossings(edge[:, None])[:, 0]
    return _cut(graph, edge, crosses, depth=int(edge.sum()))


def _families(graph: Units) -> Mask:
    """Down-sets as columns: prefixes, ancestors of one unit, non-descendants of one unit; inputs always inside."""
    count = graph.count - 1  # the output never belongs to the edge here
    prefixes = np.triu(np.ones((graph.count, count), dtype=bool))
    closures = graph.ancestors[:, :count].copy()
    without = ~graph.ancestors.T[:, :count]
    edges = np.concatenate([prefixes, closures, without], axis=1)
    edges[: graph.input_count] = True
    edges[-1] = False
    proper = edges[graph.input_count : -1].any(axis=0)
    return edges[:, proper]


def _cloud_only(graph: Units) -> tuple[Mask, Mask]:
    edge = np.zeros(graph.count, dtype=bool)
    edge[: graph.input_count] = True
    return edge, graph.crossings(edge[:, None])[:, 0]


def _edge_only(graph: Units) -> tuple[Mask, Mask]:
    """Everything on the edge; what crosses are the outputs."""
    edge = np.ones(graph.count, dtype=bool)
    edge[-1] = False
    crosses = graph.crossings(edge[:, None])[:, 0]
    edge[-1] = True
    return edge, crosses


def _unit_costs(graph: Units, costs: Mapping[str, float]) -> NDArray[np.float64]:
    total = np.zeros(graph.count)
    for name, cost in costs.items():
        unit = graph.unit_of.get(name)
        if unit is not None:
            total[unit] += cost
    return total


def _minimum_cut(
    graph: Units, on_edge: NDArray[np.float64], on_cloud: NDArray[np.float64], sending: NDArray[np.float64]
) -> Mask:
    """The edge side of the minimum cut. Vertices: source, sink, units, then one per tensor."""
    count, tensors = graph.count, len(graph.tensors)
    source, sink, first_unit, first_tensor = 0, 1, 2, 2 + count
    finite = float(on_edge.sum() + on_cloud.sum() + sending.sum())
    scale = (2**30) / finite if finite > 0 else 1.0
    infinite = 2**31 - 1
    arcs: dict[tuple[int, int], int] = {}

    def add(start: int, end: int, capacity: int) -> None:
        arcs[start, end] = min(arcs.get((start, end), 0) + capacity, infinite)

    for unit in range(count):
        forced = unit < graph.input_count
        add(source, first_unit + unit, infinite if forced else round(on_cloud[unit] * scale))
        add(first_unit + unit, sink, 0 if forced else round(on_edge[unit] * scale))
    readers = graph.readers.tocoo()
    for tensor in range(tensors):
        maker = first_unit + int(graph.producers[tensor])
        capacity = round(sending[tensor] * scale) if graph.crossable[tensor] else infinite
        add(maker, first_tensor + tensor, capacity)
    for tensor, reader in zip(readers.row, readers.col, strict=True):
        add(first_tensor + int(tensor), first_unit + int(reader), infinite)
        add(first_unit + int(reader), first_unit + int(graph.producers[tensor]), infinite)  # the edge is a down-set
    starts, ends = zip(*arcs, strict=True)
    size = 2 + count + tensors
    capacity = sparse.csr_matrix((np.array(list(arcs.values()), dtype=np.int32), (starts, ends)), shape=(size, size))
    flow = csgraph.maximum_flow(capacity, source, sink).flow
    residual = sparse.csr_matrix(capacity.astype(np.int64) - flow.astype(np.int64))
    residual.data = (residual.data > 0).astype(np.int8)
    residual.eliminate_zeros()
    reached = csgraph.breadth_first_order(residual, source, return_predecessors=False)
    side = np.zeros(size, dtype=bool)
    side[reached] = True
    return side[first_unit:first_tensor]


def _cut(graph: Units, edge: Mask, crosses: Mask, depth: int) -> Cut:
    records = graph.crossing_records
    crossing = [records[index] for index in np.flatnonzero(crosses)]
    kind: CutKind = "proper"
    if edge[-1]:
        kind = "edge-only"
    elif not edge[graph.input_count : -1].any():
        kind = "cloud-only"
    name = " + ".join(record.name for record in crossing) if kind == "proper" else kind
    crossing += _public_crossings(graph, edge)
    return Cut(name, _identity(kind, crossing), kind, tuple(crossing), depth, graph, edge)


def _public_crossings(graph: Units, edge: Mask) -> list[Crossing]:
    """The public inputs that the cloud half needs, in the model's order."""
    cloud = [*np.flatnonzero(~edge[:-1]), graph.count - 1]  # the output is always put together in the cloud half
    needed: frozenset[fx.Node] = frozenset().union(*(graph.needs_public[unit] for unit in cloud))
    order = [node for node in graph.traced.flat.graph.nodes if node in needed]
    by_name = {spec.name: spec for spec in graph.traced.tensor_inputs}
    found = []
    for node in order:
        batch_dim = by_name[node.meta["input"]].batch_dim
        layout = None if batch_dim is None else Layout(batch_dim=batch_dim)
        found.append(crossing_record(node, node.meta["input"], layout, public=True))
    return found


def _identity(kind: CutKind, crossing: list[Crossing]) -> str:
    """Stable across processes and versions of torch: names, shapes and dtypes, no node numbers."""
    content = sorted([c.name, c.dtype, list(c.sample_shape), c.public] for c in crossing)
    return hashlib.sha256(canonical_json([kind, content]).encode()).hexdigest()[:12]
