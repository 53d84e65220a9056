"""A plan with the model that it is for: what every workflow on a plan starts from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from ..defenses import ProjectionMatrices
from ..graph import Cut, TracedGraph, candidate_cuts, find_cut
from ..planner.plan_files import load_projection, load_weights
from ..records import MismatchError, Plan, load
from ..targets.input_options import InputOptions
from ..targets.target import Target
from .reporter import Reporter
from .session import Session, open_session, plan_target_spec


@dataclass(frozen=True, eq=False)
class LoadedPlan:
    """A plan, its target, the trace of its model and its cut there.

    Attributes:
        path: the plan's file.
        tuned: the cloud half's fine-tuned weights by name; None where the plan has none.
        projection: the matrices of the defense's projection; None where it has none.
    """

    plan: Plan
    path: Path
    target: Target
    traced: TracedGraph
    cut: Cut
    tuned: Mapping[str, Tensor] | None
    projection: ProjectionMatrices | None


def open_plan(
    path: Path,
    model: str | Session | None,
    reporter: Reporter,
    *,
    needs_data: bool = False,
    given: InputOptions | None = None,
) -> LoadedPlan:
    """Read a plan, load its target (**this runs the user's code**) and trace it.

    Args:
        path: the plan file.
        model: the target, if it has moved since; or a session of it.
        reporter: hears what was found.
        needs_data: the target must have validation data too.
        given: options of this command, in place of those that the plan keeps.

    Raises:
        RecordError: the file is not a plan.
        MismatchError: the model is not the plan's.
        CollabplanError: the target cannot be loaded or traced, or has no data.
    """
    plan = load(Plan, path)
    if isinstance(model, Session):
        session = model
    else:
        inputs = (given or InputOptions()).or_else(InputOptions.kept_in(plan.target.options))
        spec = plan_target_spec(plan, path, model)
        session = open_session(spec, inputs, reporter, needs_data=needs_data, findings=None if needs_data else 2)
    plan.model.require_same(session.traced.identity, record=f"plan {path}")
    cut = planned_cut(plan, session.traced)
    tuned, projection = load_weights(plan, path), load_projection(plan, path)
    return LoadedPlan(plan, path, session.target, session.traced, cut, tuned, projection)


def plans_cuts(plan: Plan, traced: TracedGraph) -> list[Cut]:
    """The candidates that a plan was searched among, and its own cut, which need not be one of them."""
    every, cut = candidate_cuts(traced, plan.target.max_crossing), planned_cut(plan, traced)
    return every if cut.id in {each.id for each in every} else [*every, cut]


def planned_cut(plan: Plan, traced: TracedGraph) -> Cut:
    """The plan's cut in this trace, a candidate or not. Raises MismatchError where the trace does not have it."""
    cuts = candidate_cuts(traced, plan.target.max_crossing)
    private = [crossing.name for crossing in plan.crossing if not crossing.public]
    found = find_cut(traced, plan.cut_id, private, cuts)
    if found is not None:
        return found
    raise MismatchError(
        f"the plan has the cut {plan.cut_name!r} ({plan.cut_id}), which this collabplan does not find in the same "
        "model: profile and optimize again"
    )
