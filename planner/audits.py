"""Runs attacks where they matter: on random candidates to calibrate, on those that may change the front, on the winner.

During the search, the black-box attackers that learn from queries are run at a modest effort on images of the search
split. The winner is attacked by the whole suite, at the requested effort and with several seeds, on images of the
confirm split, which no choice depended on.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from pathlib import Path

import torch
from torch import Tensor

from ..attacks.artifact_cache import ArtifactCache
from ..attacks.audit import AuditOutcome, run_audit
from ..attacks.audit_data import AuditData
from ..attacks.audit_request import AttackVariant, AuditRequest
from ..attacks.audit_target import AuditTarget
from ..attacks.catalogue import attack_named
from ..attacks.interface import Attack, Effort
from ..attacks.race import CONSISTENCY, RACED
from ..attacks.threat import AttackFailed
from ..attacks.tiers import worst_tiers
from ..attacks.time_limit import TimeUp, check_time
from ..defenses.pipeline import Defense
from ..defenses.seeds import derive_seed, generator_for
from ..graph import Cut, TracedGraph
from ..records import (
    ALONE,
    DEFAULT_OBJECTIVES,
    Audited,
    Budgets,
    Candidate,
    CollabplanError,
    Exchange,
    FloorIndex,
    Interval,
    Objective,
)
from ..records.sign_off import EffortName
from ..targets.data import Data, InputScaling
from .budgets import PRIVACY, judged, without
from .calibration import CALIBRATION_AUDITS, Calibration, Seen
from .evaluator import Evaluator, Split
from .front import Values, added_volume, hypervolume, objectives, pareto_indices
from .output_floor import beside_floor, output_floor
from .problem import AuditOptions, Rung
from .roles import Roles
from .space import Point, point_of

STEERING = ("prior", "ridge", "retrieval", "inverse")
"""Attacks that are run during the search: the strongest for their cost, each in its strongest variant alone."""

OF_CODES = "kernel"
"""Run besides for projections of the whole tensor: few numbers, possibly trained against linear attackers."""

OF_PICTURES = "recognition"
"""Run besides where the share of reconstructed pictures is limited: it reaches the most."""

SHARE_AUDITED = 0.2
"""Share of the candidates within the other budgets that is audited by default."""

CHOSEN_AUDITS = 3
"""Audits beyond the random ones that are allowed even if there are few candidates."""

WORTH = 0.002
"""Least share of the front's hypervolume that an audit must be able to add."""

PROBED_IMAGES, PROBED_STEPS = 256, (4, 24)
"""What the speed of this machine is measured by: so many images, and two trainings of so many steps."""

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


def raced_for(budgets: Budgets) -> tuple[str, ...]:
    """The figures that attackers race for under these budgets."""
    return RACED if budgets.max_consistency is None else (*RACED, CONSISTENCY)


def run_seeds(
    request: Callable[[int], AuditRequest],
    attacks: Sequence[Attack],
    effort: Effort,
    artifacts: Mapping[int, ArtifactCache],
    *,
    folder: Path,
    step: Callable[[int, str], None],
    strongest: bool = False,
    naive: bool = True,
    racing: bool = True,
    raced_for: Sequence[str] = RACED,
    exchange: Exchange = ALONE,
) -> list[AuditOutcome]:
    """One audit of a (cut, defense) for each seed. `optimize` and `attack` find each other's, which are kept.

    Args:
        request: what is audited, by seed.
        artifacts: by seed, what several audits share; in the order in which they are run.
        step: called with the seed and the name of each step as it begins.
        attacks, effort, folder, strongest, naive, racing, raced_for, exchange: as of `run_audit`.
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
            naive=naive,
            racing=racing,
            raced_for=raced_for,
            exchange=exchange,
            step=partial(step, seed),
        )
        found.append(outcome)
    return found


@dataclass(eq=False)
class Audits:
    """The audits of one search. Finished attacks are kept in `folder`, by content, and never run twice.

    Attributes:
        reached: the last of `AuditOptions.rungs` that a winner must stand now; None: all of them.
        found: called with each candidate's point once all attacks of a rung have been run on it.
        spent: called with an effort's name and the seconds that its attacks took from one seed, now or when they were
            run; "search" stands for the audits that steer.
    """

    evaluator: Evaluator
    options: AuditOptions
    folder: Path
    tell: Callable[[str, float], None] = lambda _, __: None
    calibration: Calibration = field(default_factory=lambda: Calibration((), ()))
    reached: int | None = None
    found: Callable[[Point], None] = lambda _: None
    spent: Callable[[str, float], None] = lambda _, __: None
    _made: dict[Point, Audited] = field(default_factory=dict)
    _suites: dict[tuple[Point, Rung], Audited] = field(default_factory=dict)
    _shared: dict[int, ArtifactCache] = field(default_factory=dict)
    _floors: dict[str, FloorIndex | None] = field(default_factory=dict)
    _open: bool = False

    @property
    def made(self) -> int:
        """Candidates that were attacked during the search, now or in an earlier run."""
        return len(self._made)

    def _steering(self, point: Point) -> tuple[str, ...]:
        projection, limited = point.defense.projection, self.evaluator.problem.budgets.max_reconstruction is not None
        codes = projection is not None and projection.rank is not None
        return (*STEERING, *[OF_CODES] * codes, *[OF_PICTURES] * limited)

    @property
    def notes(self) -> tuple[str, ...]:
        """What the user should know about the origin of the figures."""
        if not self._made:
            return ()
        effort = self.options.search_effort.name
        order = (*STEERING, OF_CODES, OF_PICTURES)
        names = sorted({name for point in self._made for name in self._steering(point)}, key=order.index)
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
        front's hypervolume follows, one at a time, until nothing more is worth it or the deadline has passed. Only
        candidates within the other budgets are audited, since no other can become the plan.
        """
        kept = without(self.evaluator.problem.budgets, PRIVACY)
        relevant = sorted(
            (c for c in candidates if c.leakage.status == "estimated" and judged(c, kept).meets_budgets),
            key=lambda c: point_of(c).key,
        )
        order = torch.randperm(len(relevant), generator=generator_for(self.evaluator.options.seed, "calibration"))
        most = self._most(len(relevant))
        at_random = [relevant[at] for at in order[: min(CALIBRATION_AUDITS, most)].tolist()]
        seen: list[Seen] = []
        chosen: list[Seen] = []
        try:
            for candidate in at_random:
                self.tell(f"audit {len(seen) + 1} of at most {most}, at random: {candidate.cut_name}", len(seen) / most)
                self.searched(candidate)
                seen.append(self._seen(candidate))
            self.calibration = Calibration(seen, chosen)
            while (done := len(seen) + len(chosen)) < most and (telling := self._telling(candidates, relevant)):
                self.tell(f"audit {done + 1} of at most {most}: {telling.cut_name}", done / most)
                self.searched(telling)
                chosen.append(self._seen(telling))
                self.calibration = Calibration(seen, chosen)
        except TimeUp:
            pass  # a share of the time is spent here, and what was attacked by then counts
        self.calibration = Calibration(seen, chosen)
        self._open = len(seen) + len(chosen) < len(relevant)
        return tuple(self.known(candidate) for candidate in candidates)

    def _telling(self, candidates: Sequence[Candidate], relevant: Sequence[Candidate]) -> Candidate | None:
        known = [self.known(candidate) for candidate in candidates]
        return most_telling(known, relevant, self.evaluator.options.objectives)

    def _most(self, count: int) -> int:
        asked = self.options.most
        if asked is None:
            asked = max(CALIBRATION_AUDITS + CHOSEN_AUDITS, math.ceil(SHARE_AUDITED * count))
        return min(asked, count)

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

    @property
    def proof(self) -> EffortName:
        """The effort that proves; see `budgets.privacy_checks`."""
        return self.options.final_effort.name

    def hardest(self, candidate: Candidate) -> Candidate:
        """A candidate of the confirm split, attacked there rung by rung up to the one reached.

        A rung that shows that a budget is broken is the last.
        """
        if candidate.leakage.status != "estimated":
            return candidate
        point, known = point_of(candidate), candidate
        for rung in self.options.rungs[: None if self.reached is None else self.reached + 1]:
            if (point, rung) not in self._suites:
                roles = self.evaluator.problem.attackers
                found = self._audited(point, roles, rung.attacks, rung.effort, "confirm", rung.seeds)
                self._suites[point, rung] = found
                self.found(point)
            known = self._with(candidate, self._suites[point, rung])
            if not known.meets_budgets:
                break
        return known

    def evidence(self, candidate: Candidate) -> Candidate:
        """A candidate of the confirm split with the strongest audit that was finished; nothing is run."""
        point = point_of(candidate)
        done = [self._suites[point, rung] for rung in self.options.rungs if (point, rung) in self._suites]
        strongest = done[-1] if done else self._made.get(point)
        return candidate if strongest is None else self._with(candidate, strongest)

    def faced_suite(self, candidate: Candidate) -> bool:
        """True if all attacks of any rung have been run on the candidate."""
        point = point_of(candidate)
        return any(each == point for each, _ in self._suites)

    def attacked(self, candidate: Candidate) -> bool:
        """True if an audit of the candidate was finished, on either split."""
        return point_of(candidate) in self._made or self.faced_suite(candidate)

    def _with(self, candidate: Candidate, audited: Audited) -> Candidate:
        known = candidate.model_copy(update={"audited": audited, "predicted": None})
        return judged(known, self.evaluator.problem.budgets, self.proof)

    def step_s(self, point: Point, effort: Effort) -> float | None:
        """Seconds that one training step of an attacker at a point takes now; None if none can be trained there."""
        seed, attack = self.evaluator.options.seed, attack_named("inverse")
        few = replace(effort, fit_samples=PROBED_IMAGES, until_converged=False)
        try:
            view = AuditData(self._request(point, self._roles, "search")(seed), few, seed, self._artifacts(seed)).view(
                "black-box", AttackVariant(attack)
            )
            taken = []
            for steps in PROBED_STEPS:
                started = time.perf_counter()
                attack.fit(view, replace(few, train_steps=steps), generator_for(seed, "probe"))
                taken.append(time.perf_counter() - started)
        except (CollabplanError, AttackFailed):
            return None
        return max(taken[1] - taken[0], 0.0) / (PROBED_STEPS[1] - PROBED_STEPS[0])

    def _request(self, point: Point, roles: Roles, split: Split) -> Callable[[int], AuditRequest]:
        """What is audited at a point, by seed."""
        evaluator, problem = self.evaluator, self.evaluator.problem
        return lambda seed: ask(
            problem.traced,
            evaluator.cuts[point.cut_id],
            evaluator.defense(point),
            problem.scaling,
            roles,
            seed=seed,
            device=problem.device,
            tuned=evaluator.tuned(point) if split == "confirm" else None,  # no attack of the search uses it
        )

    def _artifacts(self, seed: int) -> ArtifactCache:
        return ArtifactCache(seed, self.evaluator.options.memory)

    def _audited(
        self, point: Point, roles: Roles, attacks: tuple[Attack, ...], effort: Effort, split: Split, seeds: int
    ) -> Audited:
        check_time()
        evaluator = self.evaluator
        cut, first = evaluator.cuts[point.cut_id], evaluator.options.seed
        outcomes = run_seeds(
            self._request(point, roles, split),
            attacks,
            effort,
            {seed: self._shared.setdefault(seed, self._artifacts(seed)) for seed in range(first, first + seeds)},
            folder=self.folder,
            strongest=split == "search",
            naive=effort == self.options.final_effort,
            raced_for=raced_for(evaluator.problem.budgets),
            exchange=evaluator.exchange,
            step=lambda _, what: self.tell(f"{cut.name}: {what}", 0.0) if split == "confirm" else None,
        )
        found = [outcome.record for outcome in outcomes]
        seconds = sum(result.seconds for record in found for result in record.attacks)
        self.spent("search" if split == "search" else effort.name, seconds / seeds)
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
            try:
                self._floors[effort.name] = output_floor(
                    problem,
                    lambda cut, defense: ask(
                        problem.traced, cut, defense, problem.scaling, roles, seed=seed, device=problem.device
                    ),
                    attacks,
                    effort,
                    seed=seed,
                    folder=self.folder,
                    exchange=evaluator.exchange,
                )
            except TimeUp:
                return None  # the audit that it stands beside is finished, and counts
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
