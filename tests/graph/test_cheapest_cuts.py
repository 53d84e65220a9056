"""The cheapest cut costs least: against brute force, and against another solver of minimum cuts."""

from __future__ import annotations

import math
import random

import numpy as np
import pytest
import torch
from collabplan.graph import Step, cheapest_cut, cheapest_stepped_cut, trace
from collabplan.graph.units import units
from collabplan.records import CutError
from down_sets import all_down_sets
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from random_models import RandomModel, random_inputs
from torch import nn

relaxed = settings(max_examples=15, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))

few = settings(relaxed, max_examples=8)


def cost(graph, mask, on_edge, on_cloud, sending):
    """The documented cost of a down-set, added up by hand."""
    total = 0.0
    for unit, head in enumerate(graph.heads):
        if unit >= graph.input_count:
            total += on_edge.get(head.name, 0) if mask[unit] else on_cloud.get(head.name, 0)
    if not mask[-1]:
        total += sending.get("output", 0)
        crossing = graph.crossings(mask[:, None])[:, 0]
        total += sum(sending.get(graph.tensors[t].node.name, 0) for t in np.flatnonzero(crossing))
    return total


@relaxed
@given(seed=st.integers(0, 10_000), steps=st.integers(1, 6))
def test_the_cheapest_cut_equals_brute_force(seed, steps):
    traced = trace(RandomModel(seed, steps), random_inputs(seed, 1))
    graph = units(traced)
    assume(graph.count <= 16)  # brute force looks at 2^n sets; a skipped example is replaced by another
    draw = random.Random(seed)
    names = [tensor.node.name for tensor in graph.tensors]
    heads = [head.name for head in graph.heads[:-1]]
    on_edge = {name: draw.uniform(0, 5) for name in heads}
    on_cloud = {name: draw.uniform(0, 1) for name in heads}
    sending = {name: draw.uniform(0, 4) for name in [*names, "output"]}
    best = min(cost(graph, mask, on_edge, on_cloud, sending) for mask in all_down_sets(graph))
    found = cheapest_cut(traced, on_edge, on_cloud, sending)
    assert cost(graph, found.edge, on_edge, on_cloud, sending) == pytest.approx(best, rel=1e-6)


@few
@given(seed=st.integers(0, 10_000), steps=st.integers(2, 6))
def test_the_cheapest_cut_with_steps_equals_brute_force(seed, steps):
    traced = trace(RandomModel(seed, steps), random_inputs(seed, 1))
    graph = units(traced)
    assume(graph.count <= 11)
    draw = random.Random(seed)
    names = [tensor.node.name for tensor in graph.tensors]
    on_edge = {head.name: draw.uniform(-1, 5) for head in graph.heads[graph.input_count : -1]}
    on_cloud = {head.name: draw.uniform(-1, 5) for head in graph.heads[graph.input_count : -1]}
    sending = {name: draw.uniform(0, 4) for name in names}
    sizes = {name: float(draw.randint(1, 100)) for name in names}
    prices = [Step(50, 0.0), Step(90, draw.uniform(0, 9)), Step(math.inf, 9.5)]

    def stepped(mask):
        crossing = np.flatnonzero(graph.crossings(mask[:, None])[:, 0])
        if any(traced.layouts.get(names[t]) is None or not graph.crossable[t] for t in crossing):
            return math.inf
        if not graph.carries_batch[crossing].any():
            return math.inf
        size = sum(sizes[names[t]] for t in crossing)
        step = next(price.ms for price in prices if size <= price.most_bytes)
        return cost(graph, mask, on_edge, on_cloud, sending) + step

    proper = [mask for mask in all_down_sets(graph) if mask[graph.input_count :].any() and not mask[:-1].all()]
    best = min(map(stepped, proper), default=math.inf)
    assume(best < math.inf)
    found, proven = cheapest_stepped_cut(traced, on_edge, on_cloud, sending, sizes, prices)
    assert proven
    assert found.kind == "proper"
    assert stepped(found.edge) == pytest.approx(best, abs=1e-6)


def test_steps_must_ascend_and_have_no_end():
    traced = trace(nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3)), torch.randn(1, 3))
    for steps in ([], [Step(5, 0.0)], [Step(5, 1.0), Step(math.inf, 0.0)]):
        with pytest.raises(CutError, match="ascend"):
            cheapest_stepped_cut(traced, {}, {}, {}, {}, steps)


def test_costs_must_be_known_finite_and_not_negative():
    traced = trace(nn.Linear(3, 3), torch.randn(1, 3))
    with pytest.raises(CutError, match="no node"):
        cheapest_cut(traced, {"nowhere": 1.0}, {}, {})
    with pytest.raises(CutError, match="must be finite and not negative"):
        cheapest_cut(traced, {"linear": -1.0}, {}, {})
    with pytest.raises(CutError, match=r"edge_ms\['linear'\] is nan; costs must be finite$"):
        cheapest_stepped_cut(traced, {"linear": math.nan}, {}, {}, {}, [Step(math.inf, 0.0)])


def test_free_transfer_and_a_slow_edge_give_cloud_only_and_the_reverse_edge_only():
    traced = trace(nn.Linear(3, 3), torch.randn(1, 3))
    assert cheapest_cut(traced, {"linear": 5.0}, {"linear": 1.0}, {}).kind == "cloud-only"
    assert cheapest_cut(traced, {"linear": 1.0}, {}, {"input_1": 5.0, "linear": 5.0, "output": 1.0}).kind == "edge-only"
