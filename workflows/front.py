"""The other plans that a search found: listed, filtered by budgets, and made into a plan of their own."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ..planner.budgets import dropped_for, judged
from ..records import Budgets, Candidate, CollabplanError, Plan
from ..report.wording import same_point
from ..targets.input_options import InputOptions
from .options import AuditSettings
from .reporter import Reporter
from .search_options import audit_options, checked_budgets, parsed_size
from .workspace import Workspace

if TYPE_CHECKING:
    from ..planner.plan_record import ChosenPlan


def budgets_with(
    plan: Plan,
    *,
    budget_ms: float | None = None,
    max_accuracy_drop: float | None = None,
    max_leakage: float | None = None,
    max_payload: str | None = None,
) -> Budgets:
    """The plan's budgets, with those that are given in their place.

    Raises:
        CollabplanError: one out of its range, named by its option.
    """
    given = {
        "latency_p95_ms": budget_ms,
        "max_accuracy_drop": max_accuracy_drop,
        "max_leakage": max_leakage,
        "max_payload_bytes": parsed_size(max_payload),
    }
    known = plan.budgets.model_dump() | {name: value for name, value in given.items() if value is not None}
    return checked_budgets(**known)


def front_rows(plan: Plan, budgets: Budgets) -> list[Candidate]:
    """The front's candidates judged by these budgets, least leakage first. A filter does not change the numbers.

    What the search dropped for its figures on the confirm split misses all budgets, since no others were tried there.
    """
    return sorted(
        (_judged(candidate, budgets) for candidate in plan.front),
        key=lambda c: (c.index.high, c.index.value, -c.accuracy.accuracy.value, c.latency.p95_ms),
    )


def _judged(candidate: Candidate, budgets: Budgets) -> Candidate:
    found, dropped = judged(candidate, budgets), dropped_for(candidate)
    if not dropped:
        return found
    return found.model_copy(update={"meets_budgets": False, "violations": (*found.violations, *dropped)})


def shown_rows(rows: Sequence[Candidate], plan: Plan) -> list[tuple[int, str, Candidate]]:
    """The rows to list, each with its number from 1 and its mark.

    Args:
        rows: of `front_rows`.
        plan: whose front it is. Its own row is listed whatever the budgets are, and marked `>` alone, as in `optimize`.

    Returns:
        what keeps the budgets on the search split; marked `x` where it failed on the confirm split.
    """
    shown = []
    for number, row in enumerate(rows, start=1):
        if same_point(row, plan.searched):
            shown.append((number, ">", row))
        elif len(row.violations) == len(dropped_for(row)):
            shown.append((number, "" if row.meets_budgets else "x", row))
    return shown


def picked(rows: list[Candidate], number: int) -> Candidate:
    """The row with this number, from 1. Raises CollabplanError if there is none."""
    if not 1 <= number <= len(rows):
        raise CollabplanError(f"there is no row {number}; the front has {len(rows)}")
    return rows[number - 1]


def plan_of_row(
    plan: Plan,
    path: Path,
    budgets: Budgets,
    candidate: Candidate,
    audit: AuditSettings,
    workspace: Workspace,
    reporter: Reporter,
) -> ChosenPlan:
    """Make a plan of another candidate: measured on the confirm split and attacked there.

    Args:
        plan, path: whose front the candidate is from, and its file.
        budgets: held against the candidate.
        candidate: a row of the front.
        audit: how it is attacked.
        workspace: holds profiles and finished attacks.
        reporter: hears what is found.

    Raises:
        BudgetError: it misses a budget on the confirm split.
        CollabplanError: what loading, tracing, the profile or the data refuse.
    """
    from ..planner import SearchOptions, plan_for
    from ..records.memory import memory_bytes
    from .conditions import Conditions
    from .problem import prepare, state_problem

    inputs = InputOptions.kept_in(plan.target.options)
    prepared = prepare(plan.target.spec, inputs, None, workspace, reporter)
    plan.model.require_same(prepared.session.traced.identity, record=f"plan {path}")
    problem = state_problem(prepared, Conditions(plan.link, plan.edge_slowdown, plan.edge_power), budgets, reporter)
    options = SearchOptions(
        seed=plan.provenance.seed or 0,
        draws=plan.searched.accuracy.draws,
        defenses=(candidate.defense,),
        audit=audit_options(audit.audit_effort, audit.audit_seeds, None) if audit.audit else None,
        tuning=plan.tuning,
        objectives=plan.objectives,
        memory=workspace.memory(memory_bytes(None)),
    )
    with reporter.progress("measuring", counted=True) as advance:
        return plan_for(
            problem,
            options,
            plan,
            judged(candidate, budgets),
            workspace.prepare(),
            lambda what, done: advance(done, 1.0, what),
        )


def write_row(made: ChosenPlan, file: Path) -> Plan:
    """Write the plan of a row with its tensors beside it."""
    from ..planner.plan_files import save_plan

    return save_plan(made.plan, made.tuned_weights, made.projection, file)
