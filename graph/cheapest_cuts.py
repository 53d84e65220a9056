"""The cheapest cut over *all* down-sets of the unit graph, by minimum s-t cuts (see `min_cut`)."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np

from ..records import CutError
from .cut import Cut
from .cut_search import depth_among, edge_only
from .min_cut import Box, Costs, Network, SteppedSearch
from .steps import Step
from .traced_graph import TracedGraph
from .units import Units, units


def cheapest_cut(
    traced: TracedGraph,
    edge_ms: Mapping[str, float],
    cloud_ms: Mapping[str, float],
    transfer_ms: Mapping[str, float],
) -> Cut:
    """The cut with the least additive cost over all down-sets of the graph (DADS; Hu et al., INFOCOM 2019).

    The cost is the sum of `edge_ms` over the edge's nodes, of `cloud_ms` over the cloud's, of `transfer_ms` over the
    private tensors that cross (each once), and `transfer_ms["output"]`, the download of the result, unless
    everything runs on the edge. A free view's time counts where the tensor it views is made. Missing names
    cost nothing. Costs are resolved to 1e-9 of what the whole model costs on the edge.

    Args:
        traced: the traced model.
        edge_ms: milliseconds by node name on the edge.
        cloud_ms: milliseconds by node name in the cloud.
        transfer_ms: milliseconds to send a node's tensor (for an input, the upload).

    Raises:
        CutError: a cost that is negative or not finite, or a name that the graph does not have.

    Examples:
        >>> import torch
        >>> from collabplan.graph import cheapest_cut, trace
        >>> traced = trace(torch.nn.Linear(3, 1), torch.ones(1, 3))
        >>> cheapest_cut(traced, {"linear": 1.0}, {"linear": 0.1}, {"input_1": 0.2, "output": 0.2}).kind
        'cloud-only'
    """
    graph = units(traced)
    _require_costs(traced, {"edge_ms": edge_ms, "cloud_ms": cloud_ms, "transfer_ms": transfer_ms})
    on_edge, on_cloud = _unit_costs(graph, edge_ms), _unit_costs(graph, cloud_ms)
    on_cloud[-1] += transfer_ms.get("output", 0.0)
    box = Box(graph.is_input, np.zeros_like(graph.is_input))
    edge = Network(graph).cut(on_edge, on_cloud, _tensor_costs(graph, transfer_ms), box, most=float(on_edge.sum()))
    if edge[-1]:
        edge, crosses = edge_only(graph)
    else:
        crosses = graph.crossing(edge)
    return Cut.of(graph, edge, crosses, depth=int(edge.sum()))


def cheapest_stepped_cut(
    traced: TracedGraph,
    edge_ms: Mapping[str, float],
    cloud_ms: Mapping[str, float],
    transfer_ms: Mapping[str, float],
    transfer_bytes: Mapping[str, float],
    steps: Sequence[Step],
    known: Sequence[Cut] = (),
) -> tuple[Cut, bool]:
    """The cheapest *proper* and searchable cut over all down-sets, where the price of sending has steps.

    The cost is that of `cheapest_cut` without the download, and the `ms` of the first of `steps` that holds the
    bytes of all that crosses. Public inputs cost nothing here. Costs closer than 1e-8 of the model's count as equal.

    Args:
        traced: the traced model.
        edge_ms: milliseconds by node name on the edge; may be negative, as differences of measurements are.
        cloud_ms: the same in the cloud.
        transfer_ms: milliseconds by node name, for each tensor that may cross.
        transfer_bytes: bytes, for the same tensors.
        steps: ascending in both; the last has no end.
        known: cuts of this graph by depth. One of them is returned where nothing is cheaper.

    Returns:
        The cut, and whether all others were ruled out (see `min_cut.MOST_SOLVED`).

    Raises:
        CutError: as `cheapest_cut`, steps that do not ascend, or a graph without any such cut.

    Examples:
        >>> import torch
        >>> from collabplan.graph import Step, cheapest_stepped_cut, trace
        >>> traced = trace(torch.nn.Sequential(torch.nn.Linear(9, 2), torch.nn.ReLU()), torch.ones(1, 9))
        >>> cut, proven = cheapest_stepped_cut(traced, {}, {}, {}, {"linear": 8.0}, [Step(math.inf, 1.0)])
        >>> cut.name, proven
        ('0', True)
    """
    graph = units(traced)
    _require_costs(traced, {"transfer_ms": transfer_ms, "transfer_bytes": transfer_bytes})
    _require_costs(traced, {"edge_ms": edge_ms, "cloud_ms": cloud_ms}, negative=True)
    _require_steps(steps)
    search = SteppedSearch(
        graph,
        np.array([traced.layouts.get(tensor.node.name) is not None for tensor in graph.tensors], dtype=bool),
        _unit_costs(graph, edge_ms),
        _unit_costs(graph, cloud_ms),
        _tensor_costs(graph, transfer_ms),
        _tensor_costs(graph, transfer_bytes),
        steps,
    )
    usable = [cut for cut in known if cut.kind == "proper" and cut.searchable]
    found = search.cheapest(cut.edge for cut in usable)
    if found is None:
        raise CutError("no proper cut of this graph can be searched: what crosses cannot be divided into samples")
    for cut in usable:
        if np.array_equal(cut.edge, found.edge):
            return cut, found.proven
    depth = depth_among(found.edge, known)
    return Cut.of(graph, found.edge, graph.crossing(found.edge), depth), found.proven


def _unit_costs(graph: Units, costs: Mapping[str, float]) -> Costs:
    """Costs by node name as costs by unit."""
    total = np.zeros(graph.count)
    for name, cost in costs.items():
        unit = graph.unit_of.get(name)
        if unit is not None:
            total[unit] += cost
    return total


def _tensor_costs(graph: Units, costs: Mapping[str, float]) -> Costs:
    """Costs by node name as costs by tensor."""
    return np.array([costs.get(tensor.node.name, 0.0) for tensor in graph.tensors])


def _require_steps(steps: Sequence[Step]) -> None:
    ends, prices = [step.most_bytes for step in steps], [step.ms for step in steps]
    if not steps or ends != sorted(ends) or prices != sorted(prices) or ends[-1] < math.inf:
        raise CutError(
            f"steps must ascend in bytes and in milliseconds, and the last must have no end; got {list(steps)}"
        )


def _require_costs(traced: TracedGraph, given: Mapping[str, Mapping[str, float]], *, negative: bool = False) -> None:
    known = {node.name for node in traced.flat.graph.nodes}
    expected = "finite" if negative else "finite and not negative"
    for what, costs in given.items():
        for name, cost in costs.items():
            if name not in known:
                raise CutError(f"{what} names {name!r}, which is no node of the traced graph")
            if not math.isfinite(cost) or (cost < 0 and not negative):
                raise CutError(f"{what}[{name!r}] is {cost}; costs must be {expected}")
