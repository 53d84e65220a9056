"""Cuts: which there are, what they are called, and that the cheapest is the cheapest."""

from __future__ import annotations

import itertools
import math
import random
import subprocess
import sys

import numpy as np
import pytest
import torch
from collabplan.graph import Step, candidate_cuts, cheapest_cut, cheapest_stepped_cut, cut_of, same_values, split, trace
from collabplan.graph.units import units
from collabplan.records import CutError
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from random_models import RandomModel, random_inputs
from torch import Tensor, nn

relaxed = settings(max_examples=15, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))

few = settings(relaxed, max_examples=8)


class Block(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1)
        self.bn1 = nn.BatchNorm2d(channels)
        self.relu = nn.ReLU(inplace=True)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return self.relu(self.conv2(self.relu(self.bn1(self.conv1(x)))) + x)


class SmallResNet(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 4, 3, padding=1)
        self.layer1 = nn.Sequential(Block(4), Block(4))
        self.fc = nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.layer1(self.stem(x)).mean((2, 3)))


def all_down_sets(graph):
    """Every closed set of units that holds the inputs, as masks (the output only in the full one)."""
    free = list(range(graph.input_count, graph.count))
    for chosen in itertools.product([False, True], repeat=len(free)):
        mask = np.zeros(graph.count, dtype=bool)
        mask[: graph.input_count] = True
        mask[free] = chosen
        if all(mask[graph.ancestors[:, unit]].all() for unit in np.flatnonzero(mask)):
            yield mask


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


@few
@given(seed=st.integers(0, 10_000), steps=st.integers(2, 5))
def test_any_cut_is_found_by_what_crosses_and_its_halves_compose(seed, steps):
    traced = trace(RandomModel(seed, steps), random_inputs(seed, 2))
    graph = units(traced)
    assume(graph.count <= 10)
    for mask in all_down_sets(graph):
        crosses = graph.crossings(mask[:, None])[:, 0]
        records = [graph.crossing_records[t] for t in np.flatnonzero(crosses)]
        unread = (mask & ~graph.ancestors[:, graph.producers[crosses]].any(axis=1))[graph.input_count :].any()
        if mask[:-1].all() or not mask[graph.input_count :].any() or unread or not graph.crossable[crosses].all():
            continue
        if not graph.carries_batch[crosses].any():
            continue
        cut = cut_of(traced, [record.name for record in records])
        assert np.array_equal(cut.edge, mask)
        halves = split(traced, cut)
        inputs = random_inputs(seed, 3)
        assert same_values(halves.cloud(*halves.edge(*inputs)), traced.module(*inputs))


def test_what_is_no_cut_is_refused():
    traced = trace(SmallResNet(), torch.randn(1, 3, 8, 8))
    cut = next(cut for cut in candidate_cuts(traced) if cut.name == "layer1.0 + layer1.1.conv2")
    found = cut_of(traced, ["layer1.1.conv2", "layer1.0"], candidate_cuts(traced))
    assert (found.id, found.name, found.depth) == (cut.id, cut.name, cut.depth)
    for names in (["layer1.1.conv2"], ["stem", "layer1.1.conv2"], [], ["x"], ["fc"], ["nowhere"]):
        with pytest.raises(CutError, match=r"proper cut|is called"):
            cut_of(traced, names)


def test_steps_must_ascend_and_have_no_end():
    traced = trace(nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3)), torch.randn(1, 3))
    for steps in ([], [Step(5, 0.0)], [Step(5, 1.0), Step(math.inf, 0.0)]):
        with pytest.raises(CutError, match="ascend"):
            cheapest_stepped_cut(traced, {}, {}, {}, {}, steps)


def test_every_single_tensor_cut_is_found():
    traced = trace(SmallResNet(), torch.randn(1, 3, 8, 8))
    graph = units(traced)
    single = {cut.crossing[0].node for cut in candidate_cuts(traced, max_crossing=1) if cut.kind == "proper"}
    expected = set()
    for tensor in graph.tensors:
        edge = graph.ancestors[:, tensor.unit].copy()
        edge[: graph.input_count] = True
        is_output = any(user.op == "output" for user in tensor.node.users)
        if tensor.unit >= graph.input_count and not is_output and graph.crossings(edge[:, None]).sum() == 1:
            expected.add(tensor.node.name)
    assert single == expected


def test_cuts_are_named_by_the_modules_whose_tensors_cross():
    names = [cut.name for cut in candidate_cuts(trace(SmallResNet(), torch.randn(1, 3, 8, 8)))]
    assert names[0] == "cloud-only"
    assert names[-1] == "edge-only"
    assert "stem" in names
    assert "layer1.0" in names
    assert "layer1.0 + layer1.1.conv2" in names


def test_the_number_of_crossings_is_bounded_and_no_cut_stands_twice():
    cuts = candidate_cuts(trace(RandomModel(7, 9), random_inputs(7, 1)), max_crossing=2)
    assert all(len(cut.crossing) <= 2 for cut in cuts if cut.kind == "proper")
    assert len({cut.id for cut in cuts}) == len(cuts)
    assert [cut.depth for cut in cuts] == list(range(len(cuts)))


def test_cuts_that_differ_by_free_views_are_one_and_a_viewed_input_is_raw():
    class Views(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return torch.relu(x.flatten(1).unsqueeze(1).transpose(1, 2)).flatten(1)

    cuts = candidate_cuts(trace(Views(), torch.randn(1, 3, 4)))
    assert [cut.kind for cut in cuts] == ["cloud-only", "edge-only"]
    assert cuts[0].sends_raw_input


def test_an_input_that_skips_ahead_is_flagged_as_raw():
    class Skip(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.linear = nn.Linear(3, 3)

        def forward(self, x: Tensor) -> Tensor:
            return self.linear(x) + x.view(-1, 3)

    cuts = {cut.name: cut for cut in candidate_cuts(trace(Skip(), torch.randn(1, 3)))}
    assert cuts["x + linear"].sends_raw_input
    assert not cuts["edge-only"].sends_raw_input


def test_public_inputs_cross_beside_the_cut_and_never_count():
    class Masked(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second = nn.Linear(4, 4), nn.Linear(4, 4)

        def forward(self, x: Tensor, mask: Tensor) -> Tensor:
            bias = (1.0 - mask) * -10.0
            return self.second(self.first(x) + bias) + bias

    traced = trace(Masked(), (torch.randn(2, 4), torch.ones(2, 4)), public_inputs=["mask"])
    cuts = {cut.name: cut for cut in candidate_cuts(traced, max_crossing=1)}
    crossing = cuts["first"].crossing
    assert [(record.name, record.public, record.raw_input) for record in crossing] == [
        ("first", False, False),
        ("mask", True, False),
    ]
    halves = split(traced, cuts["first"])
    x, mask = torch.randn(3, 4), torch.ones(3, 4)
    assert torch.equal(halves.cloud(*halves.edge(x, mask)), traced.module(x, mask))


def test_costs_must_be_known_finite_and_not_negative():
    traced = trace(nn.Linear(3, 3), torch.randn(1, 3))
    with pytest.raises(CutError, match="no node"):
        cheapest_cut(traced, {"nowhere": 1.0}, {}, {})
    with pytest.raises(CutError, match="not negative"):
        cheapest_cut(traced, {"linear": -1.0}, {}, {})
    with pytest.raises(CutError, match="max_crossing"):
        candidate_cuts(traced, max_crossing=0)


def test_free_transfer_and_a_slow_edge_give_cloud_only_and_the_reverse_edge_only():
    traced = trace(nn.Linear(3, 3), torch.randn(1, 3))
    assert cheapest_cut(traced, {"linear": 5.0}, {"linear": 1.0}, {}).kind == "cloud-only"
    assert cheapest_cut(traced, {"linear": 1.0}, {}, {"input_1": 5.0, "linear": 5.0, "output": 1.0}).kind == "edge-only"


def test_ids_and_hashes_are_the_same_in_another_process_and_folder(tmp_path):
    script = (
        "import torch; from torch import nn; from collabplan.graph import *\n"
        "torch.manual_seed(3); m = nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU(), nn.Flatten(), nn.Linear(8, 2))\n"
        "t = trace(m, torch.ones(1, 1, 4, 4))\n"
        "print([c.id for c in candidate_cuts(t)], t.identity.structure_hash, t.identity.weights_hash)"
    )
    folders = [tmp_path / "one", tmp_path / "two"]
    outputs = []
    for folder in folders:
        folder.mkdir()
        (folder / "run.py").write_text(script)
        done = subprocess.run([sys.executable, "run.py"], cwd=folder, capture_output=True, text=True, check=True)
        outputs.append(done.stdout)
    assert outputs[0] == outputs[1]
