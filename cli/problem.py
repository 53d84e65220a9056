"""From a target and its profiles to the planner's problem: what `optimize`, `worker` and `front` share."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from ..targets.input_options import InputOptions

if TYPE_CHECKING:
    from ..graph import TracedGraph
    from ..planner import Problem
    from ..records import Budgets, EdgePower, Link
    from ..targets.target import Target
    from .costs import Profiles
    from .output import Output
    from .workspace import Workspace


def prepare(
    text: str | None, inputs: InputOptions, edge: Path | None, cloud: Path | None,
    workspace: Workspace, output: Output,
) -> tuple[Target, TracedGraph, Profiles]:  # fmt: skip
    """Find the profiles and the target, load and trace it, and profile it where nothing fits.

    Raises:
        CollabplanError: nothing profiled and no TARGET, a file changed since, another model's profile, or what
            loading and tracing refuse.
    """
    from ..targets.target import load_target
    from .costs import Profiles, fitting_profile, given_profiles, last_profile
    from .profile import measure, trace_target
    from .promises import check_promises

    profiles = given_profiles(edge, cloud)
    if profiles is None and text is None:
        profiles = last_profile(workspace)
    if text is None:
        assert profiles is not None
        text = profiles.edge.target.spec
        inputs = inputs.or_else(InputOptions.kept_in(profiles.edge.target.options))
    with output.step(f"loading {text}"):
        target = load_target(text, inputs)
    profiles = profiles or fitting_profile(workspace, target)
    output.found(f"Target {text}", target.findings)
    if profiles is not None:
        output.say(profiles.said)
    target.require_validation_data()
    traced = trace_target(target, output)
    if profiles is None:
        check_promises(target, traced, output)
        output.say("no profile of this target here: profiling it now")
        made = measure(target, traced, output)
        path = workspace.save_profile(made)
        profiles = Profiles(made, made, f"profile {path}")
        output.say(profiles.said)
    for profile in (profiles.edge, profiles.cloud):
        profile.model.require_same(traced.identity, record=f"the profile of {profile.target.spec}", weights=False)
    return target, traced, profiles


def state(
    target: Target, traced: TracedGraph, profiles: Profiles, link: Link, slowdown: float, budgets: Budgets,
    output: Output, power: EdgePower | None = None,
) -> Problem:  # fmt: skip
    """The planner's problem, once the target's data is read; says what is assumed."""
    from ..graph import candidate_cuts
    from ..planner import Problem
    from .attack_run import divide
    from .promises import check_accuracy
    from .tables import link_text

    with output.step("reading the data"):
        data = target.load_data(traced)
        accuracy = check_accuracy(target, traced, data)
    output.found("Data", (*data.findings, accuracy))
    output.say(link_text(link, slowdown))
    max_crossing = int(profiles.edge.target.options.get("max_crossing", "4"))
    return Problem(
        traced=traced,
        cuts=tuple(candidate_cuts(traced, max_crossing)),
        edge_profile=profiles.edge,
        cloud_profile=profiles.cloud,
        link=link,
        edge_slowdown=slowdown,
        search=data.search,
        confirm=data.confirm,
        scaling=data.pixel_scaling(traced),
        evaluate=target.evaluate,
        budgets=budgets,
        target=profiles.edge.target,
        power=power,
        train=data.train,
        roles=lambda: divide(data)[0],
    )
