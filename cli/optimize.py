"""`collabplan optimize`: searches cut and defense, shows the front, chooses and writes the plan."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..targets.input_options import InputOptions
from ..workflows.options import (
    AuditSettings,
    BudgetOptions,
    ConditionOptions,
    MachineSettings,
    OptimizeOptions,
    SearchSettings,
    TuningSettings,
)
from .grouping import grouped, option
from .optimize_options import (
    AUDIT_OPTIONS,
    BUDGET_OPTIONS,
    CONDITION_OPTIONS,
    MACHINE_OPTIONS,
    SEARCH_OPTIONS,
    TUNING_OPTIONS,
)
from .options import OUTPUT, TARGET_HELP, BatchDim, DataPath, Debug, HelpAll, Inputs, Json, ReportFile, examples

if TYPE_CHECKING:
    from ..planner import SearchResult
    from ..records import Plan
    from .output import Output

EXAMPLES = examples(
    ("the model profiled last, 50 ms at p95", "collabplan optimize --budget-ms 50"),
    ("a first look within minutes: estimates, no attacks", "collabplan optimize --budget-ms 50 --no-audit"),
    (
        "your link, at most 2 points of accuracy",
        "collabplan optimize --budget-ms 50 --bandwidth 8mbps --max-accuracy-drop 0.02",
    ),
    ("continue a search, up to 100 candidates in all", "collabplan optimize --budget-ms 50 --trials 100 --resume"),
)


@grouped(
    budgets=BUDGET_OPTIONS,
    conditions=CONDITION_OPTIONS,
    search=SEARCH_OPTIONS,
    audit=AUDIT_OPTIONS,
    tuning=TUNING_OPTIONS,
    machines=MACHINE_OPTIONS,
)
def optimize(
    budgets: BudgetOptions,
    conditions: ConditionOptions,
    search: SearchSettings,
    audit: AuditSettings,
    tuning: TuningSettings,
    machines: MachineSettings,
    target: Annotated[str | None, typer.Argument(metavar="TARGET", help=TARGET_HELP, show_default=False)] = None,
    inputs: Inputs = None,
    batch_dim: BatchDim = None,
    data: DataPath = None,
    file: Annotated[
        Path, option("Where to write the plan.", "FILE", OUTPUT, "-o", "--output", default=True, writes="file")
    ] = Path("plan.json"),
    page: ReportFile = None,
    as_json: Json = False,
    _debug: Debug = False,
    _help_all: HelpAll = False,
) -> None:
    """Search where to cut and how to defend, within budgets; write the plan.

    Every budget holds at the bad end of its interval, and again on data that the search has not seen. The plan that
    wins must stand all attacks, which takes hours at the default effort. Exit 1: no plan meets the budgets.
    Loading TARGET runs its Python code.
    """
    from ..workflows.optimize import search_plan
    from ..workflows.report import check_report
    from ..workflows.workspace import Workspace
    from .output import Output

    output = Output(as_json=as_json)
    if page is not None:
        check_report(page)
    options = OptimizeOptions(
        budgets=budgets, conditions=conditions, search=search, audit=audit, tuning=tuning, machines=machines
    )
    found = search_plan(target, InputOptions.given(inputs, batch_dim, data), options, Workspace.here(), output)
    report(found, file, output, page)


def report(found: SearchResult, file: Path, output: Output, page: Path | None = None) -> None:
    """Show the front, the plan and the comparison; write the plan, and its page where one is asked for.

    Raises:
        BudgetError: no plan meets the budgets; the nearest miss is named.
    """
    from ..records import BudgetError
    from ..workflows.optimize import how_much, no_plan, plan_notes, write_plan
    from .pages import write_page
    from .plan_tables import chosen_plan, comparison, front

    plan = found.plan
    output.say(f"\n{how_much(found)}")
    for note in found.notes:
        output.say(f"note: {note}")
    if found.front:
        output.show(front(found.front, plan.searched if plan else None, found.objectives, found.power))
    output.show(comparison(plan, found.baselines, found.power))
    if plan is not None:
        output.show(chosen_plan(plan))
        for note in plan_notes(plan):
            output.say(f"note: {note}")
        plan = write_plan(found, file)
        output.wrote("plan", file)
        if plan is not None and page is not None:
            write_page(plan, file, page, output)
    output.document(document(found, plan, file))
    if plan is None:
        raise BudgetError(no_plan(found))
    output.next(f"collabplan explain {file}", f"then collabplan attack {file}")


def document(found: SearchResult, plan: Plan | None, file: Path) -> dict[str, Any]:
    """What `--json` prints: the plan or null, the front, the baselines, the nearest miss."""
    return {
        "plan_file": None if plan is None else str(file),
        "plan": None if plan is None else plan.model_dump(mode="json"),
        "objectives": list(found.objectives),
        "edge_power": None if found.power is None else found.power.model_dump(mode="json"),
        "front": [candidate.model_dump(mode="json") for candidate in found.front],
        "baselines": [baseline.model_dump(mode="json") for baseline in found.baselines],
        "nearest_miss": found.nearest_miss,
        "trials": found.trials,
        "reused": found.reused,
        "space": found.space,
        "ruled_out": found.ruled_out.points,
        "audits": found.audits,
        "hypervolume": found.hypervolume,
        "study": found.study,
        "notes": list(found.notes),
    }
