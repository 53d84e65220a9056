"""What a plan's leakage figure is worth: the one place that decides the badge of a report.

An attack shows how much was recovered, never that nothing more can be. So a badge says what was done, and each figure
is the worst that any known audit of the plan found.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from ..records import Audit, Audited, Interval, Plan, TierFigures
from ..records.privacy import PRIVACY_BUDGETS
from ..records.sign_off import QUICK, SEEDS

Level = Literal[
    "input sent as it is", "nothing private sent", "estimated", "attacked, quick", "attacked, standard", "signed off"
]
"""The badges. The first two follow from what crosses, and say opposite things: one badge for both would mislead."""

BY_DEFINITION: tuple[Level, ...] = ("input sent as it is", "nothing private sent")


@dataclass(frozen=True, slots=True)
class Evidence:
    """What is known of a plan's leakage.

    Attributes:
        level: the badge.
        why: what the badge means here, in one sentence.
        missing: what signing off still takes; empty where nothing is missing.
        index: the worst leakage index of all audits; without one, the estimate or the prediction.
        rate: the worst share of recognisable reconstructions; None where nothing was attacked, or inputs are no images.
        linkage: the worst share of releases that were matched to their input.
        at_most: True where the upper ends may be called upper ends: a whole suite trained until it gained nothing more,
            and none of its attacks failed.
        failed: attacks that failed where no whole suite ended; that proves nothing.
    """

    level: Level
    why: str
    missing: tuple[str, ...]
    index: Interval
    rate: Interval | None
    linkage: Interval | None
    at_most: bool
    failed: tuple[str, ...]


def evidence_of(plan: Plan, audits: Sequence[Audit] = ()) -> Evidence:
    """What is known of a plan's leakage.

    Args:
        plan: the plan.
        audits: further audits of the plan's own cut, defense and weights (`collabplan attack plan.json -o`). They can
            raise a figure and the level up to *attacked, standard*; only the plan's own audit signs off.
    """
    chosen = plan.chosen
    known = [*filter(None, [chosen.audited]), *(found for each in audits if (found := _audited(each)) is not None)]
    if not known:
        return _without_attacks(plan)
    whole = [each for each in known if each.effort != "quick" and each.figures.conclusive]
    failed = () if whole else tuple(dict.fromkeys(name for each in known for name in each.figures.failed))
    figures = [each.figures for each in known]
    index, rate, linkage = (
        _worst([getattr(each, name) for each in figures]) for name in ("index", "reconstruction_rate", "linkage")
    )
    assert index is not None
    broken = _broken(plan, figures)
    level, why = _level(plan, known, broken)
    missing = chosen.audited.missing_to_sign_off if chosen.audited else _best(known).missing_to_sign_off
    if not plan.budgets.private:
        missing = (*missing, "a privacy budget to hold the figures against (--max-leakage, --max-reconstruction)")
    return Evidence(
        level=level,
        why=why,
        missing=(*missing, *broken),
        index=index,
        rate=rate,
        linkage=linkage,
        at_most=bool(whole),
        failed=failed,
    )


def _without_attacks(plan: Plan) -> Evidence:
    chosen = plan.chosen
    by_definition = chosen.leakage.status == "by-definition"
    level: Level = "estimated"
    if by_definition:
        level = "nothing private sent" if chosen.index.high <= 0 else "input sent as it is"
    if level == "input sent as it is":
        return Evidence(
            level, "No privacy: whoever receives it needs no attack.", (), chosen.index, None, None, False, ()
        )
    why = {
        "by-definition": "No private input leaves the device, so there is nothing to attack.",
        "predicted": "Not attacked: the figure is predicted from attacks on other candidates.",
        "unmeasured": "Not attacked and not estimated: the figure counts as the worst case.",
    }.get(chosen.index_is, "Not attacked: cheap attackers estimate the figure, and real ones may recover more.")
    attacks = f"attacks: standard effort, {SEEDS} seeds"
    if plan.unattackable is not None:
        attacks = f"an attack that applies to its inputs: {plan.unattackable}"
    missing = () if by_definition else (attacks,)
    return Evidence(level, why, missing, chosen.index, None, None, False, ())


def _broken(plan: Plan, figures: Sequence[TierFigures]) -> tuple[str, ...]:
    """Why figures are in the way of signing off, whatever the plan's own audit says."""
    measured, found = plan.measured, []
    for budget in PRIVACY_BUDGETS:
        limit, figure = budget.limit(plan.budgets), _worst([budget.of(each) for each in figures])
        if figure is not None and limit is not None and figure.high > limit:
            found.append(
                f"{budget.plain} within its budget: an attack reached up to {figure.high:.3f}, the budget is {limit:g}"
            )
    if not plan.chosen.meets_budgets:
        found.append("a plan that meets its budgets")
    if measured is not None and measured.violations:
        found.append("a plan that runs as planned: what `collabplan verify` measured is not")
    return tuple(found)


def _level(plan: Plan, known: Sequence[Audited], broken: Sequence[str]) -> tuple[Level, str]:
    own, best = plan.chosen.audited, _best(known)
    if own is not None and not own.missing_to_sign_off and plan.budgets.private and not broken:
        return "signed off", f"All {len(own.attacks)} attacks with {own.seeds} seeds: the privacy budgets hold."
    if best.effort == "quick":
        return "attacked, quick", f"{QUICK[0].upper()}{QUICK[1:]}, as a part of the attacks does: more recover more."
    seeds = f"{best.seeds} seed{'s' * (best.seeds > 1)}"
    return "attacked, standard", f"{len(best.attacks)} attacks at {best.effort} effort, {seeds}; not signed off."


def _best(known: Sequence[Audited]) -> Audited:
    """The audit of the most effort and seeds."""
    order = ("quick", "standard", "thorough")
    return max(known, key=lambda each: (order.index(each.effort), each.seeds, len(each.attacks)))


def _audited(audit: Audit) -> Audited | None:
    """An audit's strongest tier as a plan holds it. `collabplan attack` attacks images of the confirm split.

    Some of the attacks alone are worth no more than quick effort is: a lower bound.
    """
    if not audit.tiers:
        return None
    names, figures = tuple(dict.fromkeys(result.attack for result in audit.attacks)), audit.tiers[-1]
    if audit.effort == "quick" or _whole_suite(names):
        return Audited(effort=audit.effort, split="confirm", seeds=audit.seeds, attacks=names, figures=figures)
    lower = figures.model_copy(update={"lower_bound": True})
    return Audited(effort="quick", split="confirm", seeds=audit.seeds, attacks=names, figures=lower)


def _whole_suite(names: Sequence[str]) -> bool:
    """Whether every attack of the catalogue is among these variants."""
    from ..attacks.catalogue import ATTACKS

    return all(any(name.split(",")[0].split(" ")[0] == attack for name in names) for attack in ATTACKS)


def _worst(figures: Sequence[Interval | None]) -> Interval | None:
    """The figure that reaches highest; None where none is known."""
    known = [each for each in figures if each is not None]
    return max(known, key=lambda each: (each.high, each.value)) if known else None
