"""A cut's leakage stands at the node whose result crosses, rounded up, with estimates and attacks apart."""

from __future__ import annotations

import report_plans as made
from collabplan.records import LeakageReport, LeakageRow
from collabplan.report.node_figures import (
    CutLeakage,
    by_defense,
    cut_note,
    known_leakage,
    leakage_by_node,
    leakage_notes,
    node_notes,
)
from report_profiles import node, profile


def figure(name: str, high: float, support: str = "estimated") -> CutLeakage:
    return CutLeakage(f"id-{name}", "none", support, made.interval(high - 0.1, high - 0.2, high))


def leakage_report(name: str, value: float) -> LeakageReport:
    row = LeakageRow(
        cut_id=f"id-{name}",
        cut_name=name,
        cut_kind="proper",
        depth=1,
        payload_bytes=64,
        defense=made.NONE,
        leakage=made.estimated(value),
    )
    return LeakageReport(
        target=made.PLAN_TARGET,
        model=made.MODEL,
        data_hash="d",
        sample_count=100,
        input_number_count=3,
        estimators=("ridge",),
        rows=(row,),
        provenance=made.MADE,
    )


def test_every_candidate_of_a_plan_is_known_by_what_its_figure_rests_on() -> None:
    plan = made.plan(chosen=made.candidate(audited=made.audited("quick", 1)))
    known = {(each.cut_id, each.defense): each.support for each in known_leakage(plan, None)}
    assert known["id-layer2.2", "projection:rank=96"] == "attacked at quick effort"
    assert known["id-layer3.2", "none"] == "estimated"
    assert known["id-cloud-only", "none"] == "by definition"


def test_of_two_figures_with_one_support_the_worse_is_kept() -> None:
    plan = made.plan()
    for value, high in ((0.9, 0.92), (0.1, 0.52)):
        known = known_leakage(plan, leakage_report("layer3.2", value))
        (kept,) = (each for each in known if each.cut_id == "id-layer3.2")
        assert kept.index.high == high


def test_a_tuned_candidate_is_not_mixed_with_an_untuned_one() -> None:
    plan = made.plan(chosen=made.candidate(tuned=True), front=(made.candidate(),))
    labels = [each.defense for each in known_leakage(plan, None) if each.cut_id == "id-layer2.2"]
    assert sorted(labels) == ["projection:rank=96", "projection:rank=96, tuned"]


def test_a_node_has_the_figure_of_the_cut_that_it_crosses_alone() -> None:
    found = leakage_by_node(profile(), [figure("layer2.2", 0.6), figure("layer1.1", 0.9)])
    assert found == {"relu": 0.6, "conv2d_1": 0.9}


def test_a_node_that_crosses_only_with_others_has_their_common_figure() -> None:
    assert leakage_by_node(profile(), [figure("layer1.1", 0.9)]) == {"relu": 0.9, "conv2d_1": 0.9}


def test_where_nothing_is_sent_no_node_is_shown_as_harmless() -> None:
    assert leakage_by_node(profile(), [figure("edge-only", 0.0)]) == {}


def test_cuts_that_the_profile_does_not_have_are_left_out() -> None:
    assert leakage_by_node(profile(), [figure("elsewhere", 0.9)]) == {}


def test_estimates_and_attacks_are_kept_apart() -> None:
    figures = [figure("layer2.2", 0.6), figure("layer1.1", 0.9, "attacked at quick effort")]
    assert list(by_defense(figures)) == [("none", "estimated"), ("none", "attacked at quick effort")]


def test_an_unknown_count_of_flops_is_not_a_zero() -> None:
    assert "flops" in node_notes(node("relu"))
    assert "flops" not in node_notes(node("relu", flops=None))


def test_a_cut_says_what_crosses_with_what_and_how_sure_its_leakage_is() -> None:
    cut = profile().cut("id-layer1.1")
    assert cut_note(cut) == (
        "layer1.1: crosses with relu and conv2d_1, edge 2.00 ms, cloud 4.50 ms, 64 B a sample undefended"
    )
    assert cut_note(profile().cut("id-cloud-only")) == "cloud-only: cloud 6.50 ms, 64 B a sample undefended"
    figures = [figure("layer1.1", 0.9), figure("layer2.2", 0.6)]
    assert leakage_notes(cut, figures) == ["0.800 [0.700, 0.900] at layer1.1 under none, estimated"]
