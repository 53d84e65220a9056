"""Units: one per value node, views and `getitem`s for free, public inputs beside them."""

from __future__ import annotations

import networkx as nx
import numpy as np
import pytest
import torch
from collabplan.graph import TracedGraph, candidate_cuts, trace
from collabplan.graph.units import Units, units
from random_models import RandomModel, random_inputs
from torch import nn


def as_networkx(graph: Units) -> nx.DiGraph:
    """The unit graph, with an edge from each maker of a tensor to each of its readers."""
    made = nx.DiGraph()
    made.add_nodes_from(range(graph.count))
    read = graph.readers.tocoo()
    made.add_edges_from(
        (int(graph.producers[row]), int(column)) for row, column in zip(read.row, read.col, strict=True)
    )
    return made


def test_inputs_come_first_and_the_output_last(skip: TracedGraph) -> None:
    graph = units(skip)
    assert [head.op for head in graph.heads] == ["placeholder", *["call_function"] * (graph.count - 2), "output"]
    assert graph.is_input.tolist() == [True] + [False] * (graph.count - 1)


def test_views_and_parts_belong_to_the_unit_of_what_they_come_from(skip: TracedGraph) -> None:
    graph = units(skip)
    heads = {head.name for head in graph.heads}
    names = [node.name for node in skip.flat.graph.nodes]
    views = [name for name in names if name.startswith(("flatten", "view", "reshape", "unflatten"))]
    assert views
    assert not heads & {*views, "getitem", "getitem_1"}
    assert {graph.unit_of[name] for name in views} == {graph.unit_of["add"]}
    assert graph.unit_of["getitem"] == graph.unit_of["getitem_1"] == graph.unit_of["chunk"]


def test_an_operator_of_several_results_has_a_tensor_for_each_part_and_none_for_itself(skip: TracedGraph) -> None:
    names = [tensor.node.name for tensor in units(skip).tensors]
    assert {"getitem", "getitem_1"} <= set(names)
    assert "chunk" not in names


def test_public_inputs_are_needed_by_what_reads_them_and_never_units(skip: TracedGraph) -> None:
    graph = units(skip)
    needed = {
        head.name: {node.name for node in public} for head, public in zip(graph.heads, graph.needs_public, strict=True)
    }
    assert {name for name, public in needed.items() if public} == {"mul"}
    assert needed["mul"] == {"mask"}
    assert "mask" not in graph.unit_of


@pytest.mark.parametrize("seed", range(5))
def test_order_and_ancestors_are_those_of_networkx(seed: int) -> None:
    graph = units(trace(RandomModel(seed, 6), random_inputs(seed, 1)))
    reference = as_networkx(graph)
    assert nx.is_directed_acyclic_graph(reference)
    assert all(maker < reader for maker, reader in reference.edges)
    for unit in range(graph.count):
        assert set(np.flatnonzero(graph.ancestors[:, unit])) == nx.ancestors(reference, unit) | {unit}


@pytest.mark.parametrize("seed", range(3))
def test_a_cut_of_one_tensor_is_at_a_dominator_of_the_output(seed: int) -> None:
    """Every way from an input to the output leads through the unit whose one tensor crosses."""
    traced = trace(RandomModel(seed, 6), random_inputs(seed, 1))
    graph = units(traced)
    reference = as_networkx(graph)
    reference.add_edges_from(("start", unit) for unit in range(graph.input_count))
    above = nx.immediate_dominators(reference, "start")
    dominators, unit = set(), graph.count - 1
    while above.get(unit, "start") not in ("start", unit):
        unit = above[unit]
        dominators.add(unit)
    for cut in candidate_cuts(traced, max_crossing=1):
        if cut.kind == "proper":
            assert graph.unit_of[cut.crossing[0].node] in dominators


def test_what_crosses_a_prefix_is_what_the_rest_reads(chain: TracedGraph) -> None:
    graph = units(chain)
    edge = np.array([True, True, False, False, False])
    assert [graph.tensors[index].node.name for index in np.flatnonzero(graph.crossing(edge))] == ["linear"]
    assert np.array_equal(graph.crossings(edge[:, None])[:, 0], graph.crossing(edge))


def test_units_are_built_once_and_anew_for_a_copy(chain: TracedGraph) -> None:
    from dataclasses import replace

    assert units(chain) is units(chain)
    copy = replace(chain, notes=("another",))
    assert units(copy) is not units(chain)
    assert units(copy).traced is copy


def test_a_tensor_of_a_size_that_depends_on_values_may_not_cross() -> None:
    class Kept(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.relu(x[x[:, 0] > 0]).sum(0).expand(x.shape[0], 3)

    graph = units(trace(Kept(), torch.randn(2, 3), batch_dims=0))
    crossable = {tensor.node.name: tensor.crossable for tensor in graph.tensors}
    assert not crossable["relu"]
    assert crossable["x"]
