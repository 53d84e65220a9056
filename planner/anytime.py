"""Evidence in the order of what it is worth: at any moment there is a plan, and it is the best supported one so far.

Estimates come first, and a plan by estimates as soon as one candidate is measured. The winner is then attacked by most
of the suite at quick effort, the search's audits follow, and the winner climbs the rungs of `AuditOptions`: whoever
falls is replaced by the next in line. A deadline ends this between any two steps, and what was known by then counts.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace

from ..attacks.time_limit import Deadline, TimeUp, until
from ..estimators.leakage import by_definition
from ..records import Baseline, Candidate
from ..records.sign_off import EffortName
from .audits import Audits
from .baselines import Role
from .budgets import judged
from .choose import CONFIRM_TRIES, LATE_AUDITS, Choice, Excluded, choose, shown_front
from .evaluator import Evaluator
from .measured import Measured
from .pace import Pace, about, rescaled, suite_s
from .plan_record import ChosenPlan, plan_of, with_tensors
from .search import OnProgress, Searched, Walk, search_points, search_together
from .shared_study import SharedStore
from .space import Point, point_of
from .study import TrialStore

OnPlan = Callable[[ChosenPlan | None], None]
"""Called with each better supported plan; with None if the last one has fallen and no other is left."""

ESTIMATING, ESTIMATING_ALONE = 1 / 3, 3 / 4
"""Share of the time for estimates, if they have found a plan by then: with attacks to come, and without. The rest of
the time without is for the baselines, and to measure the winner on the confirm split."""

STEERING = 1 / 3
"""Share of the time left after the first attack on the winner for the audits that steer the search."""

EARLY_AUDITS = 3
"""Candidates attacked before the first attack on the winner, only because they would win."""

FORECAST_AFTER = 5
"""Measured candidates by whose durations the others' are foretold."""

FIRST, FURTHER = "cut", "trial"
"""Names of steps: the first candidate at a cut in a run, which computes what all of them share, and the others."""

PEEK_TRIES = 3
"""Candidates that may be measured on the confirm split before all are estimated: each takes a try from the later."""

FIRST_PEEK_S, NEXT_PEEK_S = 10.0, 60.0
"""How often the candidates measured so far are looked through for a plan: until there is one, and then."""


class Planning:
    """One search: what is known of its candidates, and the choice that follows from it.

    Args:
        measured: candidates on both splits, and which of them were tried on the confirm split.
        evaluator: measures candidates.
        audits: attacks them; None: the plan rests on estimates.
        excluded: points that costs ruled out.
        study: its name.
        deadline: when to end.
        on_plan: hears of every better supported plan.
        tell: hears of progress.
        say: hears beforehand how long each step takes here.
        pace: what steps of this model took here.
    """

    def __init__(
        self,
        evaluator: Evaluator,
        measured: Measured,
        audits: Audits | None,
        excluded: Sequence[Excluded],
        study: str,
        deadline: Deadline,
        on_plan: OnPlan | None,
        tell: OnProgress,
        say: Callable[[str], None],
        pace: Pace,
    ) -> None:
        self.evaluator, self.measured, self.audits = evaluator, measured, audits
        self.excluded, self.study = excluded, study
        self.deadline, self.on_plan, self.tell = deadline, on_plan, tell
        self.say, self.pace = say, pace
        self.budgets = evaluator.problem.budgets
        self.proof: EffortName | None = None if audits is None else audits.proof
        self.candidates: tuple[Candidate, ...] = ()
        self.roles: Mapping[Role, Point] = {}
        self.beside: tuple[Candidate, ...] = ()
        self.choice = Choice(None, None, 0)
        self.made: ChosenPlan | None = None
        self.trials = self.planned = 0
        self._cuts_left: set[str] = set()
        self.timed_out = ""
        self._private: tuple[Candidate, ...] = ()
        self._estimating = deadline.part(ESTIMATING_ALONE if audits is None else ESTIMATING)
        self._peeked = -math.inf
        self._forecast = False
        if audits is not None:
            audits.found, audits.spent = self._found, pace.note

    @property
    def hasty(self) -> bool:
        """True if somebody waits for a plan, or for the end."""
        return self.on_plan is not None or self.deadline.at < math.inf

    @property
    def tries(self) -> int:
        """Candidates that were tried on the confirm split, in earlier runs too."""
        return len(self.measured.tried)

    @property
    def unbeatable(self) -> bool:
        """True if nothing private crosses under the plan: none can leak less, and there is nothing to attack."""
        chosen = self.choice.confirmed
        return chosen is not None and chosen.leakage.status == "by-definition" and chosen.leakage.index.high == 0

    # Estimates

    def search(self, store: TrialStore | SharedStore, walk: Walk) -> Searched:
        """Measure candidates until all are, nothing can beat the plan, or the time for estimates is up."""
        if self._stops_early:
            self._try_private(walk.allowed)
        self.planned = walk.total(0, len(walk.allowed))
        self._cuts_left = {point.cut_id for point in walk.allowed}
        walk = replace(walk, evaluate=self._measured, enough=self._enough)
        if isinstance(store, SharedStore):
            found = search_together(store, walk, self.tell)
        else:
            found = search_points(store, walk, self.tell)
        self.trials = len(found.candidates)
        if self.trials < self.planned and (self.deadline.passed or self._estimating.passed) and not self.unbeatable:
            self.timed_out = f"estimates: {self.trials} candidates measured"
        seen = {point_of(candidate): candidate for candidate in (*self._private, *found.candidates)}
        self.candidates = tuple(judged(candidate, self.budgets) for candidate in seen.values())
        return found

    @property
    def _stops_early(self) -> bool:
        """True if the search ends once nothing can beat the plan: not where a number of trials was asked for."""
        return self.deadline.at < math.inf and self.evaluator.options.trials is None

    def _try_private(self, allowed: Sequence[Point]) -> None:
        """Measure a point under which nothing private crosses, before any other: if it stands, it is the answer."""
        for point in allowed:
            known = by_definition(self.evaluator.cuts[point.cut_id], result_at=self.budgets.result_at)
            if known is not None and known.index.high == 0:
                self._private = (self.measured.once(point),)
                self._peek(self._private)
                return

    def _measured(self, point: Point) -> Candidate:
        known = self.measured.known(point)
        if known is not None:
            return known
        step = FIRST if point.cut_id in self._cuts_left else FURTHER
        with until(self.deadline if self.made is None else self._estimating), self.pace.timed(step):
            found = self.evaluator.evaluate(point)
        self._cuts_left.discard(point.cut_id)
        return found

    def _estimates_s(self, measured: int) -> float | None:
        """About how long the candidates take that are still to be measured; None: unknown."""
        first, further = self.pace.expected(FIRST), self.pace.expected(FURTHER)
        left = max(self.planned - measured, 0)
        cuts = min(len(self._cuts_left), left)
        if (first is None and cuts) or (further is None and left > cuts):
            return None
        return cuts * (first or 0.0) + (left - cuts) * (further or 0.0)

    def _enough(self, found: Sequence[Candidate]) -> bool:
        if self._stops_early and self.unbeatable:
            return True
        self._peek(found)
        if len(found) >= FORECAST_AFTER:
            self.foretell(len(found))
        if self.deadline.passed or (self._estimating.passed and self.made is not None):
            return True
        return self.unbeatable and self._stops_early

    def _peek(self, found: Sequence[Candidate]) -> None:
        """Look for a plan among what was measured so far, if somebody waits for one."""
        patience = FIRST_PEEK_S if self.made is None else NEXT_PEEK_S
        now = self.deadline.clock()
        last_chance = self.made is None and (self._estimating.passed or self.deadline.passed)
        if not self.hasty or not found or (now - self._peeked < patience and not last_chance):
            return
        self.trials, self.candidates = len(found), tuple(judged(candidate, self.budgets) for candidate in found)
        with suppress(TimeUp):
            choice = self._choose(self.candidates, self.measured.confirm, tries=PEEK_TRIES)
            if choice.searched is not None:
                self._keep(choice)
        self._peeked = self.deadline.clock()

    def foretell(self, measured: int = 0) -> None:
        """Say once what will be done, and about how long each step takes here.

        Args:
            measured: candidates that are measured already.
        """
        if self._forecast or not self.hasty or self.made is None or self.deadline.passed:
            return
        self._forecast = True
        parts = self._estimates_said(measured)
        if self.audits is not None:
            rungs, first = self.audits.options.rungs, self.audits.options.rungs[0].effort
            known = self.pace.expected(first.name)
            if known is None:
                step = None
                with suppress(TimeUp):
                    step = self.audits.step_s(point_of(self.made.plan.searched), first)
                known = None if step is None else suite_s(step, first)
            for rung in rungs if known is not None else ():
                at = self.pace.expected(rung.effort.name) or rescaled(known or 0.0, first, rung.effort)
                seeds = f", {rung.seeds} seeds" if rung.seeds > 1 else ""
                parts.append(f"the winner attacked at {rung.effort.name} effort{seeds} {about(at * rung.seeds)}")
        limit = "" if self.deadline.at == math.inf else f"; what is done within {about(self.deadline.left)} counts"
        if parts:
            self.say(f"still to come: {'; '.join(parts)}{limit}")

    def _estimates_said(self, measured: int) -> list[str]:
        takes, left = self._estimates_s(measured), self._estimating.left
        if takes is None or takes <= left:
            return [] if takes is None else [f"estimates {about(takes)}"]
        return [f"estimates {about(left)}, of the {about(takes)} that all candidates would take"]

    def _choose(
        self,
        candidates: Sequence[Candidate],
        confirm: Callable[[Candidate], Candidate],
        audits: Audits | None = None,
        beside: Sequence[Candidate] = (),
        *,
        late: int = LATE_AUDITS,
        tries: int = CONFIRM_TRIES,
    ) -> Choice:
        """One of the choices of this search, all of which share the tries on the confirm split."""
        return choose(
            candidates,
            self.budgets,
            confirm,
            self.excluded,
            audits,
            beside,
            proof=self.proof,
            late=late,
            tried=self.measured.tried,
            tries=tries,
        )

    # Attacks

    def decide(self, roles: Mapping[Role, Point], searched: Sequence[Candidate], beside: Sequence[Candidate]) -> None:
        """Choose by estimates, then by harder and harder attacks, until all were run or the deadline has passed.

        Args:
            roles: the baselines' points.
            searched: the baselines on the search split that no trial had measured.
            beside: all baselines on the confirm split.
        """
        self.roles, self.beside = roles, tuple(beside)
        measured = (*self.candidates, *searched)
        self.candidates = measured
        try:
            self._keep(self._choose(measured, self.measured.confirm, beside=self.beside))
        except TimeUp:
            self.timed_out = self.timed_out or f"choice among {len(measured)} candidates"
        if self.audits is None or self.unbeatable:
            return
        self.foretell(self.planned)
        left_out = self.timed_out
        try:
            if self.hasty:
                self.timed_out = "attacks at quick effort"
                self._climb(0, measured, EARLY_AUDITS)
            self.timed_out = "attacks that steer the search"
            with until(self.deadline.part(STEERING)):
                candidates = self.audits.calibrated(measured)
            for rung in range(len(self.audits.options.rungs)):
                step = self.audits.options.rungs[rung]
                self.timed_out = f"attacks at {step.effort.name} effort, {step.seeds} seed{'s' * (step.seeds > 1)}"
                candidates = self._climb(rung, candidates, LATE_AUDITS)
            self.timed_out = left_out
        except TimeUp:
            self._keep(self._settled())

    def _climb(self, rung: int, candidates: Sequence[Candidate], late: int) -> tuple[Candidate, ...]:
        """Choose among candidates with the suite at a rung; returns them with what was found out."""
        assert self.audits is not None
        self.audits.reached = rung
        known = [candidate if candidate.audited else self.audits.known(candidate) for candidate in candidates]
        beside = [candidate if candidate.audited else self.audits.predicted(candidate) for candidate in self.beside]
        choice = self._choose(known, self.measured.confirm, self.audits, beside, late=late)
        self.beside = choice.beside
        self._keep(choice)
        return choice.candidates

    def _found(self, point: Point) -> None:
        """The suite has attacked a candidate. If it is the plan's, the plan is made anew: it may have fallen."""
        held = self.choice.searched
        if self.hasty and held is not None and point_of(held) == point:
            self._keep(self._settled())

    def _settled(self) -> Choice:
        """The choice by what is known now; nothing is attacked.

        Whoever the suite has attacked comes first, then whoever the search's audits have, then everybody else by
        estimates.
        """
        audits = self.audits
        assert audits is not None

        def confirm(candidate: Candidate) -> Candidate:
            return audits.evidence(self.measured.confirm(candidate))

        pools = (
            [audits.known(candidate) for candidate in self.candidates if audits.faced_suite(candidate)],
            [audits.known(candidate) for candidate in self.candidates if audits.attacked(candidate)],
            self.candidates,
        )
        choice = self.choice
        for pool in pools:
            attacked = pool is not pools[-1]
            beside = [audits.evidence(audits.predicted(each) if attacked else each) for each in self.beside]
            choice = self._choose(pool, confirm, beside=beside)
            if choice.searched is not None:
                break
        return choice

    # The plan

    @property
    def front(self) -> tuple[Candidate, ...]:
        """The front of all candidates with what is known of them."""
        every = {point_of(candidate): candidate for candidate in self.candidates}
        every |= {point_of(candidate): candidate for candidate in self.choice.candidates}
        return shown_front(tuple(every.values()), self.choice.searched, self.evaluator.options.objectives)

    @property
    def baselines(self) -> tuple[Baseline, ...]:
        """The baselines on the confirm split, by role."""
        shown = {point_of(candidate): candidate for candidate in (*self.beside, *self.choice.beside)}
        return tuple(Baseline(role=role, candidate=shown[point]) for role, point in self.roles.items())

    def _keep(self, choice: Choice) -> None:
        """Hold a choice, and tell of its plan if that is another one."""
        self.choice = choice
        plan = plan_of(self.evaluator, choice, self.front, self.baselines, self.trials, self.study)
        made = None if plan is None else with_tensors(self.evaluator, plan)
        had, self.made = self.made, made
        if self.on_plan is None or (had is None and made is None):
            return
        if had is None or made is None or had.plan.model_copy(update={"provenance": made.plan.provenance}) != made.plan:
            self.on_plan(made)
