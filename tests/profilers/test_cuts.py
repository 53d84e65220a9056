"""Which cuts are measured, in which order, and what becomes of the others."""

from dataclasses import dataclass, field
from typing import Any

import pytest
import torch
from collabplan.graph import TracedGraph, candidate_cuts
from collabplan.profilers import cuts
from collabplan.profilers.cut_records import rebase
from collabplan.profilers.cut_timings import CutTimings
from collabplan.profilers.cuts import MAX_ROUNDS, MIN_SAMPLES, ranked, time_cuts
from collabplan.profilers.memory import EdgeUse
from collabplan.profilers.nodes import collect_facts
from collabplan.profilers.placement import place
from collabplan.profilers.timers import WallTimer, quiet
from collabplan.records import Role


@dataclass
class FakeCut:
    """As much of a cut as the ranking looks at."""

    id: str
    crossing: list[Any] = field(default_factory=lambda: [None])


def measure(traced: TracedGraph, role: Role, seconds: float) -> CutTimings:
    placed = place(traced, torch.device("cpu"), "float32", 1)
    rebased = rebase(candidate_cuts(traced), placed)
    with quiet(1):
        use = EdgeUse(placed.flat, collect_facts(placed.flat, placed.example_inputs))
        depth_ms = use.totals(rebased, {node.name: 1.0 for node in use.nodes})
        return time_cuts(placed, rebased, depth_ms, WallTimer(), role, seconds)


def test_single_crossings_come_first_and_then_the_farthest() -> None:
    fakes = [FakeCut("a"), FakeCut("b"), FakeCut("c"), FakeCut("wide", [None, None]), FakeCut("d")]
    depth_ms = {"a": 1.0, "b": 5.0, "c": 2.0, "d": 8.0, "wide": 4.0, "end": 10.0}
    assert [cut.id for cut in ranked(fakes, depth_ms)] == ["b", "c", "d", "a", "wide"]  # type: ignore[arg-type]


def test_with_time_enough_every_cut_is_measured(residual: TracedGraph, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cuts, "REST_S", 0.0)  # the rests before 25 samples of every cut add up to many seconds
    timings = measure(residual, "both", seconds=20.0)
    for cut in candidate_cuts(residual):
        found = timings.cuts[cut.id]
        assert not found.interpolated
        assert (found.edge is None) == (cut.kind == "cloud-only")
        assert (found.cloud is None) == (cut.kind == "edge-only")
        if cut.kind == "proper":
            assert found.edge
            assert found.cloud
            rounds = {len(half.samples_ms) + len(half.disturbed_ms) for half in (found.edge, found.cloud)}
            assert len(rounds) == 1
            assert MIN_SAMPLES <= rounds.pop() <= MAX_ROUNDS


def test_without_time_the_whole_is_measured_and_the_rest_interpolated(residual: TracedGraph) -> None:
    timings = measure(residual, "both", seconds=1e-6)
    whole = timings.whole
    assert len(whole.samples_ms) + len(whole.disturbed_ms) >= MIN_SAMPLES, "another program had the core"
    before = 0.0
    for cut in candidate_cuts(residual):
        found = timings.cuts[cut.id]
        assert found.interpolated == (cut.kind == "proper")
        if cut.kind == "proper":
            assert found.edge
            assert found.cloud
            assert found.edge.p50_ms + found.cloud.p50_ms == pytest.approx(timings.whole.p50_ms)
            assert not found.edge.samples_ms
            assert found.edge.p50_ms >= before - 1e-12 or len(cut.crossing) > 1
            before = found.edge.p50_ms if len(cut.crossing) == 1 else before


@pytest.mark.parametrize(("role", "absent"), [("edge", "cloud"), ("cloud", "edge")])
def test_a_role_measures_its_own_half_alone(transformer: TracedGraph, role: Role, absent: str) -> None:
    for seconds in (2.0, 1e-6):
        timings = measure(transformer, role, seconds)
        assert all(getattr(found, absent) is None for found in timings.cuts.values())
        proper = [timings.cuts[cut.id] for cut in candidate_cuts(transformer) if cut.kind == "proper"]
        assert proper
        assert all(getattr(found, role) is not None for found in proper)
