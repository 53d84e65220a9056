"""The record of one cut: from a profile, and for a cut that was not profiled."""

import pytest
import torch
from collabplan.graph import TracedGraph, candidate_cuts, split, trace
from collabplan.profilers.cut_records import describe_cut, first_run, rebase
from collabplan.profilers.cut_timings import CutTiming
from collabplan.profilers.placement import place
from collabplan.records import CollabplanError, Profile
from torch import Tensor, nn


def test_the_record_of_a_cut_is_that_of_the_profiler_but_for_its_times(residual: TracedGraph, profile: Profile) -> None:
    for cut in candidate_cuts(residual):
        record = profile.cut(cut.id)
        timing = CutTiming(record.edge, record.cloud, interpolated=record.interpolated)
        assert describe_cut(residual, cut, timing, profile) == record


def test_rebased_cuts_keep_their_ids_and_split_the_placed_graph(residual: TracedGraph) -> None:
    placed = place(residual, torch.device("cpu"), "float64", 1)
    cuts = candidate_cuts(residual)
    rebased = rebase(cuts, placed)
    assert [cut.id for cut in rebased] == [cut.id for cut in cuts]
    halves = split(placed, rebased[1])
    assert halves.edge.graph_module(*placed.example_inputs)[0].dtype == torch.float64
    assert rebase([], placed) == []


def test_a_first_run_that_fails_names_dtype_device_and_batch() -> None:
    class Inverse(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return torch.linalg.inv(x)

    placed = place(trace(Inverse(), torch.eye(3)[None]), torch.device("cpu"), "float16", 1)
    with pytest.raises(CollabplanError, match="does not run in float16 on cpu at batch 1") as raised:
        first_run(placed, "float16", "cpu", 1)
    assert "\n" not in str(raised.value)
