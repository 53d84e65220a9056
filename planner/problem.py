"""What a search is given and what it hands back."""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from ..attacks.interface import Attack, Effort
from ..defenses.catalogue import stage_revisions
from ..defenses.projection import ProjectionMatrices
from ..defenses.spelling import Given, UnknownStage, defenses_of
from ..estimators.combined import COMBINED_INDEX
from ..estimators.inversion import INVERSION
from ..estimators.ridge import RIDGE_INDEX
from ..estimators.sandwich import SANDWICH_BOUNDS
from ..estimators.token_recovery import TOKEN_RECOVERY
from ..graph import Cut, TracedGraph
from ..profilers.joining import JoinedProfile, join
from ..records import (
    DEFAULT_OBJECTIVES,
    Baseline,
    Budgets,
    Candidate,
    CollabplanError,
    DefenseRecord,
    EdgePower,
    Link,
    MismatchError,
    Objective,
    Plan,
    Profile,
    Returns,
    TargetIdentity,
    Tuning,
    hash_json,
)
from ..records.memory import UNBOUNDED, MemoryBudget
from ..records.revisions import revisions_of
from ..targets.data import Data, InputScaling
from .default_defenses import DEFAULT_DEFENSES
from .finetune import FINE_TUNING
from .front import checked_objectives
from .roles import Roles
from .samplers import Sampler


@dataclass(frozen=True, eq=False)
class Problem:
    """A model with its cuts, profiles, data and budgets.

    Attributes:
        traced, cuts: the graph, ready to run on `device`, and all its candidate cuts by depth.
        edge_profile, cloud_profile: one profile twice where one machine has both roles.
        link: the network; `edge_slowdown` the declared factor on what the edge computes (1 = none).
        power: what the edge device draws, where it is declared or was measured.
        search, confirm: the disjoint halves of the validation data.
        scaling: brings inputs to [0, 1], where reconstruction errors are compared.
        evaluate: (outputs, labels) -> score per sample or one score, higher is better; None: see `recognise.py`.
        target: where the model came from, for the plan.
        train: what the model was trained on, for fine-tuning.
        returns: what the service answers with; None: not declared.
        roles: says who owns which images, once anything is attacked; None: the attacker owns the search split.
        device: of this machine, where halves run, are fine-tuned and are attacked. Latencies are those of the profiles.
    """

    traced: TracedGraph
    cuts: tuple[Cut, ...]
    edge_profile: Profile
    cloud_profile: Profile
    link: Link
    search: Data
    confirm: Data
    scaling: InputScaling
    budgets: Budgets
    target: TargetIdentity
    evaluate: Callable[..., Any] | None = None
    edge_slowdown: float = 1.0
    power: EdgePower | None = None
    train: Data | None = None
    roles: Callable[[], Roles] | None = None
    returns: Returns | None = None
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))

    @cached_property
    def attackers(self) -> Roles:
        """Who owns which images."""
        return self.roles() if self.roles is not None else Roles.divide(self.search, self.confirm)

    def joined(self) -> JoinedProfile:
        """Edge prefixes with cloud suffixes.

        Raises:
            MismatchError: the profiles are of another model or of other cuts.
            CollabplanError: the slowdown is not positive.
        """
        if self.edge_slowdown <= 0:
            raise CollabplanError(f"the edge slowdown must be above 0, got {self.edge_slowdown:g}")
        joined = join(self.edge_profile, self.cloud_profile)
        self.traced.identity.require_same(self.edge_profile.model, record="the edge profile", weights=False)
        missing = [cut.name for cut in self.cuts if cut.id not in joined.cuts]
        if missing:
            raise MismatchError(
                f"the profile lacks {len(missing)} of {len(self.cuts)} cuts, {missing[0]!r} among them; profile again "
                "with the same --max-crossing"
            )
        return joined


SPARED = frozenset({"latent", "untrained", "shadow-same", "shadow-other"})
"""Attacks that the first rungs leave out: each trains a network of its own or optimises one, and they seldom win."""


@dataclass(frozen=True, slots=True)
class Rung:
    """One step of the ladder that a winner climbs: attacks at an effort, from so many seeds."""

    effort: Effort
    seeds: int
    attacks: tuple[Attack, ...] = field(compare=False)


@dataclass(frozen=True)
class AuditOptions:
    """How to audit.

    Attributes:
        search_effort: of each audit while searching.
        final_effort: of those of the winner; its whole suite is run with `seeds` seeds.
        most: audits while searching, at most; None: a fifth of the candidates, and a few more than calibration needs.
        attacks: the suite that the winner must stand.
        before: efforts that it must stand first, each with one seed: a cheap attack that refutes it saves a dear one.
            At these the suite is run without naive attackers, and without those attacks that seldom win and take most
            of the time (`SPARED`): they come with the final effort.
    """

    search_effort: Effort
    final_effort: Effort
    attacks: tuple[Attack, ...]
    seeds: int = 3
    most: int | None = None
    before: tuple[Effort, ...] = ()

    @property
    def rungs(self) -> tuple[Rung, ...]:
        """What the winner must stand, in this order: from the cheapest evidence to the strongest."""
        seeds = (1, self.seeds) if self.seeds > 1 else (1,)
        early = tuple(attack for attack in self.attacks if attack.name not in SPARED)
        return (
            *(Rung(effort, 1, early) for effort in self.before),
            *(Rung(self.final_effort, count, self.attacks) for count in seeds),
        )

    def __post_init__(self) -> None:
        if self.seeds < 1 or (self.most is not None and self.most < 0):
            raise CollabplanError(f"audits need at least 1 seed and no negative number, got {self.seeds}, {self.most}")


@dataclass(frozen=True)
class SearchOptions:
    """How to search.

    `trials` is the total in the study: None enumerates a small space, else runs 200. `fresh` begins a new study, where
    else the latest that fits goes on. `draws` masks are
    averaged per candidate. `memory` is where activations lie; no figure depends on how much it holds. `defenses` are
    those to choose from, in any form that `defenses_of` reads; noise and quantizer of the first are those of undefended
    baselines. `leakage_samples` bounds the rows that the leakage attackers see. `sampler` proposes points where not all
    are visited. With `tuning` the cloud half is fine-tuned under every defense that costs accuracy. `storage` is the
    database of a search by several machines; None keeps the study in the folder. `artifacts` is where they share audits
    and fine-tuned weights: a folder, or s3://bucket/prefix. `study` names one to go on with. Without `audit` the plan
    rests on estimates, and says so. `objectives` are what the front is made of and the search is guided by, kept in the
    order of `front.NAMES`. `fastest`: the fastest cut of the whole graph is searched too, where it is none of the
    problem's.
    """

    trials: int | None = None
    seed: int = 0
    fresh: bool = False
    draws: int = 5
    memory: MemoryBudget = UNBOUNDED
    defenses: Sequence[Given] = DEFAULT_DEFENSES
    leakage_samples: int = 1000
    batch: int = 64
    fastest: bool = True
    command: tuple[str, ...] | None = None
    sampler: Sampler = "tpe"
    audit: AuditOptions | None = None
    tuning: Tuning | None = None
    storage: str | None = None
    artifacts: str | None = None
    study: str | None = None
    objectives: tuple[Objective, ...] = DEFAULT_OBJECTIVES

    def __post_init__(self) -> None:
        object.__setattr__(self, "objectives", checked_objectives(self.objectives))
        if self.trials is not None and self.trials < 1:
            raise CollabplanError(f"at least one trial is needed, got {self.trials}; leave it out for the default")
        if self.draws < 1 or self.leakage_samples < 1 or self.batch < 1:
            raise CollabplanError("draws, leakage samples and batch must each be at least 1")
        with suppress(UnknownStage):  # the target may bring it, and has not been loaded yet
            if self.tuning is not None and self.tuning.penalty and not self.trains_projections:
                raise CollabplanError(
                    "a penalty on reconstruction trains projections of the whole tensor, and none is searched; search "
                    "projection:rank=64 for example"
                )

    @cached_property
    def searched(self) -> tuple[DefenseRecord, ...]:
        """Every defense to choose from. Raises CollabplanError for one that cannot be read."""
        return defenses_of(self.defenses)

    @property
    def trains_projections(self) -> bool:
        """Whether projections of the whole tensor are trained with the cloud half. Raises as `searched` does."""
        projections = [each.projection for each in self.searched if each.projection is not None]
        return self.tuning is not None and any(each.rank is not None for each in projections)


@dataclass(frozen=True)
class RuledOut:
    """Points that latency, memory or parameters rule out before any network runs. Not part of the trials."""

    points: int
    cuts: int


@dataclass(frozen=True)
class SearchResult:
    """What a search found.

    `plan` is None where nothing meets the budgets; `nearest_miss` then says what came nearest and by which figures,
    and so it does where the plan sends the input itself. `trials` counts completed trials in the study, `reused`
    those of earlier runs among them, `space` the points that trials could visit, `ruled_out` those that costs
    exclude. `confirm_tries` candidates were tried on the confirm split, in this run or an earlier one with the same
    question. `audits` candidates were attacked while searching, in this run or an earlier one. `tuned_weights` are
    the plan's fine-tuned ones, by name, and `projection` the matrices of its projection. `hypervolume` is the share
    of a box that the front dominates in `objectives` (accuracy and leakage 0 to 1, latency, energy and payload 0 to
    the space's greatest): comparable between searches of one space and set of objectives only. `candidates` are all
    that were measured on the search split, in this run or an earlier one, judged by the budgets. `power` is what
    energies were computed by. `timed_out` names the step that the deadline ended, "" if nothing was left out.
    """

    plan: Plan | None
    chosen: Candidate | None
    front: tuple[Candidate, ...]
    baselines: tuple[Baseline, ...]
    nearest_miss: str | None
    trials: int
    reused: int
    space: int
    ruled_out: RuledOut
    confirm_tries: int
    hypervolume: float
    study: str
    audits: int = 0
    tuned_weights: Mapping[str, Tensor] | None = None
    projection: ProjectionMatrices | None = None
    notes: tuple[str, ...] = ()
    objectives: tuple[Objective, ...] = DEFAULT_OBJECTIVES
    power: EdgePower | None = None
    timed_out: str = ""
    candidates: tuple[Candidate, ...] = ()


def fingerprint(problem: Problem, options: SearchOptions, leakage_samples: int, metric: str) -> Mapping[str, str]:
    """Everything that accuracy and leakage of a trial depend on, by the name a user knows it by.

    Latency is not in it: it is recomputed from the profiles and the link when a study is resumed. Nor are the
    objectives, which the study itself keeps beside these marks.

    Args:
        leakage_samples: rows that leakage is really estimated on.
        metric: what accuracy is.
    """
    identity = problem.traced.identity
    return {
        "model structure": identity.structure_hash,
        "weights": identity.weights_hash,
        "validation data": hash_json([problem.search.content_hash, problem.confirm.content_hash]),
        "input range": f"{list(problem.scaling.low)} to {list(problem.scaling.high)}",
        "metric": metric,
        "public inputs": ", ".join(spec.name for spec in problem.traced.tensor_inputs if spec.public) or "none",
        "cuts": hash_json([cut.id for cut in problem.cuts]),
        "result at": problem.budgets.result_at,
        "seed": str(options.seed),
        "draws": str(options.draws),
        "defenses": ", ".join(defense.text for defense in options.searched),
        "leakage samples": str(leakage_samples),
        "revisions": json.dumps(_revisions(options)),
        **({} if problem.device.type == "cpu" else {"device": problem.device.type}),
        **({} if options.tuning is None or problem.train is None else _tuned_marks(options.tuning, problem.train)),
    }


def _revisions(options: SearchOptions) -> dict[str, int]:
    """Which code a trial's figures depend on, attacks left out: a study holds none of theirs."""
    found = revisions_of("leakage", [RIDGE_INDEX, INVERSION, COMBINED_INDEX, TOKEN_RECOVERY, SANDWICH_BOUNDS])
    for defense in options.searched:
        found |= stage_revisions(defense)
    return dict(sorted((found | (revisions_of("tuning", [FINE_TUNING]) if options.tuning else {})).items()))


def _tuned_marks(tuning: Tuning, train: Data) -> dict[str, str]:
    return {"fine-tuning": json.dumps(tuning.marks()), "training data": train.content_hash}


def described_metric(evaluate: Callable[..., Any]) -> str:
    """The name of a target's own metric, with a hash of its source where there is one."""
    name = str(getattr(evaluate, "__name__", type(evaluate).__name__))
    try:
        return f"{name} ({hash_json(inspect.getsource(evaluate))[:8]})"
    except (OSError, TypeError):
        return name
