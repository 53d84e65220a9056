"""Chooses one of the candidates that meet the budgets, and checks it on data that the search never saw.

The best of hundreds of candidates looks better on the search split than it is. The choice is therefore measured again
on the confirm split, and the budgets must hold there too. If they do not, the next candidate is tried. Every try reuses
the same confirm split, so the number of tries is limited and reported, and each is held to a higher level: the chance
that any of them passes by luck is at most 5 %, as if there had been one.

Baselines are always measured on both splits and shown beside the plan. They are candidates like all others. A candidate
is also dropped when a baseline beats it on the confirm split within the same budgets. The plan is thus never worse than
a baseline shown beside it, and it leaks least on the search split of all candidates that were not dropped.

If a candidate's leakage on the confirm split exceeds the interval that it won by, it must win again with the higher
figure.

With audits, a winner that has not been attacked yet is attacked on the search split first, and then by the whole suite
on the confirm split. A baseline beats a candidate only after the same suite has attacked it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Protocol

from ..estimators.share_interval import LEVEL, widened
from ..records import DEFAULT_OBJECTIVES, USUAL_BITS, Budgets, Candidate, Interval, Objective
from ..records.sign_off import EffortName
from .budgets import CONFIRM_SPLIT, PRIVACY, Check, Costs, checks, cost_checks, judged, without, worst_excess
from .front import pareto_front
from .space import Point, point_of

CONFIRM_TRIES = 10

LATE_AUDITS = 10
"""Most candidates that are attacked only because they would win."""


@dataclass(frozen=True, slots=True)
class Choice:
    """The chosen candidate as measured on the search split and on the confirm split, or the nearest miss.

    Attributes:
        searched: the chosen candidate on the search split; None if nothing was chosen.
        confirmed: the same on the confirm split.
        tries: candidates that were measured on the confirm split by now, not counting baselines.
        nearest_miss: a sentence with figures if nothing was chosen, or what sends the input itself.
        candidates: all of them after the choice, with the audits it made and the violations it found on the confirm
            split.
        beside: the baselines on the confirm split. A budget that one misses only on the search split is listed among
            its violations too.
    """

    searched: Candidate | None
    confirmed: Candidate | None
    tries: int
    nearest_miss: str | None = None
    candidates: tuple[Candidate, ...] = ()
    beside: tuple[Candidate, ...] = ()


@dataclass(frozen=True, slots=True)
class Excluded:
    """A point that is ruled out by its costs, before any network runs."""

    point: Point
    cut_name: str
    costs: Costs


class Auditor(Protocol):
    """Attacks candidates; see `audits.Audits`."""

    def searched(self, candidate: Candidate) -> Candidate:
        """The candidate with its audit on the search split."""

    def hardest(self, candidate: Candidate) -> Candidate:
        """A candidate that was measured on the confirm split, with its audit there."""


def choose(
    candidates: Sequence[Candidate],
    budgets: Budgets,
    confirm: Callable[[Candidate], Candidate],
    excluded: Sequence[Excluded] = (),
    auditor: Auditor | None = None,
    beside: Sequence[Candidate] = (),
    *,
    proof: EffortName | None = None,
    late: int = LATE_AUDITS,
    tried: Collection[Point] = (),
    tries: int = CONFIRM_TRIES,
) -> Choice:
    """The candidate with the least leakage that meets the budgets on both splits.

    Candidates are ranked by leakage, then accuracy, then p95 latency: what attackers reached or are predicted to reach
    by the high end of its interval, estimates by their value. The upper end of an estimate says how little its samples
    rule out, and reads 1 at many cuts; the budgets see it.

    Args:
        candidates: measured on the search split, baselines too.
        budgets: compared with the worse end of every interval.
        confirm: measures a candidate's point again on the confirm split.
        excluded: points that were ruled out beforehand, for the nearest miss.
        auditor: attacks candidates; with None the choice rests on estimates.
        beside: the baselines on the confirm split. Those that keep the cost budgets are among `candidates`.
        proof: the effort whose audits are still to come; until then figures only refute (`budgets.privacy_checks`).
        late: most candidates that are attacked only because they would win.
        tried: what earlier choices of the same search measured on the confirm split; these count among the tries.
        tries: most candidates, over all choices, that may be measured there.
    """
    return _Choosing(candidates, budgets, confirm, excluded, auditor, beside, proof, late, tried, tries).run()


class _Choosing:
    """One choice. `known` holds all that is known of every candidate, `left` the points that have not been dropped."""

    def __init__(
        self,
        candidates: Sequence[Candidate],
        budgets: Budgets,
        confirm: Callable[[Candidate], Candidate],
        excluded: Sequence[Excluded],
        auditor: Auditor | None,
        beside: Sequence[Candidate],
        proof: EffortName | None,
        late: int,
        tried: Collection[Point],
        tries: int,
    ) -> None:
        self.budgets, self.confirm, self.excluded, self.auditor = budgets, confirm, excluded, auditor
        self.proof, self.late = proof, late
        self.tried, self.tries = set(tried), tries
        self.known = {point_of(candidate): self._judged(candidate) for candidate in candidates}
        self.left = dict.fromkeys(self.known)
        self.beside = {point_of(baseline): self._judged(baseline) for baseline in beside}
        self.stood: dict[Point, Candidate] = {}
        self.failed: list[Candidate] = []
        self.audits = 0

    def run(self) -> Choice:
        while best := self._best():
            point = point_of(best)
            if point not in self.stood:
                if point not in self.beside and point not in self.tried and len(self.tried) >= self.tries:
                    self._fall(point, f"a try {CONFIRM_SPLIT}, since the {self.tries} allowed had been used")
                    continue
                if self.auditor is not None and _unaudited(best):
                    self.audits += 1
                    self.known[point] = self._judged(self.auditor.searched(best))
                    continue
                if not self._stands(best):
                    continue
            confirmed = self.stood[point]
            better = self._outdoing(confirmed)
            if better is None:
                return self._choice(best, confirmed, self._missed() if confirmed.cut_kind == "cloud-only" else None)
            self._fall(point, _outdone(confirmed, better))
        return self._choice(None, None, self._missed())

    def _missed(self) -> str:
        known = [self.known[point] for point in self.left]
        missing = [candidate for candidate in known if not candidate.meets_budgets]
        return nearest_miss(missing, self.failed, self.excluded, self.budgets)

    def _best(self) -> Candidate | None:
        may_audit = self.auditor is not None and self.audits < self.late
        fitting = [known for point in self.left if self._fits(known := self.known[point], may_audit=may_audit)]
        return min(fitting, key=_hoped if may_audit else _rank, default=None)

    def _fits(self, candidate: Candidate, *, may_audit: bool) -> bool:
        """True if a candidate meets the budgets; with `may_audit`, if it does or might after its audit."""
        if may_audit:
            return judged(candidate, _certain(candidate, self.budgets), self.proof).meets_budgets
        unsure = self.auditor is not None and _unaudited(candidate)
        return judged(candidate, self.budgets, None if unsure else self.proof).meets_budgets

    def _judged(self, candidate: Candidate) -> Candidate:
        return judged(candidate, self.budgets, self.proof)

    def _stands(self, best: Candidate) -> bool:
        """Measure the best on the confirm split: True if it keeps the budgets there and no audit refutes it."""
        point = point_of(best)
        if point in self.beside:
            confirmed = self.beside[point]
        else:
            self.tried.add(point)
            confirmed = of_tries(self.confirm(best))
        confirmed = (
            self._judged(confirmed) if self.auditor is None else judged(confirmed, without(self.budgets, PRIVACY))
        )
        if self.auditor is not None and confirmed.meets_budgets:
            confirmed = self._judged(self.auditor.hardest(confirmed))
        return self._settled(point, confirmed)

    def _settled(self, point: Point, confirmed: Candidate) -> bool:
        """Record the confirm split's verdict: False if the candidate is dropped or must win again."""
        if point in self.beside:
            self.beside[point] = self._judged(confirmed)
        if not confirmed.meets_budgets:
            self.failed.append(confirmed)
            self._fall(point, *(f"{CONFIRM_SPLIT}: {text}" for text in confirmed.violations))
            return False
        self.stood[point], known = confirmed, self.known[point]
        if not _refuted(known, confirmed):
            return True
        found = {"leakage": confirmed.leakage, "audited": confirmed.audited, "predicted": None}
        self.known[point] = self._judged(known.model_copy(update=found))
        return False

    def _outdoing(self, confirmed: Candidate) -> Candidate | None:
        """The best baseline that beats a candidate on the confirm split and keeps the budgets on both splits."""
        while True:
            shown = [row for point in self.beside if (row := self._shown(point)).meets_budgets]
            rival = min(shown, key=_rank, default=None)
            if rival is None or _rank(rival)[:4] >= _rank(confirmed)[:4]:
                return None
            if self.auditor is None or not _attackable(rival):
                return rival
            self._settled(point_of(rival), self._judged(self.auditor.hardest(rival)))

    def _shown(self, point: Point) -> Candidate:
        """A baseline on the confirm split. If it misses nothing there, its violations are those on the search split."""
        row, searched = self.beside[point], self.known.get(point)
        if searched is None or searched.meets_budgets or not row.meets_budgets:
            return row
        missed = tuple(f"on the search split: {text}" for text in self._judged(searched).violations)
        return row.model_copy(update={"meets_budgets": not missed, "violations": missed})

    def _fall(self, point: Point, *why: str) -> None:
        self.left.pop(point, None)
        self.known[point] = self.known[point].model_copy(update={"meets_budgets": False, "violations": why})

    def _choice(self, best: Candidate | None, confirmed: Candidate | None, missed: str | None = None) -> Choice:
        beside = tuple(self._shown(point) for point in self.beside)
        return Choice(best, confirmed, len(self.tried), missed, tuple(self.known.values()), beside)


def of_tries(candidate: Candidate) -> Candidate:
    """A candidate on the confirm split, its accuracy's intervals at a level that holds for all tries together.

    Each of them may err in 5 % / `CONFIRM_TRIES` of choices (Bonferroni), however many a choice makes: their order and
    number depend on the time that a search has. What leaks is compared with baselines, which nobody chose, and
    stays at its own level.
    """
    level = 1 - (1 - LEVEL) / CONFIRM_TRIES

    def wide(interval: Interval, least: float) -> Interval:
        found = widened(interval, level)
        if not least <= interval.low <= interval.high <= 1:
            return found  # the user's metric is no share
        return found.model_copy(update={"low": max(found.low, least), "high": min(found.high, 1.0)})

    accuracy = candidate.accuracy
    update = {"accuracy": wide(accuracy.accuracy, 0.0), "drop": wide(accuracy.drop, -1.0)}
    return candidate.model_copy(update={"accuracy": accuracy.model_copy(update=update)})


def _refuted(known: Candidate, confirmed: Candidate) -> bool:
    """True if a candidate leaks more on the confirm split than the figure that it won by allows.

    The whole suite finds slightly more than the search's attacks do, so an audit refutes another only if their
    intervals do not meet.
    """
    if confirmed.audited is None:
        return confirmed.index.value > known.index.high
    return known.audited is None or confirmed.index.low > known.index.high


def _outdone(candidate: Candidate, better: Candidate) -> str:
    """The violation of a candidate that a baseline beats: the first figure of its rank that differs."""
    leaked = ["leakage index up to", "leakage index"]
    if candidate.index_is == "estimated":
        leaked.reverse()
    names = (*leaked, "accuracy", "latency p95 in ms")
    pairs = zip(names, map(abs, _rank(candidate)[:4]), map(abs, _rank(better)[:4]), strict=True)
    name, own, other = next(pair for pair in pairs if pair[1] != pair[2])
    return f"what {described(better)} reaches {CONFIRM_SPLIT} ({name} {own:.4g} against {other:.4g})"


def _attackable(candidate: Candidate) -> bool:
    """True if an audit by the whole suite on the confirm split is missing and would add information."""
    return candidate.leakage.status == "estimated" and (
        candidate.audited is None or candidate.audited.split != "confirm"
    )


def _unaudited(candidate: Candidate) -> bool:
    """True if an audit is missing and would add information."""
    return candidate.audited is None and candidate.leakage.status == "estimated"


def _certain(candidate: Candidate, budgets: Budgets) -> Budgets:
    """The budgets that can be checked before a candidate's audit."""
    if not _unaudited(candidate):
        return budgets
    least = candidate.predicted.low if candidate.predicted is not None else 0.0
    hopeless = budgets.max_leakage is not None and least > budgets.max_leakage
    return without(budgets, [name for name in PRIVACY if not (hopeless and name == "max_leakage")])


def _hoped(candidate: Candidate) -> tuple[float, float, float, float, str]:
    """The rank, with the expected index in place of its high end if an audit is still to come."""
    leakage, *rest = _rank(candidate)
    if _unaudited(candidate):
        known = candidate.predicted is not None and candidate.predicted.high - candidate.predicted.low < 1
        leakage = candidate.index.value if known else candidate.leakage.index.value
    return (leakage, *rest)  # type: ignore[return-value]


def shown_front(
    candidates: Sequence[Candidate], chosen: Candidate | None, names: Sequence[Objective] = DEFAULT_OBJECTIVES
) -> tuple[Candidate, ...]:
    """The front of all candidates, the front of those that meet the budgets, and the chosen one; by latency."""
    fitting = [candidate for candidate in candidates if candidate.meets_budgets]
    fronts = [*pareto_front(candidates, names), *pareto_front(fitting, names)]
    shown = {point_of(c): c for c in [*fronts, *([chosen] if chosen else [])]}
    return tuple(sorted(shown.values(), key=lambda c: (c.latency.p95_ms, *_rank(c))))


def nearest_miss(
    candidates: Sequence[Candidate], failed: Sequence[Candidate], excluded: Sequence[Excluded], budgets: Budgets
) -> str:
    """One sentence on which candidate came nearest to the budgets, and which figures miss them.

    Args:
        candidates: measured on the search split.
        failed: those that met the budgets there and missed them on the confirm split, as measured on the latter.
        excluded: points that were ruled out by their costs.
    """
    if failed:
        nearest = min(failed, key=lambda c: worst_excess(checks(c, budgets)))
        return (
            f"{len(failed)} candidates meet the budgets on the search split, none of them on the confirm split; "
            f"the nearest is {described(nearest)}: {_missed(checks(nearest, budgets))}"
        )
    parts = []
    if candidates:
        nearest = min(candidates, key=lambda c: (worst_excess(checks(c, budgets)), _rank(c)))
        parts.append(f"the nearest miss is {described(nearest)}: {_missed(checks(nearest, budgets))}")
    if excluded:
        close = min(excluded, key=lambda e: (worst_excess(cost_checks(e.costs, budgets)), e.point.defense.rate))
        lead = "the nearest of those" if candidates else "the nearest miss"
        parts.append(
            f"{len(excluded)} points at {len({e.point.cut_id for e in excluded})} cuts are ruled out by costs alone, "
            f"{lead} is {close.cut_name}: {_missed(cost_checks(close.costs, budgets))}"
        )
    return "; ".join(parts) or "no cut of this model can be searched"


def described(candidate: Candidate) -> str:
    """A candidate in words: its cut, and what its defense does."""
    defense = candidate.defense
    dropout, projection, noise = defense.dropout, defense.projection, defense.noise
    said = "without dropout" if dropout is None else f"with {dropout.granularity} dropout {dropout.rate:g}"
    if projection is not None:
        said += f", {projection.words}"
    said += "".join(f", {custom.text}" for custom in defense.customs)
    if noise is not None:
        said += f", {noise.distribution} noise {noise.std:g}"
    if defense.bits != USUAL_BITS:
        said += f", {defense.bits or 'no'} bits"
    return f"{candidate.cut_name} {said}"


def _missed(found: Sequence[Check]) -> str:
    missed = [check for check in found if not check.holds]
    said = ", ".join(check.text for check in missed)
    return said + (_undecided(missed) if missed and all(check.undecided for check in missed) else "")


def _undecided(missed: Sequence[Check]) -> str:
    """What would be enough when only the intervals exceed the budgets, for lack of samples."""
    said = " (the measured value keeps the budget, only its interval does not: "
    needed, samples = [check.samples_needed for check in missed], missed[0].samples
    more = [count for count in needed if count is not None]
    if len(more) == len(needed):
        said += f"about {float(format(2 * max(more), '.2g')):,.0f} validation samples (there are {2 * samples:,}), or "
    ends = [
        f"a least accuracy of {math.floor(1000 * (1 - check.figure)) / 1000:g}"
        if check.name == "accuracy"
        else f"an {check.name} of up to {math.ceil(1000 * check.figure) / 1000:g}"
        for check in missed
    ]
    return f"{said}{' and '.join(ends)}, would be enough)"


def _rank(candidate: Candidate) -> tuple[float, float, float, float, str]:
    """Lower is better; see `choose`."""
    index, accuracy = candidate.index, candidate.accuracy.accuracy.value
    leaked = (index.value, index.high) if candidate.index_is == "estimated" else (index.high, index.value)
    return (*leaked, -accuracy, candidate.latency.p95_ms, point_of(candidate).key)
