"""Divides a traced graph at a cut. Both halves are functional graphs over the model's own weights."""

from __future__ import annotations

import operator
from typing import Any

import torch
from torch import fx
from torch.utils import _pytree as pytree

from ..records import CutError
from .ancestors import ancestors
from .cut import Cut
from .halves import CloudHalf, EdgeHalf, Halves
from .sizes import per_sample
from .traced_graph import TracedGraph

aten = torch.ops.aten


def split(traced: TracedGraph, cut: Cut) -> Halves:
    """The two halves of `traced` at `cut`; `cloud(*edge(...))` equals the model bit for bit.

    Args:
        traced: the traced model.
        cut: a cut of this very graph.

    Raises:
        CutError: the cut belongs to another graph, or nothing that crosses carries the batch size.

    Examples:
        >>> from collabplan.graph import cut_of, split, trace
        >>> model = torch.nn.Sequential(torch.nn.Linear(3, 2), torch.nn.ReLU())
        >>> traced = trace(model, torch.ones(1, 3))
        >>> halves = split(traced, cut_of(traced, ["0"]))
        >>> x = torch.randn(4, 3)
        >>> torch.equal(halves.cloud(*halves.edge(x)), model(x))
        True
    """
    if cut.units.traced is not traced:
        raise CutError(f"cut {cut.name!r} belongs to another traced graph; take it from candidate_cuts of this one")
    nodes = {node.name: node for node in traced.flat.graph.nodes}
    crossing = [nodes[record.node] for record in cut.crossing]
    edge = _edge_graph(traced, crossing)
    cloud = _cloud_graph(traced, cut, crossing)
    structure: pytree.TreeSpec = traced.module.output_structure  # type: ignore[assignment]
    return Halves(
        cut,
        EdgeHalf(fx.GraphModule(traced.flat, edge), traced).eval(),
        CloudHalf(fx.GraphModule(traced.flat, cloud), structure, cut.crossing).eval(),
    )


def _edge_graph(traced: TracedGraph, crossing: list[fx.Node]) -> fx.Graph:
    graph = fx.Graph()
    new: dict[fx.Node, fx.Node] = {}
    needed = ancestors(crossing)
    for node in traced.flat.graph.nodes:
        if node.op == "placeholder" or (node in needed and node.op != "output"):
            new[node] = graph.node_copy(node, lambda source: new[source])
    graph.output(tuple(new[node] for node in crossing))
    return graph


def _cloud_graph(traced: TracedGraph, cut: Cut, crossing: list[fx.Node]) -> fx.Graph:
    graph = fx.Graph()
    new: dict[fx.Node, Any] = {}
    for node in crossing:
        made = graph.placeholder(node.name)
        made.meta.update(node.meta)
        new[node] = made
    output = next(iter(reversed(traced.flat.graph.nodes)))
    rebuilt = {node for node in traced.flat.graph.nodes if _is_batch(traced, node)}
    needed = ancestors([output], stop={*crossing, *rebuilt})
    for node in traced.flat.graph.nodes:
        if node in new or node is output or node not in needed:
            continue
        if node in rebuilt:
            new[node] = _batch_from(traced, graph, crossing, new, cut)
        else:
            new[node] = graph.node_copy(node, lambda source: new[source])
    graph.output(fx.map_arg(output.args[0], lambda node: new[node]))
    graph.eliminate_dead_code(lambda node: node.op in ("placeholder", "output"))
    return graph


def _is_batch(traced: TracedGraph, node: fx.Node) -> bool:
    """True for the node that reads the batch size off an input. The cloud half reads it off what crosses instead."""
    return node.target is aten.sym_size.int and traced.kinds[node.name] == "shape"


def _batch_from(
    traced: TracedGraph, graph: fx.Graph, crossing: list[fx.Node], new: dict[fx.Node, Any], cut: Cut
) -> fx.Node:
    """The batch size, read off the shape of a tensor that crosses."""
    for node in crossing:
        for dimension, size in enumerate(node.meta["val"].shape):
            groups = per_sample(size, traced.batch_symbol)
            if groups is not None:
                made = graph.call_function(aten.sym_size.int, (new[node], dimension))
                return made if groups == 1 else graph.call_function(operator.floordiv, (made, groups))
    raise CutError(f"cut {cut.name!r} lets no tensor cross that carries the batch size")
