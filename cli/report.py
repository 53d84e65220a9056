"""`collabplan report`: a plan and its evidence on one page."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from .grouping import option
from .options import OUTPUT, USUAL_PLAN, Debug, HelpAll, Json, PlanFile, examples

EXAMPLES = examples(
    ("the page of the plan found last", "collabplan report"),
    ("with attacks and estimates that were written to files", "collabplan report plan.json --audit audit.json"),
    ("for somebody who may not see the pictures", "collabplan report plan.json --no-pictures -o public.html"),
)
_READ = "What else to read"


def report(
    plan: PlanFile = USUAL_PLAN,
    audit: Annotated[
        list[Path] | None, option("Attacks, by `collabplan attack -o`. Once for each file.", "FILE", _READ)
    ] = None,
    leakage: Annotated[Path | None, option("Estimates, by `collabplan leakage -o`.", "FILE", _READ)] = None,
    profile: Annotated[
        Path | None, option("A profile of the model; default: the last one kept here.", "FILE", _READ)
    ] = None,
    pictures: Annotated[
        bool,
        option(
            "Show originals and what attackers made of them.", None, OUTPUT, "--pictures/--no-pictures", default=True
        ),
    ] = True,
    file: Annotated[
        Path, option("Where to write the page.", "FILE", OUTPUT, "-o", "--output", default=True, writes="file")
    ] = Path("report.html"),
    as_json: Json = False,
    _debug: Debug = False,
    _help_all: HelpAll = False,
) -> None:
    """Write a page that shows a plan, what it costs and leaks, and how sure that is.

    One HTML file that loads nothing. Attacks that were run in this folder are found by themselves, with their pictures:
    **the file then holds private validation images**. --json prints the same data. Nothing is run.
    """
    from ..records import Plan, load
    from ..workflows.report import check_report, report_plan, write_report
    from ..workflows.workspace import Workspace
    from .next_steps import after_report
    from .output import Output
    from .pages import say_written

    output = Output(as_json=as_json)
    check_report(file)
    loaded = load(Plan, plan)
    made = report_plan(
        loaded,
        Workspace.here(),
        plan_file=plan.name,
        audits=audit or (),
        leakage=leakage,
        profile=profile,
        pictures=pictures,
    )
    write_report(made, file)
    output.say(made.decision.sentence)
    output.say(f"{made.decision.badge}: {made.decision.badge_means}")
    say_written(made, file, output)
    output.document(made)
    output.next(f"open {file}", f"then {after_report(loaded, plan, made.decision.badge)}")
