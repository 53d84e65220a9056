"""A plan with the model that it is for: what every command on a plan starts from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ..targets.input_options import InputOptions

if TYPE_CHECKING:
    from torch import Tensor

    from ..defenses import ProjectionMatrices
    from ..graph.structures import Cut, TracedGraph
    from ..records import Plan
    from ..targets.target import Target
    from .output import Output


@dataclass(frozen=True, eq=False)
class LoadedPlan:
    """A plan, its target, the trace of its model, its cut there; fine-tuned weights and directions where it has any."""

    plan: Plan
    target: Target
    traced: TracedGraph
    cut: Cut
    tuned: Mapping[str, Tensor] | None
    directions: ProjectionMatrices | None


def open_planned(path: Path, model: str | None, output: Output, *, with_data: bool = False) -> LoadedPlan:
    """Read a plan, load its target (**this runs the user's code**) and trace it.

    Args:
        path: the plan file.
        model: the target, where it is not where it was planned.
        output: is told what is found.
        with_data: the target must have validation data too.

    Raises:
        CollabplanError: a file cannot be read, the model is not the plan's, or there is no data.
    """
    from ..planner.plan_files import load_directions, load_weights
    from ..records import Plan, load
    from .profile import trace_target

    plan = load(Plan, path)
    with output.step(f"loading {model or plan.target.spec}"):
        target = load_plan_target(plan, path, model)
    output.found(f"Target {target.identity.spec}", target.findings if with_data else target.findings[:2])
    if with_data:
        target.require_validation_data()
    traced = trace_target(target, output)
    plan.model.require_same(traced.identity, record=f"plan {path}")
    cut = planned_cut(plan, traced)
    return LoadedPlan(plan, target, traced, cut, load_weights(plan, path), load_directions(plan, path))


def load_plan_target(plan: Plan, path: Path, target: str | None) -> Target:
    """The target a plan names: as typed then, or beside the plan file where it is not found here.

    Raises:
        TargetError: it cannot be loaded.
    """
    from ..targets.target import load_target

    spec = target or plan.target.spec
    head = spec.rpartition(":")[0] if not spec.endswith(".py") else spec
    if target is None and head.endswith(".py") and not Path(head).exists() and (path.parent / head).exists():
        spec = str(path.parent / spec)
    return load_target(spec, InputOptions.kept_in(plan.target.options))


def planned_cut(plan: Plan, traced: TracedGraph) -> Cut:
    """The plan's cut in this trace, a candidate or not. Raises MismatchError where the trace does not have it."""
    from ..graph import candidate_cuts, find_cut
    from ..records import MismatchError

    cuts = candidate_cuts(traced, int(plan.target.options.get("max_crossing", "4")))
    private = [crossing.name for crossing in plan.crossing if not crossing.public]
    found = find_cut(traced, plan.cut_id, private, cuts)
    if found is not None:
        return found
    raise MismatchError(
        f"the plan has the cut {plan.cut_name!r} ({plan.cut_id}), which this collabplan does not find in the same "
        "model: profile and optimize again"
    )
