"""`collabplan front`: the other plans that a search found: listed, filtered by budgets, and exported."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from ..workflows.options import AuditSettings
from .grouping import grouped, option
from .optimize_options import MAX_LEAKAGE, MAX_PAYLOAD
from .options import (
    AUDIT,
    AUDIT_EFFORT,
    AUDIT_SEEDS,
    BUDGETS,
    OUTPUT,
    USUAL_PLAN,
    Debug,
    Force,
    HelpAll,
    Json,
    PlanFile,
    examples,
)

if TYPE_CHECKING:
    from ..records import Candidate, Plan
    from .output import Output

EXAMPLES = examples(
    ("every candidate of the front", "collabplan front plan.json"),
    ("those within other budgets", "collabplan front plan.json --budget-ms 80 --max-leakage 0.5"),
    ("make a plan of row 3, attacked as the first one", "collabplan front plan.json --export 3 -o other.json"),
)


@grouped(audit={"audit": AUDIT, "audit_effort": AUDIT_EFFORT, "audit_seeds": AUDIT_SEEDS})
def front(
    plan: PlanFile = USUAL_PLAN,
    *,
    audit: AuditSettings,
    budget_ms: Annotated[float | None, option("Longest latency, p95: 50, or 1.5s.", "MS", BUDGETS, unit="ms")] = None,
    max_accuracy_drop: Annotated[float | None, option("Most accuracy to lose, 0 to 1.", "SHARE", BUDGETS)] = None,
    max_leakage: Annotated[float | None, MAX_LEAKAGE] = None,
    max_payload: Annotated[str | None, MAX_PAYLOAD] = None,
    export: Annotated[int | None, option("Make a plan of this row.", "ROW", OUTPUT, least=1)] = None,
    file: Annotated[Path, option("Where to write that plan.", "FILE", OUTPUT, "-o", "--output", default=True)] = Path(
        "other.json"
    ),
    force: Force = False,
    as_json: Json = False,
    _debug: Debug = False,
    _help_all: HelpAll = False,
) -> None:
    """List the front of the search that made a plan, by budgets of your own, and make a plan of another row.

    Listing runs nothing. --export loads the plan's target, which runs its Python code, measures the row on the confirm
    split and attacks it there; exit 1 where it then misses a budget.
    """
    from ..records import Plan, load
    from ..records.atomic import require_writable
    from ..workflows.front import budgets_with, front_rows, picked, plan_of_row, write_row
    from ..workflows.replacing import refuse_to_replace
    from ..workflows.workspace import Workspace
    from .output import Output
    from .plan_tables import level_text

    if export is not None:
        require_writable(file)
    output = Output(as_json=as_json)
    refuse_to_replace(file if export is not None else None, force)
    loaded = load(Plan, plan)
    output.say(f"level of the plan: {level_text(loaded)}")
    budgets = budgets_with(
        loaded,
        budget_ms=budget_ms,
        max_accuracy_drop=max_accuracy_drop,
        max_leakage=max_leakage,
        max_payload=max_payload,
    )
    rows = front_rows(loaded, budgets)
    show(rows, loaded, output, other_budgets=budgets != loaded.budgets)
    if export is not None:
        made = plan_of_row(loaded, plan, budgets, picked(rows, export), audit, Workspace.here(), output)
        write_row(made, file)
        output.wrote("plan", file)
        output.say(made.plan.headline)
    output.document(
        {
            "objectives": list(loaded.objectives),
            "rows": [candidate.model_dump(mode="json") for candidate in rows],
            "exported": str(file) if export is not None else None,
        }
    )
    if export is None:
        output.next(f"collabplan front {plan} --export ROW", "make a plan of a row")
    else:
        output.next(f"collabplan explain {file}")


def show(rows: list[Candidate], plan: Plan, output: Output, *, other_budgets: bool) -> None:
    """Print the rows that keep within the budgets, numbered; the plan's and those that failed confirmation marked.

    Args:
        rows, plan: the front that is shown, and the plan that holds it.
        output: where to.
        other_budgets: the budgets are not the plan's, whose evidence the plan itself tells.
    """
    from ..report.wording import short_defense
    from ..workflows.front import shown_rows
    from .plan_tables import candidates, front_text, rows_legend
    from .tables import counted

    listed = shown_rows(rows, plan)
    shown = [(f"{number}{mark}", row.cut_name, short_defense(row), row) for number, mark, row in listed]
    rest = "all: --json" if len(shown) < len(rows) else ""
    fitting = sum(candidate.meets_budgets for candidate in rows)
    head = counted(front_text(plan.objectives), f"{fitting} of {len(rows)} within budgets", rest)
    output.show(candidates(head, "cut\ndefense", shown, plan.edge_power))
    for line in rows_legend(shown):
        output.say(line)
    for number, mark, row in listed:
        if other_budgets and mark == ">" and row.violations:
            missed = "; ".join(row.violations)
            output.say(f"row {number}, the plan's, misses these budgets on the search split: {missed}")
