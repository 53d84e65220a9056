"""`collabplan report` and `--report`: the page, the same data as JSON, and what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest
import report_plans as made
from collabplan.records import Budgets, Plan, save
from collabplan.report import Report
from command_line import Run

PLAN = made.plan(chosen=made.candidate(audited=made.audited("quick", 1)))


@pytest.fixture
def planned(here: Path) -> Path:
    """A folder with a plan and the pictures of an attack on it."""
    save(PLAN, here / "plan.json")
    made.write_gallery(here / ".collabplan" / "audits", made.gallery(PLAN.chosen), "one")
    return here


def test_the_page_is_written_and_the_answer_said_first(planned: Path, run: Run) -> None:
    ran = run("report")
    assert ran.code == 0
    assert ran.out.startswith("Run the network up to layer2.2")
    assert "attacked, quick" in ran.out
    assert "private validation images" in ran.out
    assert (planned / "report.html").read_text().startswith("<!doctype html>")


@pytest.mark.parametrize(
    ("plan", "command"),
    [
        (made.plan(), "attack plan.json"),
        (PLAN, "certify plan.json"),
        (made.plan(chosen=PLAN.chosen, budgets=Budgets()), "bundle plan.json -o bundle"),
        (made.plan(chosen=made.candidate(audited=made.audited())), "bundle plan.json -o bundle"),
    ],
    ids=["estimated", "attacked", "attacked without a privacy budget", "signed off"],
)
def test_the_last_line_says_to_look_at_the_page_and_what_comes_then(
    here: Path, run: Run, plan: Plan, command: str
) -> None:
    save(plan, here / "plan.json")
    assert run("report").out.splitlines()[-1] == f"next: open report.html  (then collabplan {command})"


@pytest.mark.usefixtures("planned")
def test_json_is_the_data_of_the_page(run: Run) -> None:
    ran = run("report", "plan.json", "-o", "a.html", "--json")
    report = Report.model_validate(ran.document, strict=False)
    assert report.pictures.conditions[0].rows[0].image in Path("a.html").read_text()
    assert report.decision.sentence.replace("'", "&#39;") in Path("a.html").read_text().replace("\u00a0", " ")


@pytest.mark.usefixtures("planned")
def test_pictures_can_be_left_out(run: Run) -> None:
    ran = run("report", "--no-pictures")
    assert "private" not in ran.out
    assert "data:image" not in Path("report.html").read_text()


@pytest.mark.usefixtures("planned")
def test_an_older_report_is_replaced_and_nothing_else_is(run: Run) -> None:
    assert [run("report").code for _ in range(2)] == [0, 0]
    before = Path("plan.json").read_bytes()
    ran = run("report", "-o", "plan.json")
    assert ran.code == 2
    assert "is not a report of collabplan" in ran.line
    assert Path("plan.json").read_bytes() == before
    Path("folder").mkdir()
    assert "is a folder" in run("report", "-o", "folder").line


@pytest.mark.usefixtures("here")
@pytest.mark.parametrize(
    ("content", "said"),
    [(None, "does not exist"), ("[]", "is not a plan"), ('{"format": "collabplan.audit"}', "is not a plan")],
)
def test_what_is_no_plan_is_refused(run: Run, content: str | None, said: str) -> None:
    if content is not None:
        Path("plan.json").write_text(content)
    ran = run("report")
    assert ran.code == 2
    assert said in ran.line
    assert not Path("report.html").exists()


@pytest.mark.usefixtures("planned")
@pytest.mark.parametrize("command", [("attack", "model.py"), ("leakage",), ("optimize", "--budget-ms", "5")])
def test_what_stands_in_the_way_of_a_page_is_said_before_the_work(run: Run, command: tuple[str, ...]) -> None:
    ran = run(*command, "--report", "plan.json")
    assert ran.code == 2
    assert ("is not a report" if command[0] == "optimize" else "shows a plan") in ran.line
