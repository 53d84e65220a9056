"""Searches cut and defense for the plan that leaks least within the budgets, and writes it."""

from __future__ import annotations

import time
from dataclasses import replace

from ..attacks.time_limit import Clock, Deadline
from ..planner import SearchOptions, SearchResult
from ..planner import optimize as run_search
from ..planner.anytime import OnPlan
from ..profilers.timers import resolve_device
from ..records import Budgets, Plan, parse_time_limit_s
from ..records.memory import memory_bytes
from ..runtime import keep_memory
from ..targets.input_options import InputOptions
from ..targets.target import Target
from .conditions import (
    Conditions,
    Power,
    chosen_link,
    declared_power,
    edge_power,
    require_power,
    require_slowdown,
)
from .defense_options import early_defenses
from .options import BudgetOptions, ConditionOptions, OptimizeOptions
from .problem import prepare, prepare_session, state_problem
from .profiles import Profiles, given_profiles, require_alone
from .reporter import Reporter
from .search_log import log_search, require_tracker
from .search_options import (
    audit_options,
    checked_budgets,
    parsed_objectives,
    parsed_size,
    require_audits,
    tuning_options,
)
from .session import Session
from .workspace import Workspace


def search_plan(
    spec: str | Target | Session | None,
    inputs: InputOptions,
    options: OptimizeOptions,
    workspace: Workspace,
    reporter: Reporter,
    on_plan: OnPlan | None = None,
    clock: Clock = time.monotonic,
) -> SearchResult:
    """Search the cuts and defenses of a target.

    Args:
        spec: the target, or a session of it; None: what was profiled last in the workspace.
        inputs: what the command line says of its inputs.
        options: budgets, conditions, and how to search.
        workspace: holds profiles, the study and finished attacks.
        reporter: hears what is found and how far the search is.
        on_plan: called with every better supported plan (`PlanFile.replace`).
        clock: tells the time that the limit counts, from this call on.

    Returns:
        The front, the baselines and the plan; the plan is None where nothing meets the budgets.

    Raises:
        CollabplanError: an option that is not possible, or what the target, profiles or data lack.
    """
    deadline = Deadline.after(parse_time_limit_s(options.search.time_limit), clock)
    require_tracker(options.search.log)
    resolve_device(options.search.device)
    keep_memory()  # a third of the time of large inputs goes into page faults otherwise
    budgets = budgets_of(options.budgets)
    require_audits(budgets, options.audit)
    costs = options.conditions
    link = chosen_link(costs.link, costs.bandwidth, costs.rtt, costs.bandwidth_spread, costs.rtt_spread)
    declared = declared_power(costs.edge_watts, costs.joules_per_mb)
    settings, most_bytes = search_options(options), memory_bytes(options.search.memory)
    profiles = profiles_of(costs)
    if isinstance(spec, Session):
        prepared = prepare_session(spec, profiles, workspace, reporter, deadline)
    else:
        prepared = prepare(spec, inputs, profiles, workspace, reporter, deadline)
    power = edge_power(declared, costs.joules_per_mb, prepared.profiles.edge, costs.edge_slowdown)
    require_power(budgets, settings.objectives, power)
    _report_power(power, prepared.profiles, reporter)
    conditions = Conditions(link, costs.edge_slowdown, power.known)
    problem = state_problem(prepared, conditions, budgets, reporter, options.search.device)
    with reporter.progress("searching", counted=True) as advance:
        found = run_search(
            problem,
            replace(settings, memory=workspace.memory(most_bytes)),
            workspace.prepare(),
            lambda what, done: advance(done, 1.0, what),
            on_plan=on_plan,
            deadline=deadline,
            say=reporter.note,
        )
    if options.search.log is not None:
        log_search(options.search.log, found, options, workspace, reporter)
    return found


def budgets_of(options: BudgetOptions) -> Budgets:
    """The budgets as the planner's record.

    Raises:
        CollabplanError: one out of its range, named by its option.
    """
    return checked_budgets(
        latency_p95_ms=options.budget_ms,
        max_accuracy_drop=options.max_accuracy_drop,
        min_accuracy=options.min_accuracy,
        max_leakage=options.max_leakage,
        max_reconstruction=options.max_reconstruction,
        max_linkage=options.max_linkage,
        max_consistency=options.max_consistency,
        max_region=options.max_region,
        max_payload_bytes=parsed_size(options.max_payload),
        edge_memory_bytes=parsed_size(options.edge_memory),
        max_edge_parameters=options.max_edge_params,
        max_edge_energy_mj=options.max_energy_mj,
        result_at=options.result_at,
    )


def search_options(options: OptimizeOptions) -> SearchOptions:
    """How to search, as the planner's record.

    Raises:
        CollabplanError: an option that is not possible, named.
    """
    search, audit = options.search, options.audit
    return SearchOptions(
        trials=search.trials,
        seed=search.seed,
        fresh=search.fresh,
        draws=search.draws,
        sampler=search.sampler,
        defenses=early_defenses(search.defense) or search.defense,
        tuning=tuning_options(options.tuning),
        storage=options.machines.storage,
        artifacts=options.machines.artifacts,
        study=search.reuse,
        audit=audit_options(audit.audit_effort, audit.audit_seeds, audit.audits) if audit.audit else None,
        objectives=parsed_objectives(search.objectives),
    )


def profiles_of(costs: ConditionOptions) -> Profiles | None:
    """The profiles that the options name; None where they name none.

    Raises:
        CollabplanError: options that exclude one another, or a file that is not a profile.
    """
    edge = costs.edge_profile
    if costs.profile is not None:
        edge = require_alone(costs.profile, costs.edge_profile, costs.cloud_profile)
    require_slowdown(costs.edge_slowdown, edge, costs.cloud_profile)
    return given_profiles(edge, costs.cloud_profile)


def how_much(found: SearchResult) -> str:
    """How much was searched, in one line."""
    # A study may hold candidates that other budgets allowed.
    of = f" of {found.space}" if found.trials <= found.space else ""
    parts = [f"{found.trials}{of} candidates evaluated"]
    if found.reused:
        parts.append(f"{found.reused} of them in earlier runs")
    if found.ruled_out.points:
        parts.append(f"{found.ruled_out.points} more ruled out by cost alone")
    if found.audits:
        parts.append(f"{found.audits} attacked")
    if found.confirm_tries > 1:
        parts.append(f"{found.confirm_tries} measured on the confirm split")
    return ", ".join(parts) + (f"; the time limit ended the {found.timed_out}" if found.timed_out else "")


def plan_notes(plan: Plan, nearest_miss: str | None = None) -> tuple[str, ...]:
    """What the user should know about a plan that does not cut the model.

    Args:
        plan: of any kind.
        nearest_miss: what would leak less and misses a budget, where the search said so.
    """
    if plan.cut_kind == "edge-only":
        return (
            "the whole model keeps the budgets on the edge as profiled, so nothing need be split; declare a slower "
            "edge device by --edge-slowdown, or profile the device itself",
        )
    if plan.cut_kind == "cloud-only":
        why = "the plan sends the private input as it is: no other candidate keeps the budgets"
        return (f"{why}; {nearest_miss}" if nearest_miss else why,)
    return ()


def no_plan(found: SearchResult) -> str:
    """Why a search has no plan, in one line."""
    if found.timed_out:
        return (
            f"no plan within the time limit, which ended the {found.timed_out}; the same command goes on from here. "
            f"So far {found.nearest_miss or 'none was confirmed'}"
        )
    return (
        f"no plan meets the budgets; {found.nearest_miss or 'no candidate could be evaluated'}. "
        "Raise the budget that it misses, try other defenses (--defense), or profile again on an idle machine"
    )


def _report_power(power: Power, profiles: Profiles, reporter: Reporter) -> None:
    if power.known is not None:
        reporter.note(power.said)
    elif profiles.edge.power is not None:
        reporter.note(f"energy not reported: {power.said}")
