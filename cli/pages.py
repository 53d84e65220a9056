"""`--report`: what `optimize`, `leakage`, `attack` and `verify` say of the page that they also write."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ..records import AuditReport, LeakageReport, Plan
    from ..report import Report
    from .output import Output


def require_plan(target: str | None, page: Path) -> None:
    """Refuse a page that could not be written in the end.

    Raises:
        CollabplanError: the target is no plan, or the page cannot be written.
    """
    from ..records import CollabplanError
    from ..workflows.report import check_report

    if target is None or not target.endswith(".json"):
        raise CollabplanError(
            f"--report shows a plan, and {target or 'the target profiled last'} is none; leave it out, or give a plan "
            "file (.json)"
        )
    check_report(page)


def write_page(
    plan: Plan,
    file: Path,
    page: Path,
    output: Output,
    *,
    audits: Sequence[AuditReport] = (),
    leakage: LeakageReport | None = None,
) -> None:
    """Write the page of a plan with all that is known of it.

    Args:
        plan: the plan.
        file: its file, for suggested commands.
        page: where the page goes.
        output: says where it lies.
        audits, leakage: what has just been found.
    """
    from ..workflows.report import report_plan, write_report
    from ..workflows.workspace import Workspace

    made = report_plan(plan, Workspace.here(), plan_file=str(file), audits=audits, leakage=leakage)
    write_report(made, page)
    say_written(made, page, output)


def say_written(made: Report, page: Path, output: Output) -> None:
    """Say where the page lies, and what is in it that others should not see."""
    if made.pictures.conditions:
        output.warning("the report holds private validation images; `collabplan report --no-pictures` leaves them out")
    output.wrote("report", page)
