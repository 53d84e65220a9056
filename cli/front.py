"""`collabplan front`: the other plans that a search found: listed, filtered by budgets, and exported."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from ..targets.input_options import InputOptions
from .options import AuditEffort, AuditIt, AuditSeeds, Debug, Json, MaxLeakage, MaxPayload, examples

if TYPE_CHECKING:
    from ..planner.planning import ChosenPlan
    from ..records import Budgets, Candidate, Plan
    from .output import Output

EXAMPLES = examples(
    ("every candidate of the front", "collabplan front plan.json"),
    (
        "those that an 80 ms budget and an index of 0.5 leave",
        "collabplan front plan.json --budget-ms 80 --max-leakage 0.5",
    ),
    (
        "make a plan of row 3: measured on the confirm half and attacked like the first one",
        "collabplan front plan.json --export 3 -o other.json",
    ),
)
_BUDGETS, _OUTPUT = "Budgets", "Output"


def front(
    plan: Annotated[Path, typer.Argument(metavar="PLAN", help="Written by `collabplan optimize`.")],
    budget_ms: Annotated[
        float | None,
        typer.Option(metavar="MS", help="Longest latency, p95.", rich_help_panel=_BUDGETS, show_default=False),
    ] = None,
    max_accuracy_drop: Annotated[
        float | None,
        typer.Option(metavar="SHARE", help="Most accuracy to lose.", rich_help_panel=_BUDGETS, show_default=False),
    ] = None,
    max_leakage: MaxLeakage = None,
    max_payload: MaxPayload = None,
    export: Annotated[
        int | None,
        typer.Option(
            metavar="ROW", min=1, help="Make a plan of this row.", rich_help_panel=_OUTPUT, show_default=False
        ),
    ] = None,
    file: Annotated[
        Path, typer.Option("-o", "--output", metavar="FILE", help="Where to write it.", rich_help_panel=_OUTPUT)
    ] = Path("other.json"),
    audit: AuditIt = True,
    audit_effort: AuditEffort = "thorough",
    audit_seeds: AuditSeeds = 3,
    as_json: Json = False,
    _debug: Debug = False,
) -> None:
    """List the front of the search that made a plan, by budgets of your own, and make a plan of another row.

    Listing runs nothing. --export loads the plan's target, which runs its Python code, measures the row on the confirm
    half and attacks it there; exit 1 where it then misses a budget.
    """
    from ..records import Plan, load
    from .output import Output

    output = Output(as_json=as_json)
    loaded = load(Plan, plan)
    budgets = asked_budgets(loaded, budget_ms, max_accuracy_drop, max_leakage, max_payload)
    rows = listed(loaded, budgets)
    show(rows, loaded, output)
    if export is not None:
        made = exported(
            loaded, plan, budgets, picked(rows, export), (audit_effort, audit_seeds) if audit else None, output
        )
        from ..planner.plan_files import save_plan

        save_plan(made.plan, made.tuned_weights, made.directions, file)
        output.wrote("plan", file)
        output.say(made.plan.headline)
    output.document(
        {
            "objectives": list(loaded.objectives),
            "rows": [candidate.model_dump(mode="json") for candidate in rows],
            "exported": str(file) if export is not None else None,
        }
    )


def asked_budgets(
    plan: Plan, budget_ms: float | None, drop: float | None, leakage: float | None, payload: str | None
) -> Budgets:
    """The plan's budgets, with those that were given in their place. Raises CollabplanError as `checked_budgets`."""
    from .search_options import checked_budgets, parsed_size

    given = {
        "latency_p95_ms": budget_ms,
        "max_accuracy_drop": drop,
        "max_leakage": leakage,
        "max_payload_bytes": parsed_size(payload),
    }
    known = plan.budgets.model_dump() | {name: value for name, value in given.items() if value is not None}
    return checked_budgets(**known)


def listed(plan: Plan, budgets: Budgets) -> list[Candidate]:
    """The front's candidates as these budgets see them, least leakage first: rows keep their numbers under a filter."""
    from ..planner.budgets import judged

    return sorted(
        (judged(candidate, budgets) for candidate in plan.front),
        key=lambda c: (c.index.high, c.index.value, -c.accuracy.accuracy.value, c.latency.p95_ms),
    )


def show(rows: list[Candidate], plan: Plan, output: Output) -> None:
    """Print the rows that keep within the budgets, numbered."""
    from .tables import candidates, dropout, front_text

    fitting = [
        (str(number), candidate.cut_name, dropout(candidate), candidate)
        for number, candidate in enumerate(rows, start=1)
        if candidate.meets_budgets
    ]
    head = f"{front_text(plan.objectives)} ({len(fitting)} of {len(rows)} within budgets)"
    output.show(candidates(head, "cut\ndropout", fitting, plan.edge_power))


def picked(rows: list[Candidate], number: int) -> Candidate:
    """That row.

    Raises:
        CollabplanError: there is none of that number.
    """
    from ..records import CollabplanError

    if number > len(rows):
        raise CollabplanError(f"there is no row {number}; the front has {len(rows)}")
    return rows[number - 1]


def exported(
    plan: Plan,
    path: Path,
    budgets: Budgets,
    candidate: Candidate,
    audit: tuple[Literal["quick", "standard", "thorough"], int] | None,
    output: Output,
) -> ChosenPlan:
    """The plan of a candidate.

    Raises:
        BudgetError: it misses a budget on the confirm half.
        CollabplanError: what loading, tracing, the profile or the data refuse.
    """
    from ..planner import SearchOptions, Wire, plan_for
    from .problem import prepare, state
    from .search_options import audit_options
    from .workspace import Workspace

    workspace = Workspace.here()
    inputs = InputOptions.kept_in(plan.target.options)
    loaded, traced, profiles = prepare(plan.target.spec, inputs, None, None, workspace, output)
    plan.model.require_same(traced.identity, record=f"plan {path}")
    problem = state(loaded, traced, profiles, plan.link, plan.edge_slowdown, budgets, output, plan.edge_power)
    options = SearchOptions(
        seed=plan.provenance.seed or 0,
        draws=plan.searched.accuracy.draws,
        wires=(Wire(candidate.bits, candidate.noise, candidate.noise_std, candidate.kept),),
        masks=plan.defense.masks,
        audit=None if audit is None else audit_options(*audit, None),
        tuning=plan.tuning,
        objectives=plan.objectives,
    )
    with output.bar("measuring") as advance:
        return plan_for(
            problem, options, plan, candidate, workspace.prepare(), lambda what, done: advance(done, 1.0, what)
        )
