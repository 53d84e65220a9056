"""The minimum cut against networkx's, and boxes that hold what they say."""

from __future__ import annotations

import random

import networkx as nx
import numpy as np
import pytest
import torch
from branchy import Branchy
from collabplan.graph import Step, trace
from collabplan.graph.min_cut import Box, Network, SteppedSearch, proper_boxes
from collabplan.graph.units import Mask, Units, units
from down_sets import all_down_sets
from random_models import RandomModel, random_inputs


def oracle(graph: Units, on_edge: np.ndarray, on_cloud: np.ndarray, sending: np.ndarray) -> float:
    """The cost of the cheapest cut, by another solver (DADS, Hu et al., INFOCOM 2019)."""
    network = nx.DiGraph()
    for unit in range(graph.count):
        inside = unit < graph.input_count
        network.add_edge("edge", unit, **({} if inside else {"capacity": on_cloud[unit]}))
        network.add_edge(unit, "cloud", capacity=0.0 if inside else on_edge[unit])
    read = graph.readers.tocoo()
    for tensor, reader in zip(read.row.tolist(), read.col.tolist(), strict=True):
        maker, crossing = int(graph.producers[tensor]), ("tensor", tensor)
        limit = {"capacity": sending[tensor]} if graph.crossable[tensor] else {}
        network.add_edge(maker, crossing, **limit)
        network.add_edge(crossing, reader)
        network.add_edge(reader, maker)  # the edge is a down-set
    value, _ = nx.minimum_cut(network, "edge", "cloud")
    return float(value)


def cost(graph: Units, edge: Mask, on_edge: np.ndarray, on_cloud: np.ndarray, sending: np.ndarray) -> float:
    free = ~graph.is_input
    return float(on_edge[edge & free].sum() + on_cloud[~edge].sum() + sending[graph.crossing(edge)].sum())


@pytest.mark.parametrize("seed", range(6))
def test_the_minimum_cut_costs_what_networkx_finds(seed: int) -> None:
    model, inputs = (
        (Branchy(), torch.randn(1, 1, 8, 8)) if seed == 5 else (RandomModel(seed, 9), random_inputs(seed, 1))
    )
    graph = units(trace(model, inputs))
    draw = np.random.default_rng(seed)
    on_edge, on_cloud = draw.uniform(0, 5, graph.count), draw.uniform(0, 1, graph.count)
    sending = draw.uniform(0, 4, len(graph.tensors))
    box = Box(graph.is_input, np.zeros_like(graph.is_input))
    edge = Network(graph).cut(on_edge, on_cloud, sending, box, most=float(on_edge.sum()))
    found = cost(graph, edge, on_edge, on_cloud, sending)
    assert found == pytest.approx(oracle(graph, on_edge, on_cloud, sending), rel=1e-6)


def test_the_boxes_hold_every_proper_down_set_and_no_other() -> None:
    graph = units(trace(RandomModel(3, 4), random_inputs(3, 1)))
    boxes = proper_boxes(graph)
    proper = 0
    for mask in all_down_sets(graph):
        inside = any(box.holds(mask) for box in boxes)
        assert inside == bool(mask[graph.input_count :].any() and not mask[:-1].all())
        proper += inside
    assert proper


def test_a_search_that_may_solve_nothing_returns_what_is_known_and_proves_nothing() -> None:
    graph = units(trace(RandomModel(3, 4), random_inputs(3, 1)))
    zeros, tensors = np.zeros(graph.count), np.zeros(len(graph.tensors))
    draw = random.Random(0)
    known = [mask for mask in all_down_sets(graph) if mask[graph.input_count :].any() and not mask[:-1].all()]
    steps = [Step(float("inf"), 1.0)]
    search = SteppedSearch(graph, graph.crossable, zeros, zeros, tensors, tensors, steps, most_solved=0)
    runnable = [mask for mask in known if search.cost_ms(mask) < float("inf")]
    chosen = draw.choice(runnable)
    found = search.cheapest([chosen])
    assert found is not None
    assert np.array_equal(found.edge, chosen)
    assert not found.proven
