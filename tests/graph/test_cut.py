"""A cut: its name, its kind, and what crosses."""

from __future__ import annotations

import numpy as np
import torch
from collabplan.graph import Cut, TracedGraph, candidate_cuts, split, trace
from collabplan.graph.units import units
from small_resnet import SmallResNet
from torch import Tensor, nn


def test_cuts_are_named_by_the_modules_whose_tensors_cross():
    names = [cut.name for cut in candidate_cuts(trace(SmallResNet(), torch.randn(1, 3, 8, 8)))]
    assert names[0] == "cloud-only"
    assert names[-1] == "edge-only"
    assert "stem" in names
    assert "layer1.0" in names
    assert "layer1.0 + layer1.1.conv2" in names


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


def test_the_kind_follows_from_what_the_edge_computes(chain: TracedGraph) -> None:
    graph = units(chain)
    for computed, kind in ((1, "cloud-only"), (2, "proper"), (graph.count, "edge-only")):
        edge = np.arange(graph.count) < computed
        assert Cut.of(graph, edge, graph.crossing(edge), depth=0).kind == kind


def test_the_payload_is_of_one_sample_in_the_models_dtype(chain: TracedGraph) -> None:
    payloads = {cut.name: cut.payload_bytes for cut in candidate_cuts(chain)}
    assert payloads == {"cloud-only": 12, "0": 16, "1": 16, "edge-only": 8}


def test_an_id_depends_on_what_crosses_and_not_on_depth_or_weights(chain: TracedGraph) -> None:
    graph = units(chain)
    edge = np.arange(graph.count) < 2
    ids = {Cut.of(graph, edge, graph.crossing(edge), depth).id for depth in (1, 7)}
    torch.manual_seed(9)
    other = trace(nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2)), torch.randn(1, 3))
    ids.add(candidate_cuts(other)[1].id)
    assert ids == {candidate_cuts(chain)[1].id}
    assert len({cut.id for cut in candidate_cuts(chain)}) == 4
