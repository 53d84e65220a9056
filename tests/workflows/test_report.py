"""What `collabplan report` finds by itself in a workspace, and what it leaves alone."""

from pathlib import Path

import pytest
import report_plans as made
from collabplan.records import CollabplanError, MismatchError, save
from collabplan.workflows.report import check_report, galleries_of, report_plan, write_report
from collabplan.workflows.workspace import Workspace

PLAN = made.plan(chosen=made.candidate(audited=made.audited("quick", 1)))


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return Workspace(tmp_path / ".collabplan")


def test_kept_attacks_of_the_same_model_are_found(workspace: Workspace) -> None:
    audits = workspace.prepare() / "audits"
    stranger = made.MODEL.model_copy(update={"weights_hash": "b" * 64})
    made.write_gallery(audits, made.gallery(PLAN.chosen), "mine")
    made.write_gallery(audits, made.gallery(PLAN.chosen, model=stranger), "another")
    assert [each.model for each in galleries_of(PLAN, workspace)] == [made.MODEL]
    report = report_plan(PLAN, workspace)
    assert [each.name for each in report.pictures.conditions] == ["The plan"]
    assert report_plan(PLAN, workspace, pictures=False).pictures.conditions == ()


def test_attacks_of_another_revision_are_left_out(workspace: Workspace) -> None:
    old = made.gallery(PLAN.chosen, revisions={"attack:ridge": 0})
    made.write_gallery(workspace.prepare() / "audits", old, "old")
    assert galleries_of(PLAN, workspace) == []


def test_leaving_the_pictures_out_changes_no_figure(workspace: Workspace) -> None:
    strong = made.gallery(PLAN.chosen, audit=made.audit(PLAN.chosen, index=0.9))
    made.write_gallery(workspace.prepare() / "audits", strong, "strong")
    shown, hidden = report_plan(PLAN, workspace), report_plan(PLAN, workspace, pictures=False)
    assert shown.decision == hidden.decision
    assert shown.candidates[0].index.high == pytest.approx(0.92)


def test_the_page_never_replaces_what_is_no_report(workspace: Workspace, tmp_path: Path) -> None:
    page = tmp_path / "report.html"
    for _ in range(2):
        write_report(report_plan(PLAN, workspace), page)
    save(PLAN, tmp_path / "plan.json")
    for place in (tmp_path / "plan.json", tmp_path):
        with pytest.raises(CollabplanError, match=r"is not a report|is a folder"):
            check_report(place)


def test_an_audit_of_another_model_is_refused(workspace: Workspace) -> None:
    from collabplan.records import AuditReport

    stranger = made.MODEL.model_copy(update={"structure_hash": "b" * 64})
    audit = AuditReport(target=PLAN.target, model=stranger, data_hash="d", audits=(), provenance=made.MADE)
    with pytest.raises(MismatchError, match="another structure"):
        report_plan(PLAN, workspace, audits=[audit])
