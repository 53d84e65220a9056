"""From a target and its profiles to the planner's problem: what `optimize`, `worker` and `front` share."""

from __future__ import annotations

from dataclasses import dataclass, replace

from ..attacks.time_limit import Deadline
from ..graph import candidate_cuts
from ..planner import Problem
from ..profilers.placement import on_device
from ..profilers.thread_choice import said_of_threads
from ..profilers.timers import resolve_device
from ..records import Budgets, TargetIdentity
from ..report.wording import link_text
from ..targets.input_options import InputOptions
from ..targets.target import Target
from .attack_data import divide
from .conditions import Conditions
from .options import ProfileOptions
from .profile import measure_profile
from .profiles import Profiles, fitting_profile, last_profile
from .promises import check_accuracy, check_promises
from .reporter import Reporter
from .search_options import require_region
from .session import Session, load_session_target, trace_session
from .workspace import Workspace


@dataclass(frozen=True, eq=False)
class Prepared:
    """A session with the profiles that a search plans with."""

    session: Session
    profiles: Profiles


LEAST_S = 1.0
PROFILING = 1 / 9
"""Share of the time until a deadline that timing cuts may take where no profile fits, if the default is more."""


def prepare(
    spec: str | Target | None,
    inputs: InputOptions,
    profiles: Profiles | None,
    workspace: Workspace,
    reporter: Reporter,
    deadline: Deadline | None = None,
) -> Prepared:
    """Find the profiles and the target, load and trace it, and profile it where no profile fits.

    Args:
        spec: the target; None: what was profiled last in the workspace.
        inputs: what the command line says of its inputs.
        profiles: those to plan with; None: the last ones made here, or new ones.
        workspace: where profiles are kept.
        reporter: hears what is found.
        deadline: shortens a profile that has to be made.

    Raises:
        CollabplanError: nothing was profiled and no target is given, a file has changed since, a profile is another
            model's, or the target cannot be loaded or traced.
    """
    if profiles is None and spec is None:
        profiles = last_profile(workspace)
    if spec is None:
        assert profiles is not None
        spec = profiles.edge.target.spec
        inputs = inputs.or_else(InputOptions.kept_in(profiles.edge.target.options))
    target = load_session_target(spec, inputs, reporter)
    return prepare_session(trace_session(target, reporter, needs_data=True), profiles, workspace, reporter, deadline)


def prepare_session(
    session: Session,
    profiles: Profiles | None,
    workspace: Workspace,
    reporter: Reporter,
    deadline: Deadline | None = None,
) -> Prepared:
    """As `prepare`, of a session that is open."""
    profiles = profiles or fitting_profile(workspace, session)
    if profiles is None:
        check_promises(session.target, session.traced, reporter)
        reporter.note("no profile of this target here: profiling it now")
        options = ProfileOptions()
        seconds = options.seconds if deadline is None else min(options.seconds, PROFILING * deadline.left)
        made = measure_profile(session, replace(options, seconds=max(seconds, LEAST_S)), reporter)
        if line := said_of_threads(made):
            reporter.note(line)
        profiles = Profiles(made, made, f"profile {workspace.save_profile(made)}")
    reporter.note(profiles.said)
    for profile in (profiles.edge, profiles.cloud):
        record = f"the profile of {profile.target.spec}"
        profile.model.require_same(session.traced.identity, record=record, weights=False)
    return Prepared(session, profiles)


def state_problem(
    prepared: Prepared, conditions: Conditions, budgets: Budgets, reporter: Reporter, device: str = "cpu"
) -> Problem:
    """The planner's problem, once the target's data is read; says what is assumed.

    Args:
        prepared: the model with its profiles.
        conditions, budgets: what is planned for.
        reporter: hears what is assumed.
        device: where this machine runs halves and attackers, as `resolve_device` takes it.

    Raises:
        CollabplanError: this machine has no such device.
        TargetError: the data do not fit the model, accuracy cannot be measured, or a budget is on a region of interest
            that is not declared.
    """
    target, traced, profiles = prepared.session.target, prepared.session.traced, prepared.profiles
    place = resolve_device(device)
    placed = on_device(traced, place)
    with reporter.progress("reading the data"):
        data = target.load_data(traced)
        accuracy = check_accuracy(target, traced, data)
    require_region(budgets, data.region)
    reporter.note("Data", (*data.findings, accuracy))
    reporter.note(link_text(conditions.link, conditions.edge_slowdown))
    return Problem(
        traced=placed,
        cuts=tuple(candidate_cuts(placed, profiles.edge.target.max_crossing)),
        edge_profile=profiles.edge,
        cloud_profile=profiles.cloud,
        link=conditions.link,
        edge_slowdown=conditions.edge_slowdown,
        search=data.search,
        confirm=data.confirm,
        scaling=data.pixel_scaling(traced),
        evaluate=target.evaluate,
        budgets=budgets,
        target=_planned_target(target, profiles.edge.target),
        power=conditions.power,
        train=data.train,
        roles=lambda: divide(data)[0],
        returns=target.returns,
        device=place,
    )


def _planned_target(target: Target, profiled: TargetIdentity) -> TargetIdentity:
    """What the plan says of its target: as profiled, with the data that it is searched on."""
    kept = {name: text for name, text in profiled.options.items() if name != "data"}
    return profiled.model_copy(update={"options": {**kept, **target.identity.options}})
