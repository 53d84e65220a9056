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
    PresetName,
    SearchSettings,
    TuningSettings,
)
from .grouping import given_options, grouped, option
from .optimize_options import (
    AUDIT_OPTIONS,
    BUDGET_OPTIONS,
    CONDITION_OPTIONS,
    MACHINE_OPTIONS,
    PRESET,
    SEARCH_OPTIONS,
    TUNING_OPTIONS,
)
from .options import (
    OUTPUT,
    TARGET_HELP,
    USUAL_PLAN,
    BatchDim,
    DataPath,
    Debug,
    HelpAll,
    Inputs,
    Json,
    ReportFile,
    examples,
)

if TYPE_CHECKING:
    from ..planner import SearchResult
    from ..records import Plan
    from ..records.sign_off import Level
    from ..workflows.plan_keeping import PlanFile
    from .output import Output

EXAMPLES = examples(
    ("the model profiled last, 50 ms at p95", "collabplan optimize --budget-ms 50"),
    ("a first look: estimates, no attacks, 90 s at most", "collabplan optimize --budget-ms 50 --preset look"),
    ("until it is signed off, however long that takes", "collabplan optimize --budget-ms 50 --preset signoff"),
    (
        "your link, at most 2 points of accuracy",
        "collabplan optimize --budget-ms 50 --bandwidth 8mbps --max-accuracy-drop 0.02",
    ),
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
    ctx: typer.Context,
    budgets: BudgetOptions,
    conditions: ConditionOptions,
    *,
    preset: Annotated[PresetName, PRESET] = "standard",
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
    ] = USUAL_PLAN,
    page: ReportFile = None,
    force: Annotated[bool, option("Replace even the plan of another study.", None, OUTPUT, "--force")] = False,
    as_json: Json = False,
    _debug: Debug = False,
    _help_all: HelpAll = False,
) -> None:
    """Search where to cut and how to defend, within budgets; write the plan.

    Every budget holds at the bad end of its interval, and again on data that the search has not seen. A plan is written
    as soon as one is known, and replaced by every better supported one until the time limit: by estimates first, then
    as attacks leave it standing. The same command goes on where it stopped. Exit 1: no plan meets the budgets, or the
    time did not suffice to prove one on privacy (`collabplan certify` goes on).
    Loading TARGET runs its Python code.
    """
    from ..workflows.optimize import search_plan
    from ..workflows.plan_keeping import PlanFile
    from ..workflows.presets import said, with_preset
    from ..workflows.report import check_report
    from ..workflows.workspace import Workspace
    from .faults import Interrupted, interrupted
    from .output import Output

    output = Output(as_json=as_json)
    if page is not None:
        check_report(page)
    asked = given_options(ctx)
    options = with_preset(
        OptimizeOptions(
            budgets=budgets, conditions=conditions, search=search, audit=audit, tuning=tuning, machines=machines
        ),
        preset,
        asked,
    )
    if "preset" in asked:
        output.note(said(preset, asked))
    kept = PlanFile(file, output.say, force=force)
    given, workspace = InputOptions.given(inputs, batch_dim, data), Workspace.here()
    kept.require_replaceable(target, options, workspace)
    try:
        found = search_plan(target, given, options, workspace, output, kept.replace)
        report(found, kept, options.audit.accept if options.audit.audit else "estimated", output, page)
    except BaseException as error:
        if interrupted(error):
            raise Interrupted(kept.standing) from error
        raise


def report(found: SearchResult, kept: PlanFile, least: Level | None, output: Output, page: Path | None = None) -> None:
    """Show the front, the plan and the comparison, and write the plan's page where one is asked for.

    Args:
        found: what the search found.
        kept: the plan's file.
        least: the lowest level that is enough for a privacy budget.
        output: where to.
        page: where to write the page.

    Raises:
        BudgetError: no plan meets the budgets, and the nearest miss is named; or a privacy budget is not proven.
    """
    from ..records import BudgetError
    from ..workflows.optimize import how_much, no_plan, plan_notes
    from ..workflows.plan_keeping import accepted, unproven
    from .next_steps import to_attack
    from .pages import write_page
    from .plan_tables import chosen_plan, compared_rows, comparison, front, front_rows, rows_legend

    plan, file = kept.plan, kept.path
    output.say(f"\n{how_much(found)}")
    for note in found.notes:
        output.say(f"note: {note}")
    searched = plan.searched if plan else None
    if found.front:
        output.show(front(found.front, searched, found.objectives, found.power))
    if plan is not None or found.baselines:
        output.show(comparison(plan, found.baselines, found.power))
    for line in rows_legend([*front_rows(found.front, searched), *compared_rows(plan, found.baselines)]):
        output.say(line)
    if plan is not None:
        output.show(chosen_plan(plan))
        for note in plan_notes(plan, found.nearest_miss):
            output.say(f"note: {note}")
        if kept.earlier:
            output.say(f"note: this is the plan of an earlier run, which {file} keeps: it is better supported")
        output.wrote("plan", file)
        if page is not None:
            write_page(plan, file, page, output)
    output.document(document(found, plan, file))
    if plan is None:
        raise BudgetError(no_plan(found))
    if not accepted(plan, least):
        raise BudgetError(unproven(plan, file))
    output.next(f"collabplan explain {file}", f"then {to_attack(plan, file)[0]}")


def document(found: SearchResult, plan: Plan | None, file: Path) -> dict[str, Any]:
    """What `--json` prints: the plan or null, the front, the baselines, the nearest miss."""
    return {
        "plan_file": None if plan is None else str(file),
        "level": None if plan is None else plan.level,
        "proven": None if plan is None else plan.proven,
        "timed_out": found.timed_out,
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
