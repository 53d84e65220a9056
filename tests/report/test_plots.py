"""Plots are figures that can be saved as SVG and PNG, with names as they are."""

import io

import pytest
import report_plans as made
from collabplan.records import AuditReport, LeakageReport, LeakageRow, Plan
from collabplan.report import plot_front, plot_latency, plot_leakage, plot_reconstructions

PLAN = made.plan(chosen=made.candidate(audited=made.audited()))
AUDITS = AuditReport(
    target=PLAN.target, model=made.MODEL, data_hash="d", audits=(made.audit(PLAN.chosen),), provenance=made.MADE
)


def leakage_report() -> LeakageReport:
    rows = tuple(
        LeakageRow(cut_id=f"{at}", cut_name=f"block $a_{at}", cut_kind="proper", depth=at, payload_bytes=9,
                   defense=defense, leakage=made.estimated(1 - at / 4))
        for at in range(3)
        for defense in (made.NONE, made.DROPOUT)
    )  # fmt: skip
    return LeakageReport(target=PLAN.target, model=made.MODEL, data_hash="d", sample_count=9, input_number_count=9,
                         estimators=(), rows=rows, provenance=made.MADE)  # fmt: skip


def saved(figure: object, form: str) -> bytes:
    content = io.BytesIO()
    figure.savefig(content, format=form)  # type: ignore[attr-defined]
    return content.getvalue()


def test_each_plot_can_be_saved() -> None:
    measured = PLAN.model_copy(update={"measured": made.measured(PLAN)})
    for figure in (
        plot_front(PLAN),
        plot_latency(measured),
        plot_reconstructions({"The plan": made.gallery(PLAN.chosen)}),
    ):
        assert saved(figure, "png").startswith(b"\x89PNG")


def test_leakage_has_a_line_for_each_defense_and_a_place_for_each_cut() -> None:
    (axis,) = plot_leakage(leakage_report()).axes
    assert [text.get_text() for text in axis.get_legend().get_texts()] == ["none", "dropout:element:0.9"]
    assert [text.get_text() for text in axis.get_xticklabels()] == [f"block $a_{at}" for at in range(3)]
    svg = saved(axis.figure, "svg")
    assert svg.count(b"<svg") == 1


@pytest.mark.parametrize("source", [PLAN, AUDITS])
def test_leakage_is_drawn_of_plans_and_audits(source: Plan | AuditReport) -> None:
    assert plot_leakage(source).axes[0].get_ylabel() == "leakage index"


def test_no_setting_of_matplotlib_stays_changed() -> None:
    import matplotlib

    before = dict(matplotlib.rcParams)
    plot_front(PLAN)
    assert dict(matplotlib.rcParams) == before
