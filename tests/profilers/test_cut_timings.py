"""Cuts of real graphs with simulated timings: what contains more takes no less time."""

import random
from itertools import permutations

import pytest
from collabplan.graph import Cut, TracedGraph, candidate_cuts
from collabplan.profilers.cut_timings import CutTiming, fill, in_order, nested
from collabplan.profilers.steady import steady_timing
from collabplan.records import Role, Timing

WHOLE_MS = 20.0


@pytest.fixture(scope="module")
def cuts(residual: TracedGraph) -> list[Cut]:
    return list(candidate_cuts(residual, 2))


def true_ms(cut: Cut, side: str) -> float:
    """Every unit takes the same time, and a call half a millisecond."""
    share = float(cut.edge.mean())
    return 0.5 + WHOLE_MS * (share if side == "edge" else 1 - share)


def depths(cuts: list[Cut]) -> dict[str, float]:
    return {cut.id: float(cut.edge.sum()) for cut in cuts}


def simulated(cuts: list[Cut], scatter: float, seed: int = 0, disturbed: float = 0.0) -> dict[str, CutTiming]:
    draw = random.Random(seed)

    def timing(middle_ms: float) -> Timing:
        waits = (draw.expovariate(1 / 30) if draw.random() < disturbed else 0.0 for _ in range(15))
        return steady_timing([middle_ms * draw.gauss(1, scatter) + wait for wait in waits])

    proper = [cut for cut in cuts if cut.kind == "proper"]
    return {cut.id: CutTiming(timing(true_ms(cut, "edge")), timing(true_ms(cut, "cloud")), False) for cut in proper}


def whole(scatter: float = 0.0) -> Timing:
    draw = random.Random(1)
    return steady_timing([(WHOLE_MS + 1) * draw.gauss(1, scatter) for _ in range(25)])


def assert_ordered(cuts: list[Cut], found: dict[str, CutTiming], most: Timing) -> None:
    proper = [cut for cut in cuts if cut.kind == "proper"]
    for one, other in permutations(proper, 2):
        if not (one.edge & ~other.edge).any():
            assert found[one.id].edge.p50_ms <= found[other.id].edge.p50_ms + 1e-6
            assert found[one.id].cloud.p50_ms >= found[other.id].cloud.p50_ms - 1e-6
    for cut in proper:
        for half in (found[cut.id].edge, found[cut.id].cloud):
            assert 0 <= half.p50_ms <= most.p50_ms + 1e-6
            assert half.p95_ms >= half.p50_ms


def test_nested_says_whose_edge_half_contains_whose(cuts: list[Cut]) -> None:
    inside = nested(cuts)
    for row, one in enumerate(cuts):
        for column, other in enumerate(cuts):
            assert inside[row, column] == (row != column and not (one.edge & ~other.edge).any())
    assert nested([]).shape == (0, 0)


@pytest.mark.parametrize(("scatter", "disturbed"), [(0.1, 0.0), (0.3, 0.0), (0.1, 0.6)])
def test_medians_are_put_into_the_order_of_nested_cuts(cuts: list[Cut], scatter: float, disturbed: float) -> None:
    raw = simulated(cuts, scatter, disturbed=disturbed)
    ordered, most = in_order(cuts, raw, whole(scatter))
    assert_ordered(cuts, ordered, most)
    assert ordered != raw


def test_timings_in_order_are_left_as_they_are(cuts: list[Cut]) -> None:
    raw, most = simulated(cuts, scatter=0.0), whole()
    assert in_order(cuts, raw, most) == (raw, most)


def test_order_brings_contended_medians_nearer_to_the_truth(cuts: list[Cut]) -> None:
    def error(found: dict[str, CutTiming]) -> float:
        return sum(
            abs(half.p50_ms - true_ms(cut, side)) / true_ms(cut, side)
            for cut in cuts
            if cut.kind == "proper"
            for side, half in (("edge", found[cut.id].edge), ("cloud", found[cut.id].cloud))
        )

    raws = [simulated(cuts, 0.1, seed, disturbed=0.4) for seed in range(20)]
    ordered = [in_order(cuts, raw, whole(0.1))[0] for raw in raws]
    assert sum(map(error, ordered)) < 0.9 * sum(map(error, raws))


@pytest.mark.parametrize("every", [2, 3, 7])
def test_interpolated_cuts_lie_between_the_measured_ones_around_them(cuts: list[Cut], every: int) -> None:
    raw = simulated(cuts, scatter=0.3)
    few = {name: timing for at, (name, timing) in enumerate(raw.items()) if at % every == 0}
    ordered, most = in_order(cuts, few, whole(0.3))
    filled = fill(cuts, depths(cuts), ordered, most, "both")
    assert list(filled) == [cut.id for cut in cuts]
    assert {name for name, timing in filled.items() if timing.interpolated} == set(raw) - set(few)
    assert_ordered(cuts, filled, most)
    assert all(filled[name] == timing for name, timing in ordered.items())


@pytest.mark.parametrize(("role", "absent"), [("edge", "cloud"), ("cloud", "edge")])
def test_a_side_that_no_one_measures_stays_absent(cuts: list[Cut], role: Role, absent: str) -> None:
    raw = {
        name: CutTiming(each.edge if role == "edge" else None, each.cloud if role == "cloud" else None, False)
        for name, each in simulated(cuts, scatter=0.2).items()
    }
    ordered, most = in_order(cuts, raw, whole())
    filled = fill(cuts, depths(cuts), ordered, most, role)
    assert all(getattr(timing, absent) is None for timing in (*ordered.values(), *filled.values()))
    assert all(getattr(filled[name], role) is not None for name in raw)
