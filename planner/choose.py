"""Chooses one candidate among those that meet the budgets, and holds it against data the search never saw.

A search that looks at hundreds of candidates picks, in part, the luck of its data. The choice is
therefore measured again on the confirm half, and the budgets must hold there too; where they do not, the
next candidate is tried. Each further try draws on the same confirm half, so their number is limited
and reported.

With audits, a winner that nobody has attacked yet is attacked before anything else, and on the confirm half as hard as
was asked for. It falls where that breaks a budget; and where it refutes the figure that it won by, it must win again
with the harder one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

from ..records import DEFAULT_OBJECTIVES, Budgets, Candidate, Objective, kept_in_words
from .budgets import PRIVACY, Check, Costs, checks, cost_checks, judged, without, worst_excess
from .front import pareto_front
from .space import Point, Wire, point_of

CONFIRM_TRIES = 10

LATE_AUDITS = 10
"""Candidates that are attacked because they would win, where they were not attacked before."""


@dataclass(frozen=True, slots=True)
class Choice:
    """The chosen candidate as the search half and the confirm half saw it, or the nearest miss.

    `tries` counts candidates that were measured on the confirm half. `nearest_miss` is a sentence with
    figures where nothing was chosen.
    """

    searched: Candidate | None
    confirmed: Candidate | None
    tries: int
    nearest_miss: str | None = None


@dataclass(frozen=True, slots=True)
class Excluded:
    """A point that its costs rule out before any network runs."""

    point: Point
    cut_name: str
    costs: Costs


class Auditor(Protocol):
    """Attacks candidates; see `audits.Audits`."""

    def searched(self, candidate: Candidate) -> Candidate:
        """With its audit on the search half."""

    def hardest(self, candidate: Candidate) -> Candidate:
        """One that was measured on the confirm half, with its audit there."""


def choose(
    candidates: Sequence[Candidate],
    budgets: Budgets,
    confirm: Callable[[Candidate], Candidate],
    excluded: Sequence[Excluded] = (),
    auditor: Auditor | None = None,
) -> Choice:
    """The candidate with the least leakage that meets the budgets on both halves.

    Candidates are ranked by the high end of the leakage index, then accuracy, then p95 latency.

    Args:
        candidates: measured on the search half.
        budgets: held at the bad end of every interval.
        confirm: measures a candidate's point again on the confirm half.
        excluded: what was ruled out beforehand, for the nearest miss.
        auditor: None leaves the choice to estimates.
    """
    pool = {point_of(candidate): judged(candidate, budgets) for candidate in candidates}
    stood: dict[Point, Candidate] = {}
    failed: list[Candidate] = []
    tries, audits = 0, 0
    while best := _best(pool.values(), budgets, may_audit=auditor is not None and audits < LATE_AUDITS):
        point = point_of(best)
        if point in stood:
            return Choice(best, stood[point], tries)
        if auditor is not None and _unaudited(best):
            audits += 1
            pool[point] = judged(auditor.searched(best), budgets)
            continue
        if tries == CONFIRM_TRIES:
            break
        tries += 1
        confirmed = judged(confirm(best), budgets if auditor is None else without(budgets, PRIVACY))
        if auditor is not None and confirmed.meets_budgets:
            confirmed = judged(auditor.hardest(confirmed), budgets)
        if not confirmed.meets_budgets:
            failed.append(confirmed)
            del pool[point]
        elif confirmed.audited is not None and confirmed.index.low > best.index.high:
            stood[point] = confirmed
            pool[point] = best.model_copy(update={"audited": confirmed.audited})
        else:
            return Choice(best, confirmed, tries)
    if stood:
        point = min(stood, key=lambda each: _rank(pool[each]))
        return Choice(pool[point], stood[point], tries)
    return Choice(None, None, tries, nearest_miss(list(pool.values()), failed, excluded, budgets))


def _unaudited(candidate: Candidate) -> bool:
    """True where an audit would tell more."""
    return candidate.audited is None and candidate.leakage.status == "estimated"


def _best(pool: Iterable[Candidate], budgets: Budgets, *, may_audit: bool) -> Candidate | None:
    """The first by rank of those that meet the budgets, and with `may_audit` of those that an audit might show to."""
    fitting = [
        candidate
        for candidate in pool
        if judged(candidate, _certain(candidate, budgets) if may_audit else budgets).meets_budgets
    ]
    return min(fitting, key=_hoped if may_audit else _rank, default=None)


def _certain(candidate: Candidate, budgets: Budgets) -> Budgets:
    """The budgets that a candidate can be held against as it is; the others must wait for its audit."""
    if not _unaudited(candidate):
        return budgets
    least = candidate.predicted.low if candidate.predicted is not None else 0.0
    hopeless = budgets.max_leakage is not None and least > budgets.max_leakage
    return without(budgets, [name for name in PRIVACY if not (hopeless and name == "max_leakage")])


def _hoped(candidate: Candidate) -> tuple[float, float, float, str]:
    """The rank with what is expected in place of the worst, where an audit would tell."""
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
    """One sentence on what came nearest to the budgets, and by which figures it misses them.

    Args:
        candidates: measured on the search half.
        failed: those that met the budgets there, as the confirm half saw them.
        excluded: what costs ruled out beforehand.
    """
    if failed:
        nearest = min(failed, key=lambda c: worst_excess(checks(c, budgets)))
        return (
            f"{len(failed)} candidates meet the budgets on the search half, none of them on the confirm half; "
            f"the nearest is {described(nearest)}: {_missed(checks(nearest, budgets))}"
        )
    parts = []
    if candidates:
        nearest = min(candidates, key=lambda c: (worst_excess(checks(c, budgets)), _rank(c)))
        parts.append(f"the nearest miss is {described(nearest)}: {_missed(checks(nearest, budgets))}")
    if excluded:
        close = min(excluded, key=lambda e: (worst_excess(cost_checks(e.costs, budgets)), e.point.rate))
        lead = "the nearest of those" if candidates else "the nearest miss"
        parts.append(
            f"{len(excluded)} points at {len({e.point.cut_id for e in excluded})} cuts are ruled out by costs alone, "
            f"{lead} is {close.cut_name}: {_missed(cost_checks(close.costs, budgets))}"
        )
    return "; ".join(parts) or "no cut of this model can be searched"


def described(candidate: Candidate) -> str:
    """`layer2.1 with channel dropout 0.3`, for messages; with 4 bits, and noise, where these are not the usual."""
    said = "without dropout" if candidate.dropout == "none" else f"with {candidate.dropout} dropout {candidate.rate:g}"
    if candidate.kept != 1:
        said += f", {kept_in_words(candidate.kept)} kept"
    if candidate.noise != "none":
        said += f", {candidate.noise} noise {candidate.noise_std:g}"
    if candidate.bits != Wire().bits:
        said += f", {candidate.bits or 'no'} bits"
    return f"{candidate.cut_name} {said}"


def _missed(found: Sequence[Check]) -> str:
    return ", ".join(check.text for check in found if not check.holds)


def _rank(candidate: Candidate) -> tuple[float, float, float, str]:
    accuracy, latency = candidate.accuracy.accuracy.value, candidate.latency.p95_ms
    return (candidate.index.high, -accuracy, latency, point_of(candidate).key)
