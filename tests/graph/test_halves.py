"""Halves check what they are given, and their weights can be exchanged, listed and compared."""

from __future__ import annotations

import pytest
import torch
from collabplan.graph import Halves, TracedGraph, cut_of, shared_tensors, split, trace, with_weights
from collabplan.graph.halves import tunable
from collabplan.records import CutError, TraceError
from torch import nn


@pytest.fixture
def halves(chain: TracedGraph) -> Halves:
    return split(chain, cut_of(chain, ["1"]))


def test_the_wrong_number_or_dtype_of_crossings_is_refused(halves: Halves) -> None:
    with pytest.raises(CutError, match=r"takes 1 tensors \(1\), got 0"):
        halves.cloud()
    with pytest.raises(CutError, match=r"'1' must be float32, got torch\.float64"):
        halves.cloud(torch.zeros(1, 4, dtype=torch.float64))


def test_a_wrong_input_shape_names_the_expected_one(halves: Halves) -> None:
    with pytest.raises(TraceError, match=r"shape \[2, 3\], got \[2, 4\]"):
        halves.edge(torch.randn(2, 4))


def test_other_weights_make_a_copy_and_leave_the_original(halves: Halves) -> None:
    x = torch.randn(2, 4)
    before = halves.cloud(x)
    doubled = with_weights(halves.cloud, {name: 2 * value for name, value in tunable(halves.cloud).items()})
    assert torch.allclose(doubled(x), 2 * before)
    assert torch.equal(halves.cloud(x), before)


def test_weights_of_another_half_are_refused_with_a_name(halves: Halves) -> None:
    with pytest.raises(CutError, match=r"no weights of this cloud half: graph_module\.2\.bias and 2 more differ"):
        with_weights(halves.cloud, {"nowhere": torch.zeros(1)})


def test_frozen_weights_are_tunable_and_integers_are_not() -> None:
    class Looked(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.table = nn.Parameter(torch.arange(6).reshape(2, 3), requires_grad=False)
            self.linear = nn.Linear(3, 2).requires_grad_(False)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.linear(torch.relu(x)) + self.table.sum()

    traced = trace(Looked(), torch.randn(1, 3))
    cloud = split(traced, cut_of(traced, ["relu"])).cloud
    assert sorted(name.rpartition(".")[2] for name in tunable(cloud)) == ["bias", "weight"]


def test_a_tied_weight_and_a_view_of_the_same_memory_are_shared() -> None:
    class Tied(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first = nn.Linear(4, 4, bias=False)
            self.register_buffer("part", self.first.weight.detach()[:2])

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.relu(self.first(x)) @ self.part.T + torch.arange(2)

    traced = trace(Tied(), torch.randn(1, 4))
    assert shared_tensors(split(traced, cut_of(traced, ["relu"]))) == ("part",)
