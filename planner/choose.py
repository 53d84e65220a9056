"""Chooses one candidate among those that meet the budgets, and holds it against data the search never saw.

A search that looks at hundreds of candidates picks, in part, the luck of its data. The choice is
therefore measured again on the confirm half, and the budgets must hold there too; where they do not, the
next candidate is tried. Each further try draws on the same confirm half, so their number is limited
and reported.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ..records import Budgets, Candidate
from .budgets import Check, Costs, checks, cost_checks, judged, worst_excess
from .front import objectives, pareto_front
from .space import Point, point_of

CONFIRM_TRIES = 10


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


def choose(
    candidates: Sequence[Candidate],
    budgets: Budgets,
    confirm: Callable[[Candidate], Candidate],
    excluded: Sequence[Excluded] = (),
) -> Choice:
    """The candidate with the least leakage that meets the budgets on both halves.

    Candidates are ranked by the high end of the leakage index, then accuracy, then p95 latency.

    Args:
        candidates: measured on the search half.
        budgets: held at the bad end of every interval.
        confirm: measures a candidate's point again on the confirm half.
        excluded: what was ruled out beforehand, for the nearest miss.
    """
    fitting = sorted((c for c in candidates if judged(c, budgets).meets_budgets), key=_rank)
    failed: list[Candidate] = []
    for searched in fitting[:CONFIRM_TRIES]:
        confirmed = judged(confirm(searched), budgets)
        if confirmed.meets_budgets:
            return Choice(judged(searched, budgets), confirmed, len(failed) + 1)
        failed.append(confirmed)
    return Choice(None, None, len(failed), nearest_miss(candidates, failed, excluded, budgets))


def shown_front(candidates: Sequence[Candidate], chosen: Candidate | None) -> tuple[Candidate, ...]:
    """The front of all candidates, the front of those that meet the budgets, and the chosen one; by latency."""
    fitting = [candidate for candidate in candidates if candidate.meets_budgets]
    shown = {point_of(c): c for c in [*pareto_front(candidates), *pareto_front(fitting), *([chosen] if chosen else [])]}
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
    """`layer2.1 with channel dropout 0.3`, for messages."""
    if candidate.dropout == "none":
        return f"{candidate.cut_name} without dropout"
    return f"{candidate.cut_name} with {candidate.dropout} dropout {candidate.rate:g}"


def _missed(found: Sequence[Check]) -> str:
    return ", ".join(check.text for check in found if not check.holds)


def _rank(candidate: Candidate) -> tuple[float, float, float, str]:
    accuracy, latency, leakage = objectives(candidate)
    return (leakage, accuracy, latency, point_of(candidate).key)
