"""Where a model can be divided: at one tensor, at frontiers of a few tensors, or at tensors that are named.

A cut is a down-set of the unit graph. Their number is exponential in the size of the graph. Three families, each linear
in it, hold every single-tensor cut and the frontiers that people mean: prefixes of the execution order, all that one
node needs, and all that does not need one node. `cheapest_cuts` searches *all* down-sets.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..records import CutError
from .cut import Cut
from .traced_graph import TracedGraph
from .units import Mask, Units, units


def candidate_cuts(traced: TracedGraph, max_crossing: int = 4) -> list[Cut]:
    """Cuts in the order from input to output: cloud-only first, edge-only last.

    Args:
        traced: the traced model.
        max_crossing: the number of private tensors that may cross (public inputs do not count).

    Returns:
        Every cut that one tensor crosses, and the frontiers with up to `max_crossing` tensors. No two of them let the
        same tensors cross.

    Raises:
        CutError: `max_crossing` below 1.

    Examples:
        >>> import torch
        >>> from collabplan.graph import candidate_cuts, trace
        >>> model = torch.nn.Sequential(torch.nn.Linear(3, 2), torch.nn.ReLU(), torch.nn.Linear(2, 1))
        >>> [cut.name for cut in candidate_cuts(trace(model, torch.ones(1, 3)))]
        ['cloud-only', '0', '1', 'edge-only']
    """
    if max_crossing < 1:
        raise CutError(f"max_crossing must be at least 1, got {max_crossing}")
    graph = units(traced)
    edges = _families(graph)
    crossing = graph.crossings(edges)
    allowed = (crossing.sum(axis=0) <= max_crossing) & ~crossing[~graph.crossable].any(axis=0)
    if traced.dynamic_batch:
        allowed &= crossing[graph.carries_batch].any(axis=0)
    first, last = (graph.is_input, graph.crossing(graph.is_input)), edge_only(graph)
    seen = {np.packbits(crosses).tobytes() for _, crosses in (first, last)}
    columns = []
    for column in np.flatnonzero(allowed):
        key = np.packbits(crossing[:, column]).tobytes()
        if key not in seen:
            seen.add(key)
            columns.append(int(column))
    columns.sort(key=lambda column: int(edges[:, column].sum()))
    masks = [first, *((edges[:, column], crossing[:, column]) for column in columns), last]
    return [Cut.of(graph, edge, crosses, depth) for depth, (edge, crosses) in enumerate(masks)]


def cut_of(traced: TracedGraph, crossing: Sequence[str], among: Sequence[Cut] = ()) -> Cut:
    """The proper cut that exactly these tensors cross: the edge computes them and all that they depend on.

    Args:
        traced: the traced model.
        crossing: names of private tensors, as `Crossing.name` has them.
        among: other cuts of the same graph; the new cut's depth is its place among them.

    Raises:
        CutError: no tensor has one of the names, other tensors would cross too, or not all of these would.

    Examples:
        >>> import torch
        >>> from collabplan.graph import cut_of, trace
        >>> model = torch.nn.Sequential(torch.nn.Linear(3, 2), torch.nn.ReLU(), torch.nn.Linear(2, 1))
        >>> cut_of(trace(model, torch.ones(1, 3)), ["1"]).crossing[0].sample_shape
        (2,)
    """
    graph = units(traced)
    places = {record.name: place for place, record in enumerate(graph.crossing_records)}
    unknown = [name for name in crossing if name not in places]
    if unknown:
        raise CutError(f"no tensor of this model that could cross is called {unknown[0]!r}")
    wanted = np.zeros(len(places), dtype=bool)
    wanted[[places[name] for name in crossing]] = True
    edge: Mask = np.asarray(graph.ancestors[:, graph.producers[wanted]].any(axis=1)) | graph.is_input
    crosses = graph.crossing(edge)
    found = Cut.of(graph, edge, crosses, depth_among(edge, among))
    if not np.array_equal(crosses, wanted) or found.kind != "proper" or edge[:-1].all():
        raise CutError(f"no proper cut lets exactly {' + '.join(crossing) or 'nothing'} cross")
    return found


def find_cut(traced: TracedGraph, cut_id: str, crossing: Sequence[str], among: Sequence[Cut]) -> Cut | None:
    """The cut with this id: one of `among`, else the one that these tensors cross; None where neither has the id.

    Args:
        traced: the traced model.
        cut_id: as a record has it.
        crossing: names of the private tensors that cross.
        among: cuts that are already known.

    Examples:
        >>> import torch
        >>> from collabplan.graph import candidate_cuts, find_cut, trace
        >>> traced = trace(torch.nn.Sequential(torch.nn.Linear(3, 2), torch.nn.ReLU()), torch.ones(1, 3))
        >>> cut = candidate_cuts(traced)[1]
        >>> find_cut(traced, cut.id, ["0"], ()).id == cut.id, find_cut(traced, "unknown", ["0"], ())
        (True, None)
    """
    for cut in among:
        if cut.id == cut_id:
            return cut
    try:
        found = cut_of(traced, crossing, among)
    except CutError:
        return None
    return found if found.id == cut_id else None


def depth_among(edge: Mask, cuts: Sequence[Cut]) -> int:
    """The number of `cuts` whose edge computes fewer units than the down-set `edge`."""
    return sum(int(cut.edge.sum()) < int(edge.sum()) for cut in cuts)


def edge_only(graph: Units) -> tuple[Mask, Mask]:
    """The down-set of all units, and what crosses there: the outputs."""
    edge = np.ones(graph.count, dtype=bool)
    edge[-1] = False
    crosses = graph.crossing(edge)
    edge[-1] = True
    return edge, crosses


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
