"""The ways to export a model: the first that reproduces it, with notes on how."""

from __future__ import annotations

import pytest
import torch
from collabplan.graph import TracedGraph, trace
from collabplan.graph.trace_search import with_notes
from collabplan.records import TraceError
from torch import Tensor, nn


def test_the_first_way_is_taken_without_a_note(chain: TracedGraph) -> None:
    assert (chain.method, chain.notes) == ("non-strict", ())


def test_code_that_computes_the_batch_back_is_read_strictly() -> None:
    class Windows(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            windows = torch.relu(x.reshape(-1, 2, 3))
            return windows.reshape(int(windows.shape[0] / 2), 4, 3)

    assert trace(Windows(), torch.randn(1, 4, 3)).method == "strict"


def test_a_fixed_batch_is_the_last_way_and_says_why() -> None:
    class Fixed(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return torch.relu(x).reshape(3, 4) * 2

    traced = trace(Fixed(), torch.randn(3, 4))
    assert (traced.method, traced.only_batch) == ("static", 3)
    assert "only batch size 3 can run, since with a free one: at batch 2 the model fails" in traced.notes[0]


def test_where_no_way_works_the_line_is_named() -> None:
    class Branch(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x * 2 if x.sum() > 0 else x

    with pytest.raises(TraceError, match=r"test_trace_search\.py:\d+: return x \* 2 if"):
        trace(Branch(), torch.randn(1, 3))


def test_notes_are_added_once_and_empty_ones_never(chain: TracedGraph) -> None:
    noted = with_notes(chain, "one", "", "two", "one")
    assert noted.notes == ("one", "two")
    assert with_notes(noted, "two").notes == ("one", "two")
    assert chain.notes == ()
