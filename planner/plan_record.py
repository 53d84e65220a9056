"""Makes the plan's record of what was chosen."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from ..attacks.audit_target import why_unattackable
from ..defenses.projection import ProjectionMatrices
from ..records import Baseline, Candidate, EdgePower, Plan, TensorFile, collect_provenance, hash_tensors
from .choose import Choice, described
from .evaluator import Evaluator
from .space import point_of


@dataclass(frozen=True)
class ChosenPlan:
    """A plan, the cloud half's fine-tuned weights by name and the matrices of its projection, where there are any."""

    plan: Plan
    tuned_weights: Mapping[str, Tensor] | None
    projection: ProjectionMatrices | None


def with_tensors(evaluator: Evaluator, plan: Plan) -> ChosenPlan:
    """A plan that `plan_of` made, with its tensors."""
    point = point_of(plan.searched)
    return ChosenPlan(plan, evaluator.tuned(point), evaluator.projection(point))


def plan_of(
    evaluator: Evaluator,
    choice: Choice,
    front: tuple[Candidate, ...],
    baselines: tuple[Baseline, ...],
    trials: int,
    study: str,
) -> Plan | None:
    """The plan of a choice; None where nothing was chosen.

    Args:
        evaluator: of the search.
        choice: the chosen candidate on both splits.
        front, baselines: as reports show them.
        trials: completed in the study.
        study: its name.
    """
    if choice.searched is None or choice.confirmed is None:
        return None
    problem, options = evaluator.problem, evaluator.options
    cut = evaluator.cuts[choice.searched.cut_id]
    file = problem.target.file
    return Plan(
        headline=headline(choice.confirmed, problem.power),
        target=problem.target,
        model=problem.traced.identity,
        cut_id=cut.id,
        cut_name=cut.name,
        cut_kind=cut.kind,
        crossing=cut.crossing,
        defense=evaluator.defense(point_of(choice.searched)).record,
        tuning=options.tuning,
        tuned_weights=_tuned_weights(evaluator, choice.searched),
        projection=_projection(evaluator, choice.searched),
        batch=evaluator.profile.batch,
        chosen=choice.confirmed,
        searched=choice.searched,
        budgets=problem.budgets,
        link=problem.link,
        edge_device=problem.edge_profile.device,
        cloud_device=problem.cloud_profile.device,
        edge_power=problem.power,
        edge_slowdown=problem.edge_slowdown,
        edge_slowdown_source="none" if problem.edge_slowdown == 1.0 else "declared",
        objectives=options.objectives,
        front=front,
        baselines=baselines,
        trials=trials,
        study=study,
        unattackable=why_unattackable(problem.traced),
        provenance=collect_provenance(
            target_file=Path(file) if file else None, seed=options.seed, command=options.command
        ),
    )


def _tuned_weights(evaluator: Evaluator, candidate: Candidate) -> TensorFile | None:
    """What identifies the plan's fine-tuned weights; where they lie is known once they are written."""
    weights = evaluator.tuned(point_of(candidate))
    return None if weights is None else TensorFile(file="", sha256=hash_tensors(weights))


def _projection(evaluator: Evaluator, candidate: Candidate) -> TensorFile | None:
    """The same for the matrices of its projection."""
    found = evaluator.projection(point_of(candidate))
    return None if found is None else TensorFile(file="", sha256=found.sha256)


def headline(chosen: Candidate, power: EdgePower | None) -> str:
    """A plan in one line.

    Args:
        chosen: its candidate on the confirm split.
        power: what its energy was computed by.
    """
    drop, index = chosen.accuracy.drop, chosen.index
    energy = ""
    if chosen.edge_energy_mj is not None and power is not None:
        energy = f", edge energy {chosen.edge_energy_mj:.3g} mJ ({power.said})"
    return (
        f"{described(chosen)}: latency p95 {chosen.latency.p95_ms:.1f} ms, {chosen.accuracy.metric} "
        f"{chosen.accuracy.accuracy.value:.4f} (drop {drop.value:.4f}, at most {drop.high:.4f}), "
        f"{chosen.leakage.index_name} at most {index.high:.3f} ({chosen.standing}){energy}"
    )
