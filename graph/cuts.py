"""Where a model can be divided: bottlenecks, frontiers of a few tensors, and the cheapest cut of all.

A cut is a down-set of the unit graph. There are exponentially many; three families, each linear in the size of
the graph, hold every single-tensor cut and the frontiers that people mean: prefixes of the execution order, all that
one node needs, and all that does not need one node. The cheapest cut over *all* down-sets is a minimum
s-t cut (see minimum.py).
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence

import numpy as np
from torch import fx

from ..records import Crossing, CutError, CutKind, Layout, canonical_json
from .min_cut import Box, Costs, Network, Step, SteppedSearch
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
    cost nothing. Costs are resolved to 1e-9 of what the whole model costs on the edge.

    Args:
        edge_ms, cloud_ms: milliseconds by node name, on either side.
        transfer_ms: milliseconds to send a node's tensor (inputs: the upload).

    Raises:
        CutError: a cost that is negative or not finite, or a name that the graph does not have.
    """
    graph = units(traced)
    _check(traced, {"edge_ms": edge_ms, "cloud_ms": cloud_ms, "transfer_ms": transfer_ms})
    on_edge, on_cloud = _unit_costs(graph, edge_ms), _unit_costs(graph, cloud_ms)
    on_cloud[-1] += transfer_ms.get("output", 0.0)
    sending = np.array([transfer_ms.get(tensor.node.name, 0.0) for tensor in graph.tensors])
    inputs = np.arange(graph.count) < graph.input_count
    box = Box(inputs, np.zeros_like(inputs))
    edge = Network(graph).cut(on_edge, on_cloud, sending, box, most=float(on_edge.sum()))
    if edge[-1]:
        edge, crosses = _edge_only(graph)
    else:
        crosses = graph.crossings(edge[:, None])[:, 0]
    return _cut(graph, edge, crosses, depth=int(edge.sum()))


def cheapest_stepped_cut(
    traced: TracedGraph,
    edge_ms: Mapping[str, float],
    cloud_ms: Mapping[str, float],
    transfer_ms: Mapping[str, float],
    transfer_bytes: Mapping[str, float],
    steps: Sequence[Step],
    known: Sequence[Cut] = (),
) -> tuple[Cut, bool]:
    """The cheapest *proper* and searchable cut over all down-sets, where sending costs a step more by its total bytes.

    The cost is that of `cheapest_cut` without the download, and the `ms` of the first of `steps` that holds the
    bytes of all that crosses. Public inputs cost nothing here. Costs closer than 1e-8 of the model's are the same.

    Args:
        edge_ms, cloud_ms: milliseconds by node name; may be negative, as differences of measurements are.
        transfer_ms, transfer_bytes: by node name, for each tensor that may cross.
        steps: ascending in both; the last has no end.
        known: cuts of this graph by depth, one of which is returned where nothing is cheaper.

    Returns:
        The cut, and whether all others were ruled out (see `minimum.MOST_SOLVED`).

    Raises:
        CutError: as `cheapest_cut`, steps that do not ascend, or a graph without any such cut.
    """
    graph = units(traced)
    _check(traced, {"transfer_ms": transfer_ms, "transfer_bytes": transfer_bytes})
    _check(traced, {"edge_ms": edge_ms, "cloud_ms": cloud_ms}, least=-math.inf)
    ends, prices = [step.most_bytes for step in steps], [step.ms for step in steps]
    if not steps or ends != sorted(ends) or prices != sorted(prices) or ends[-1] < math.inf:
        raise CutError(f"steps ascend in bytes and milliseconds, and the last has no end; got {list(steps)}")
    names = [tensor.node.name for tensor in graph.tensors]
    search = SteppedSearch(
        graph,
        np.array([traced.layouts.get(name) is not None for name in names], dtype=bool),
        _unit_costs(graph, edge_ms),
        _unit_costs(graph, cloud_ms),
        np.array([transfer_ms.get(name, 0.0) for name in names]),
        np.array([transfer_bytes.get(name, 0.0) for name in names]),
        steps,
    )
    usable = [cut for cut in known if cut.kind == "proper" and cut.searchable]
    found = search.cheapest(cut.edge for cut in usable)
    if found is None:
        raise CutError("no proper cut of this graph can be searched: what crosses cannot be divided into samples")
    for cut in usable:
        if np.array_equal(cut.edge, found.edge):
            return cut, found.proven
    crosses = graph.crossings(found.edge[:, None])[:, 0]
    return _cut(graph, found.edge, crosses, _place(found.edge, known)), found.proven


def cut_of(traced: TracedGraph, crossing: Sequence[str], among: Sequence[Cut] = ()) -> Cut:
    """The proper cut that exactly these tensors cross: the edge computes them and all that they depend on.

    Args:
        crossing: names of private tensors, as `Crossing.name` has them.
        among: cuts that it need not be one of; its depth is its place among them.

    Raises:
        CutError: a name that no tensor has, or others cross there too, or not all of these.
    """
    graph = units(traced)
    places = {record.name: place for place, record in enumerate(graph.crossing_records)}
    unknown = [name for name in crossing if name not in places]
    if unknown:
        raise CutError(f"no tensor of this model that could cross is called {unknown[0]!r}")
    wanted = np.zeros(len(places), dtype=bool)
    wanted[[places[name] for name in crossing]] = True
    edge: Mask = np.asarray(graph.ancestors[:, graph.producers[wanted]].any(axis=1))
    edge[: graph.input_count] = True
    crosses = graph.crossings(edge[:, None])[:, 0]
    found = _cut(graph, edge, crosses, _place(edge, among))
    if not np.array_equal(crosses, wanted) or found.kind != "proper" or edge[:-1].all():
        raise CutError(f"no proper cut lets exactly {' + '.join(crossing) or 'nothing'} cross")
    return found


def find_cut(traced: TracedGraph, cut_id: str, crossing: Sequence[str], among: Sequence[Cut]) -> Cut | None:
    """The cut with this id: one of `among`, else the one that these tensors cross; None where neither has the id."""
    for cut in among:
        if cut.id == cut_id:
            return cut
    try:
        found = cut_of(traced, crossing, among)
    except CutError:
        return None
    return found if found.id == cut_id else None


def _place(edge: Mask, among: Sequence[Cut]) -> int:
    return sum(int(cut.edge.sum()) < int(edge.sum()) for cut in among)


def _check(traced: TracedGraph, given: Mapping[str, Mapping[str, float]], least: float = 0.0) -> None:
    known = {node.name for node in traced.flat.graph.nodes}
    for what, costs in given.items():
        for name, cost in costs.items():
            if name not in known:
                raise CutError(f"{what} names {name!r}, which is no node of the traced graph")
            if not (math.isfinite(cost) and cost >= least):
                raise CutError(f"{what}[{name!r}] is {cost}; costs are finite and not negative")


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


def _unit_costs(graph: Units, costs: Mapping[str, float]) -> Costs:
    total = np.zeros(graph.count)
    for name, cost in costs.items():
        unit = graph.unit_of.get(name)
        if unit is not None:
            total[unit] += cost
    return total


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
