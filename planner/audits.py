"""Runs attacks where they matter: on random candidates to calibrate, on those that may change the front, on the winner.

During the search, the black-box attackers that learn from queries are run at a modest effort on images of the search
split. The winner is attacked by the whole suite, at the requested effort and with several seeds, on images of the
confirm split, which no choice depended on.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial
from pathlib import Path

import torch
from torch import Tensor

from ..attacks.artifact_cache import ArtifactCache
from ..attacks.audit import AuditOutcome, run_audit
from ..attacks.audit_request import AuditRequest
from ..attacks.audit_target import AuditTarget
from ..attacks.catalogue import attack_named
from ..attacks.interface import Attack, Effort
from ..attacks.tiers import worst_tiers
from ..defenses.pipeline import Defense
from ..defenses.seeds import derive_seed, generator_for
from ..graph import Cut, TracedGraph
from ..records import (
    ALONE,
    DEFAULT_OBJECTIVES,
    Audited,
    Candidate,
    CollabplanError,
    Exchange,
    FloorIndex,
    Interval,
    Objective,
)
from ..targets.data import Data, InputScaling
from .budgets import PRIVACY, judged, without
from .calibration import CALIBRATION_AUDITS, Calibration, Seen
from .evaluator import Evaluator, Split
from .front import Values, added_volume, hypervolume, objectives, pareto_indices
from .output_floor import beside_floor, output_floor
from .problem import AuditOptions
from .roles import Roles
from .space import Point, point_of

STEERING = ("prior", "ridge", "inverse")
"""Attacks that are run during the search: the strongest for their cost, each in its strongest variant alone."""

STEERING_OF_CODES = (*STEERING, "kernel")
"""The same for projections of the whole tensor: few numbers, possibly trained against linear attackers."""

SHARE_AUDITED = 0.2
"""Share of the candidates within the other budgets that is audited by default."""

CHOSEN_AUDITS = 3
"""Audits beyond the random ones that are allowed even if there are few candidates."""

WORTH = 0.002
"""Least share of the front's hypervolume that an audit must be able to add."""

REFERENCE = 1.1
"""Reference point of the hypervolume in each objective, in units in which the candidates' worst is 1."""


def ask(
    traced: TracedGraph,
    cut: Cut,
    defense: Defense,
    scaling: InputScaling,
    roles: Roles,
    *,
    seed: int,
    device: str | torch.device = "cpu",
    batch_size: int = 64,
    others: Mapping[str, Data] | None = None,
    accuracy: Interval | None = None,
    tuned: Mapping[str, Tensor] | None = None,
) -> AuditRequest:
    """The audit request for a calibrated defense. Raises CollabplanError as `AuditTarget` does."""
    target = AuditTarget(
        traced,
        cut,
        defense,
        scaling,
        device=device,
        batch_size=batch_size,
        secret=seed.to_bytes(32, "little"),
        tuned=tuned,
    )
    return AuditRequest(
        target=target,
        target_data=roles.targets,
        auxiliary=roles.auxiliary,
        intercepted=roles.intercepted,
        others=others,
        sensitive=roles.sensitive,
        accuracy=accuracy,
        region=roles.region,
    )


def run_seeds(
    request: Callable[[int], AuditRequest],
    attacks: Sequence[Attack],
    effort: Effort,
    artifacts: Mapping[int, ArtifactCache],
    *,
    folder: Path,
    step: Callable[[int, str], None],
    strongest: bool = False,
    exchange: Exchange = ALONE,
) -> list[AuditOutcome]:
    """One audit of a (cut, defense) for each seed. `optimize` and `attack` find each other's, which are kept.

    Args:
        request: what is audited, by seed.
        artifacts: by seed, what several audits share; in the order in which they are run.
        step: called with the seed and the name of each step as it begins.
        attacks, effort, folder, strongest, exchange: as of `run_audit`.
    """
    found = []
    for seed, shared in artifacts.items():
        asked = request(seed)
        outcome = run_audit(
            asked,
            attacks,
            effort,
            seed=derive_seed(seed, asked.target.cut.id),
            folder=folder,
            artifacts=shared,
            strongest=strongest,
            exchange=exchange,
            step=partial(step, seed),
        )
        found.append(outcome)
    return found


@dataclass(eq=False)
class Audits:
    """The audits of one search. Finished attacks are kept in `folder`, by content, and never run twice."""

    evaluator: Evaluator
    options: AuditOptions
    folder: Path
    tell: Callable[[str, float], None] = lambda _, __: None
    calibration: Calibration = field(default_factory=lambda: Calibration((), ()))
    _made: dict[Point, Audited] = field(default_factory=dict)
    _shared: dict[int, ArtifactCache] = field(default_factory=dict)
    _floors: dict[str, FloorIndex | None] = field(default_factory=dict)
    _open: bool = False

    @property
    def made(self) -> int:
        """Candidates that were attacked during the search, now or in an earlier run."""
        return len(self._made)

    def _steering(self, point: Point) -> tuple[str, ...]:
        projection = point.defense.projection
        return STEERING_OF_CODES if projection is not None and projection.rank is not None else STEERING

    @property
    def notes(self) -> tuple[str, ...]:
        """What the user should know about the origin of the figures."""
        effort = self.options.search_effort.name
        names = sorted({name for point in self._made for name in self._steering(point)}, key=STEERING_OF_CODES.index)
        said = (
            f"{self.made} candidates were attacked while searching ({', '.join(names)}; {effort} effort, so lower "
            "bounds)"
        )
        if not self._open:
            return (said,)
        if self.calibration.coverage is not None:
            return (f"{said}; the index of the others is predicted from these: {self.calibration.coverage.text}",)
        return (
            f"{said}; fewer than {CALIBRATION_AUDITS} of them at random, so nothing is predicted: without an audit the "
            "index counts as 1",
        )

    def calibrated(self, candidates: Sequence[Candidate]) -> tuple[Candidate, ...]:
        """The candidates with their audits, or with a prediction from the audits of others.

        Random candidates are audited first. If leakage is an objective, the candidate that could add most to the
        front's hypervolume follows, one at a time. Only candidates within the other budgets are audited, since no
        other can become the plan.
        """
        kept = without(self.evaluator.problem.budgets, PRIVACY)
        relevant = sorted(
            (c for c in candidates if c.leakage.status == "estimated" and judged(c, kept).meets_budgets),
            key=lambda c: point_of(c).key,
        )
        order = torch.randperm(len(relevant), generator=generator_for(self.evaluator.options.seed, "calibration"))
        most = self._most(len(relevant))
        at_random = [relevant[at] for at in order[: min(CALIBRATION_AUDITS, most)].tolist()]
        for done, candidate in enumerate(at_random):
            self.tell(f"audit {done + 1} of at most {most}, at random: {candidate.cut_name}", done / most)
            self.searched(candidate)
        seen = [self._seen(candidate) for candidate in at_random]
        chosen: list[Seen] = []
        while len(at_random) + len(chosen) < most:
            self.calibration = Calibration(seen, chosen)
            telling = most_telling(self._known(candidates), relevant, self.evaluator.options.objectives)
            if telling is None:
                break
            done = len(at_random) + len(chosen)
            self.tell(f"audit {done + 1} of at most {most}: {telling.cut_name}", done / most)
            self.searched(telling)
            chosen.append(self._seen(telling))
        self.calibration = Calibration(seen, chosen)
        self._open = len(at_random) + len(chosen) < len(relevant)
        return tuple(self._known(candidates))

    def _most(self, count: int) -> int:
        asked = self.options.most
        if asked is None:
            asked = max(CALIBRATION_AUDITS + CHOSEN_AUDITS, math.ceil(SHARE_AUDITED * count))
        return min(asked, count)

    def _known(self, candidates: Sequence[Candidate]) -> list[Candidate]:
        return [self.known(candidate) for candidate in candidates]

    def known(self, candidate: Candidate) -> Candidate:
        """The candidate with its audit or with a prediction; unchanged if its index is not an estimate."""
        audited = self._made.get(point_of(candidate))
        if audited is None:
            return self.predicted(candidate)
        known = candidate.model_copy(update={"audited": audited, "predicted": None})
        return judged(known, self.evaluator.problem.budgets)

    def predicted(self, candidate: Candidate) -> Candidate:
        """The candidate, measured on either split, with the index that attackers are predicted to reach."""
        if candidate.leakage.status != "estimated":
            return candidate
        predicted = self.calibration.predict(candidate.leakage.index.value)
        return judged(candidate.model_copy(update={"predicted": predicted}), self.evaluator.problem.budgets)

    def _seen(self, candidate: Candidate) -> Seen:
        return Seen(candidate.leakage.index.value, self._made[point_of(candidate)].figures.index)

    @cached_property
    def _roles(self) -> Roles:
        """Targets and attacker's images during the search, from the search split."""
        problem = self.evaluator.problem
        return problem.attackers.while_searching(problem.search, self.options.search_effort.targets)

    def searched(self, candidate: Candidate) -> Candidate:
        """The candidate attacked on the search split, at the search's effort."""
        point = point_of(candidate)
        if point not in self._made:
            attacks = tuple(attack_named(name) for name in self._steering(point))
            self._made[point] = self._audited(point, self._roles, attacks, self.options.search_effort, "search", 1)
        return self.known(candidate)

    def hardest(self, candidate: Candidate) -> Candidate:
        """A candidate of the confirm split, attacked there by the whole suite at the requested effort."""
        if candidate.leakage.status != "estimated":
            return candidate
        options, roles = self.options, self.evaluator.problem.attackers
        audited = self._audited(
            point_of(candidate), roles, options.attacks, options.final_effort, "confirm", options.seeds
        )
        known = candidate.model_copy(update={"audited": audited, "predicted": None})
        return judged(known, self.evaluator.problem.budgets)

    def _audited(
        self, point: Point, roles: Roles, attacks: tuple[Attack, ...], effort: Effort, split: Split, seeds: int
    ) -> Audited:
        evaluator, problem = self.evaluator, self.evaluator.problem
        cut = evaluator.cuts[point.cut_id]

        def request(seed: int) -> AuditRequest:
            return ask(
                problem.traced,
                cut,
                evaluator.defense(point),
                problem.scaling,
                roles,
                seed=seed,
                tuned=evaluator.tuned(point) if split == "confirm" else None,  # no attack of the search uses it
            )

        first = evaluator.options.seed
        outcomes = run_seeds(
            request,
            attacks,
            effort,
            {seed: self._shared.setdefault(seed, ArtifactCache(seed)) for seed in range(first, first + seeds)},
            folder=self.folder,
            strongest=split == "search",
            exchange=evaluator.exchange,
            step=lambda _, what: self.tell(f"{cut.name}: {what}", 0.0) if split == "confirm" else None,
        )
        found = [outcome.record for outcome in outcomes]
        tiers = worst_tiers(found)
        if not tiers:
            raise CollabplanError(f"no attack gave a figure at {cut.name}; run with --no-audit to plan on estimates")
        names = tuple(attack.name for attack in attacks)
        made = Audited(effort=found[0].effort, split=split, seeds=seeds, attacks=names, figures=tiers[-1])
        return made if split == "search" else beside_floor(made, self._floor(effort, attacks, roles))

    def _floor(self, effort: Effort, attacks: tuple[Attack, ...], roles: Roles) -> FloorIndex | None:
        """What the declared output tells these attackers; attacked once for each effort."""
        if effort.name not in self._floors:
            evaluator, problem = self.evaluator, self.evaluator.problem
            seed = evaluator.options.seed
            self._floors[effort.name] = output_floor(
                problem,
                lambda cut, defense: ask(problem.traced, cut, defense, problem.scaling, roles, seed=seed),
                attacks,
                effort,
                seed=seed,
                folder=self.folder,
                exchange=evaluator.exchange,
            )
        return self._floors[effort.name]


def most_telling(
    candidates: Sequence[Candidate], relevant: Sequence[Candidate], names: Sequence[Objective] = DEFAULT_OBJECTIVES
) -> Candidate | None:
    """The candidate whose audit could add most to the front's hypervolume; None if no audit is worth it.

    An audit could add the volume between the expected front and the front with the candidate at the low end of its
    prediction. It adds nothing if leakage is not an objective.

    Args:
        candidates: all candidates, audited or predicted.
        relevant: those that may be audited.
        names: the front's objectives.
    """
    if "leakage" not in names:
        return None
    scaled, leakage = _scaled(candidates, names), names.index("leakage")
    reference = (REFERENCE,) * len(names)
    expected = [scaled(objectives(candidate, names)) for candidate in candidates]
    front = [expected[at] for at in pareto_indices(expected)]
    points = {point_of(candidate) for candidate in relevant}
    best, most = None, WORTH * hypervolume(front, reference)
    for candidate, values in zip(candidates, expected, strict=True):
        if candidate.predicted is None or point_of(candidate) not in points:
            continue
        hoped = (*values[:leakage], candidate.predicted.low, *values[leakage + 1 :])
        gain = added_volume(hoped, front, reference)
        if gain > most:
            best, most = candidate, gain
    return best


def _scaled(candidates: Sequence[Candidate], names: Sequence[Objective]) -> Callable[[Values], Values]:
    """Scales objectives so that the candidates' best is 0 and their worst 1; the leakage index stays as it is."""
    columns = zip(*(objectives(candidate, names) for candidate in candidates), strict=True)
    ends = [
        (0.0, 1.0) if name == "leakage" else (min(column), max(column))
        for name, column in zip(names, columns, strict=True)
    ]

    def scale(values: Values) -> Values:
        return tuple((value - low) / max(high - low, 1e-12) for value, (low, high) in zip(values, ends, strict=True))

    return scale
