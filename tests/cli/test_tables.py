"""Tables fit 80 columns, name their units, and show every figure with its interval."""

from __future__ import annotations

import io

import pytest
from collabplan.cli import plan_tables, profile_tables, tables
from collabplan.records import (
    Accuracy,
    Baseline,
    Candidate,
    Crossing,
    CutProfile,
    EdgePower,
    Interval,
    Latency,
    LatencyParts,
    Leakage,
    Link,
    Timing,
)
from collabplan.report import wording
from defense_records import defense_record
from rich.console import Console, RenderableType

LONG = "encoder.layers.encoder_layer_11.self_attention + encoder.layers.encoder_layer_11"


def shown(renderable: RenderableType) -> str:
    stream = io.StringIO()
    Console(file=stream, width=80).print(renderable)
    return stream.getvalue()


def candidate(name: str = LONG, *, index: float = 0.5, rate: float = 0.3, meets: bool = True) -> Candidate:
    return Candidate(
        cut_id=name,
        cut_name=name,
        cut_kind="proper",
        defense=defense_record(dropout="channel", rate=rate),
        latency=Latency(
            p50_ms=Interval(value=1234.5, low=1111.1, high=2345.6, level=0.9),
            p95_ms=2468.0,
            parts=LatencyParts(edge_ms=1, defense_ms=1, serialisation_ms=1, transfer_ms=1, cloud_ms=1, download_ms=1),
        ),
        accuracy=Accuracy(
            metric="top-1 accuracy",
            accuracy=Interval(value=0.9, low=0.85, high=0.95),
            undefended=0.91,
            drop=Interval(value=0.01, low=0.0, high=0.02),
            sample_count=100,
            draws=5,
        ),
        leakage=Leakage(
            index=Interval(value=index, low=index - 0.1, high=index + 0.1), status="estimated", sample_count=100
        ),
        payload_bytes=98_765,
        edge_peak_bytes=1,
        edge_parameter_count=1,
        meets_budgets=meets,
    )


def cut(depth: int, crossings: int = 1) -> CutProfile:
    timing = Timing.from_samples([1.0, 2.0, 30.0])
    crossing = Crossing(name="x", node="x", dtype="float32", sample_shape=(3,))
    return CutProfile(
        id=f"c{depth}",
        name=f"{LONG}.{depth}",
        kind="proper",
        depth=depth,
        crossing=(crossing,) * crossings,
        searchable=True,
        edge=timing,
        cloud=timing,
        payload_bytes=12,
        edge_parameter_count=1,
        edge_parameter_bytes=4,
        edge_peak_bytes=4,
        edge_flops=None,
        edge_flops_counted=0,
    )


def test_the_comparison_fits_with_the_longest_names() -> None:
    roles = ("cloud-only", "edge-only", "latency-optimal", "middle")
    text = shown(plan_tables.comparison(None, [Baseline(role=role, candidate=candidate()) for role in roles]))
    assert max(map(len, text.splitlines())) <= 80
    for part in (
        "latency-optimal",
        "p95",
        "leakage",
        "e 0.500",
        "96.5 KiB",
        "0.850-0.950",
        "1,111-2,346",
        "0.400-0.600",
    ):
        assert part in text


def test_the_front_marks_the_plan_and_what_misses_a_budget() -> None:
    rows = [candidate(f"cut{i}", index=0.2 + i / 50, meets=i > 3) for i in range(30)]
    text = shown(plan_tables.front(rows, rows[25]))
    assert "(16 of 30)" in text
    lines = text.splitlines()
    assert [line.split()[1] for line in lines if line.startswith(">") and "cut" in line and ":" not in line] == [
        "cut25"
    ]


def test_energy_is_a_column_where_it_is_known_and_other_objectives_are_named() -> None:
    known = candidate().model_copy(update={"edge_energy_mj": 12345.6})
    power = EdgePower(watts=3.0, source="nvml")
    text = shown(plan_tables.front([known, candidate("other")], None, ("accuracy", "leakage", "energy"), power))
    assert max(map(len, text.splitlines())) <= 80
    assert "Front on the search split by accuracy, leakage, energy (2 of 2)" in text
    assert "12,346" in text
    assert "measured (nvml: GPU, idle included)" in " ".join(text.split())
    assert "mJ" in text
    assert wording.power_text(EdgePower(watts=3.0, joules_per_megabyte=2.0)) == "power 3.00 W and 2 J/MB, declared"
    plain = shown(plan_tables.front([candidate()], None))
    assert "mJ" not in plain
    assert "search split (1 of 1)" in plain


def test_what_misses_a_budget_comes_last_in_the_front() -> None:
    rows = [candidate(f"cut{i}", index=0.2 + i / 50, meets=i > 3) for i in range(10)]
    lines = shown(plan_tables.front(rows, rows[7])).splitlines()
    marks = [line[0] for line in lines if line[3:6] == "cut" and line[6].isdigit()]
    assert marks == [" ", " ", " ", ">", " ", " ", "x", "x", "x", "x"]


def test_many_cuts_are_thinned_to_their_ends_and_single_crossings() -> None:
    cuts = [cut(depth, crossings=1 + depth % 2) for depth in range(200)]
    kept = profile_tables.thinned(cuts)
    assert len(kept) == tables.MAX_CUTS
    assert (kept[0].depth, kept[-1].depth) == (0, 199)
    assert all(len(one.crossing) == 1 for one in kept[:-1])


def test_public_inputs_that_cross_with_every_tensor_hide_no_cut() -> None:
    mask = Crossing(name="mask", node="mask", dtype="int64", sample_shape=(4,), public=True)
    cuts = [cut(depth) for depth in range(41)]
    cuts = [one.model_copy(update={"crossing": (*one.crossing, mask)}) for one in cuts]
    assert len(profile_tables.thinned(cuts)) == tables.MAX_CUTS


def test_rows_that_single_crossings_leave_free_are_filled() -> None:
    cuts = [cut(depth, crossings=1 if depth in (7, 19) else 2) for depth in range(41)]
    depths = [one.depth for one in profile_tables.thinned(cuts)]
    assert len(depths) == tables.MAX_CUTS
    assert {0, 7, 19, 40} <= set(depths)
    assert depths == sorted(depths)


def test_an_interval_of_negative_numbers_reads_as_one() -> None:
    bad = Interval(value=-0.6, low=-0.9, high=-0.37)
    made = candidate()
    made = made.model_copy(update={"accuracy": made.accuracy.model_copy(update={"accuracy": bad})})
    text = shown(plan_tables.comparison(None, [Baseline(role="cloud-only", candidate=made)]))
    assert "-0.90 to -0.37" in text
    assert max(map(len, text.splitlines())) <= 80


def test_one_tensor_crosses_and_several_cross() -> None:
    one = Crossing(name="h", node="h", dtype="float32", sample_shape=(3,))
    assert wording.crosses([one]) == "h crosses"
    assert wording.crosses([one, one]) == "h, h cross"


def test_an_assumed_link_says_so() -> None:
    assert "assumed" in wording.link_text(Link.assumed())
    declared = wording.link_text(Link(bandwidth_bps=8e6, rtt_ms=40.0), edge_slowdown=4.0)
    assert "assumed" not in declared
    assert "edge declared 4 times slower" in declared


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.0, "0.00"), (0.0001, "<0.001"), (0.0123, "0.012"), (1.234, "1.23"), (45.67, "45.7"), (12345.6, "12,346")],
)
def test_numbers_have_three_figures(value: float, text: str) -> None:
    assert wording.number(value) == text


def test_long_names_are_cut_in_the_middle() -> None:
    assert tables.middle("abcdefghij", 5) == "ab…ij"
    assert tables.middle("abc", 5) == "abc"
