"""What a report gathers: rows, comparisons, pictures. Other models are refused."""

from dataclasses import replace

import pytest
import report_plans as made
from collabplan.records import Audit, AuditReport, MismatchError, ModelIdentity
from collabplan.report import Report, ReportSources, make_report, shown_galleries
from collabplan.report.tables import MOST_CUTS, Depth

PLAN = made.plan(chosen=made.candidate(audited=made.audited()))


def audit_report(*audits: Audit, model: ModelIdentity = made.MODEL) -> AuditReport:
    return AuditReport(target=PLAN.target, model=model, data_hash="d", audits=audits, provenance=made.MADE)


def test_every_candidate_of_the_plan_has_a_row_with_its_split() -> None:
    rows = make_report(ReportSources(PLAN)).candidates
    assert [(row.role, row.split) for row in rows[:4]] == [
        ("the plan", "confirm"), ("cloud-only", "confirm"), ("middle", "confirm"), ("front", "search"),
    ]  # fmt: skip
    assert len(rows) == 1 + len(PLAN.baselines) + len(PLAN.front)


def test_the_plans_row_shows_the_worst_that_any_attack_found() -> None:
    later = audit_report(made.audit(PLAN.chosen, index=0.7))
    row = make_report(ReportSources(PLAN, audits=[later])).candidates[0]
    assert row.index.high == pytest.approx(0.72)
    assert row.index_is == "audited"


def test_an_audit_of_other_weights_or_another_fit_is_not_the_plans() -> None:
    other = made.audit(made.candidate(defense=made.NONE), index=0.9)
    assert make_report(ReportSources(PLAN, audits=[audit_report(other)])).candidates[0].index.high == 0.44
    tuned = made.gallery(PLAN.chosen, tuned_hash="f" * 64, audit=made.audit(PLAN.chosen, index=0.9))
    assert make_report(ReportSources(PLAN, galleries=[tuned])).candidates[0].index.high == 0.44


def test_another_model_is_refused() -> None:
    stranger = made.MODEL.model_copy(update={"weights_hash": "b" * 64})
    with pytest.raises(MismatchError, match="other weights"):
        make_report(ReportSources(PLAN, audits=[audit_report(model=stranger)]))


def test_the_strip_goes_by_depth_and_divides_at_the_cut() -> None:
    names = ("cloud-only", "layer1.1", "layer2.2", "layer3.2", "edge-only")
    depths = [Depth(f"id-{name}", name, "proper", 10.0, 1000) for name in names]
    rows = make_report(ReportSources(PLAN, depths=depths)).strip
    assert [(row.name, row.on_device) for row in rows] == [
        *((name, True) for name in names[:3]),
        *((name, False) for name in names[3:]),
    ]
    (chosen,) = [row for row in rows if row.chosen]
    assert (chosen.name, chosen.best_index) == ("layer2.2", 0.44)
    assert rows[3].index_high == pytest.approx(0.52), "undefended, from the front"


def test_a_deep_model_is_thinned_and_the_plans_cut_stays() -> None:
    depths = [Depth(f"id-{at}", f"block{at}", "proper", 1.0, 10) for at in range(200)]
    depths[150] = Depth("id-layer2.2", "layer2.2", "proper", 1.0, 10)
    made_of = make_report(ReportSources(PLAN, depths=depths))
    assert len(made_of.strip) <= MOST_CUTS
    assert made_of.strip_left_out == 200 - len(made_of.strip)
    assert any(row.chosen for row in made_of.strip)


def test_estimates_are_held_against_attacks() -> None:
    few = make_report(ReportSources(PLAN)).agreement
    assert few.spearman is None
    assert "not known" in few.said
    more = [made.audit(each, index=index) for each, index in zip(PLAN.front, (0.4, 0.8, 0.5), strict=True)]
    many = make_report(ReportSources(PLAN, audits=[audit_report(*more)])).agreement
    assert many.spearman == pytest.approx(1.0)
    assert len(many.pairs) == 3


def test_pictures_stand_by_condition_strongest_attacker_first() -> None:
    galleries = [made.gallery(made.candidate(defense=defense)) for defense in (made.NONE, made.DROPOUT, made.RANK)]
    shown = make_report(ReportSources(PLAN, galleries=galleries)).pictures
    assert [each.name for each in shown.conditions] == ["No defense", "Dropout", "The plan"]
    assert [row.attack for row in shown.conditions[0].rows] == ["inverse", "ridge"]
    assert shown.how == ()
    assert shown.conditions[0].recognisable == "at least 21 of 100 recognisable"


def test_missing_pictures_name_the_commands_that_make_them() -> None:
    shown = make_report(ReportSources(PLAN)).pictures
    assert shown.conditions == ()
    assert shown.how[0] == "collabplan attack plan.json"
    assert "--cuts layer2.2 --defense none --defense dropout:element:0.9" in shown.how[1]
    strange = made.plan(cut_name="a; rm -rf ~")
    assert "--cuts 'a; rm -rf ~'" in make_report(ReportSources(strange)).pictures.how[1]


def test_every_row_of_pictures_is_of_the_same_originals() -> None:
    bare = made.gallery(made.candidate(defense=made.NONE))
    others = made.gallery(made.candidate(defense=made.DROPOUT))
    others = replace(others, originals=others.originals // 2)
    shown = shown_galleries(PLAN, [others, bare, made.gallery(PLAN.chosen)])
    assert list(shown) == ["No defense", "The plan"]


def test_galleries_of_another_model_are_left_out() -> None:
    stranger = made.gallery(PLAN.chosen, model=made.MODEL.model_copy(update={"weights_hash": "b" * 64}))
    assert make_report(ReportSources(PLAN, galleries=[stranger])).pictures.conditions == ()


def test_the_json_is_the_report_and_holds_no_folder_of_the_users() -> None:
    report = make_report(ReportSources(PLAN))
    text = report.model_dump_json()
    assert Report.model_validate_json(text) == report
    assert "/home/somebody" not in text
