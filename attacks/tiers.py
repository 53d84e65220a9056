"""The worst case of each threat model. A stronger attacker can do all that a weaker one can."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Sequence

from scipy.special import stdtrit

from ..estimators.share_interval import LEVEL, excess_interval, share_interval, widened
from ..records import AttackFigures, AttackResult, AttributeRate, Audit, Interval, LinkageRate, Threat, TierFigures
from ..records.privacy import LEAKAGE, PrivacyBudget
from ..records.sign_off import missing_to_sign_off
from .excess import PERCEPTUAL
from .invariants import SLACK, counts, plain_name
from .threat import TIERS

FIGURES = (
    "index",
    "within_class",
    "region",
    "consistency",
    "ssim",
    "ms_ssim",
    "features",
    *(f"{name}_excess" for name in PERCEPTUAL),
    "reidentification",
    "reconstruction_rate",
    "linkage",
    "attribute",
)

AtLevel = Callable[[float], Interval]
"""One attack's figure, with its interval at a level."""


def tier_figures(
    results: Sequence[AttackResult],
    linkage: Sequence[LinkageRate],
    attributes: Sequence[AttributeRate],
    *,
    lower_bound: bool,
) -> tuple[TierFigures, ...]:
    """The tiers that were attacked, weakest first.

    Figures of a failed attack count if it has any, since what was recovered was recovered. Its tier is then not
    conclusive, unless the attack was naive or had other images on purpose: a better variant stands beside it. Nor does
    a failed attack count against a tier where an attack ended that does the same and sees more.

    Args:
        results: of all attacks.
        linkage: counts from the tier that it needs.
        attributes: count from the tier that they need.
        lower_bound: whether more effort would raise all figures. So it might those of the query-free tier, where one of
            its attacks was outrun: by black-box ones, perhaps.
    """
    found = []
    for position, threat in enumerate(TIERS):
        own = [result for result in results if result.threat == threat]
        allowed = [result for result in results if TIERS.index(result.threat) <= position]
        judged = [(result, result.figures) for result in allowed if result.figures is not None]
        if not own or not judged:
            continue
        figures = [each for _, each in judged]
        index = worst_of([_clamped(each.index) for each in figures])
        reidentification = worst_of([_reidentification(each) for each in figures])
        assert index is not None
        assert reidentification is not None
        failed = tuple(
            result.attack
            for result in allowed
            if result.status == "failed" and counts(result) and not any(_stands_for(each, result) for each in allowed)
        )
        found.append(
            TierFigures(
                threat=threat,
                index=index,
                index_attack=max(judged, key=lambda pair: pair[1].index.value)[0].attack,
                within_class=worst_of(
                    [_clamped(each.within_class) for each in figures if each.within_class is not None]
                ),
                region=worst_of([_clamped(each.region) for each in figures if each.region is not None]),
                consistency=worst_of([_consistency(each) for each in figures if each.consistency is not None]),
                ssim=worst_of([_of(each.ssim) for each in figures if each.ssim is not None]),
                ms_ssim=worst_of([_clamped(each.ms_ssim) for each in figures if each.ms_ssim is not None]),
                features=worst_of([_clamped(each.features) for each in figures if each.features is not None]),
                reidentification=reidentification,
                reconstruction_rate=worst_of([_rate(each) for each in figures if each.reconstruction_rate is not None]),
                linkage=worst_of([_linkage(rate) for rate in linkage if _permits(threat, rate.threat)]),
                attribute=worst_of([_attribute(rate) for rate in attributes if _permits(threat, rate.threat)]),
                target_count=max(each.target_count for each in figures),
                fewest_targets=min(each.target_count for each in figures),
                lower_bound=lower_bound or (threat == TIERS[0] and any(result.status == "outrun" for result in own)),
                conclusive=not failed,
                failed=failed,
            )
        )
    return tuple(found)


def _stands_for(other: AttackResult, failed: AttackResult) -> bool:
    """Whether another attack ended, or was outrun, that does the same as a failed one and recovered no less.

    It sees as many releases, of the same kind; who sees several of any kind has one of the input itself among them.
    """
    same = plain_name(other) == failed.weaker_form_of and other.status != "failed" and counts(other)
    if not same or other.figures is None or other.queries < failed.queries:
        return False
    if failed.queries > 1 and other.copies != failed.copies:
        return False
    return failed.figures is None or other.figures.index.value >= failed.figures.index.value - SLACK


def worst_of(figures: Sequence[AtLevel]) -> Interval | None:
    """The greatest of several attacks' figures, with an interval that covers it.

    Each attack's interval is taken at a level of 5 % divided by the number of attacks (Bonferroni). The greatest upper
    end then lies above the strongest attack's true figure, whichever attack that is: with 32 targets, an attack counts
    with everything that 32 targets leave open.

    Args:
        figures: one function for each attack, from a level to the interval at it.
    """
    if not figures:
        return None
    level = 1 - (1 - LEVEL) / len(figures)
    ends = [figure(level) for figure in figures]
    return Interval(
        value=max(each.value for each in ends), low=max(each.low for each in ends), high=max(each.high for each in ends)
    )


def over_seeds(figures: Sequence[Interval]) -> Interval | None:
    """The greatest of one figure over attackers with several seeds; its upper end allows for one more seed.

    The upper end is that of a prediction interval of Student's t around the seeds' mean. What the targets leave open is
    combined with it in quadrature. Few seeds leave much open: three say no more than mean + 5 standard deviations.

    Args:
        figures: of the same (cut, defense), one for each seed.
    """
    if not figures:
        return None
    values, count = [each.value for each in figures], len(figures)
    worst = max(figures, key=lambda each: each.value)
    high = max(each.high for each in figures)
    if count > 1:
        luck = float(stdtrit(count - 1, 0.5 + LEVEL / 2)) * statistics.stdev(values) * math.sqrt(1 + 1 / count)
        high = max(high, min(1.0, statistics.mean(values) + math.hypot(worst.high - worst.value, luck)))
    return Interval(value=worst.value, low=max(each.low for each in figures), high=high)


def _of(interval: Interval) -> AtLevel:
    return lambda level: widened(interval, level)


def _clamped(index: Interval) -> AtLevel:
    def at(level: float) -> Interval:
        found = widened(index, level)
        return found.model_copy(update={"low": max(0.0, found.low), "high": min(1.0, found.high)})

    return at


def _reidentification(figures: AttackFigures) -> AtLevel:
    return lambda level: share_interval(figures.reidentification.value, figures.target_count, level)


def _consistency(figures: AttackFigures) -> AtLevel:
    assert figures.consistency is not None
    share = figures.consistency.value
    return lambda level: share_interval(share, figures.target_count, level)


def _rate(figures: AttackFigures) -> AtLevel:
    assert figures.reconstruction_rate is not None
    share = figures.reconstruction_rate.value + figures.prior_rate
    return lambda level: excess_interval(share, figures.prior_rate, figures.target_count, level)


def _linkage(rate: LinkageRate) -> AtLevel:
    return lambda level: share_interval(rate.rate.value, rate.gallery_count, level)


def _attribute(rate: AttributeRate) -> AtLevel:
    return lambda level: share_interval(rate.accuracy.value, rate.target_count, level)


def worst_tiers(audits: Sequence[Audit]) -> tuple[TierFigures, ...]:
    """The worst of each figure by threat model, over audits of one (cut, defense) with different seeds."""
    found = []
    for threat in TIERS:
        tiers = [tier for audit in audits for tier in audit.tiers if tier.threat == threat]
        if not tiers:
            continue
        worst = max(tiers, key=lambda tier: tier.index.value)

        def of(name: str, tiers: Sequence[TierFigures] = tiers) -> Interval | None:
            return over_seeds([figure for tier in tiers if (figure := getattr(tier, name)) is not None])

        found.append(
            worst.model_copy(
                update={
                    **{name: of(name) for name in FIGURES},
                    "target_count": min(tier.target_count for tier in tiers),
                    "fewest_targets": min(tier.fewest_targets for tier in tiers),
                    "lower_bound": any(tier.lower_bound for tier in tiers),
                    "conclusive": all(tier.conclusive for tier in tiers),
                    "failed": tuple(dict.fromkeys(name for tier in tiers for name in tier.failed)),
                }
            )
        )
    return tuple(found)


def merged(audits: Sequence[Audit]) -> Audit:
    """One audit of several with different seeds, of one (cut, defense): all their attacks, and the worst of each tier.

    Args:
        audits: one for each seed, in their order.
    """
    return audits[0].model_copy(
        update={
            "seeds": len(audits),
            "attacks": tuple(
                each.model_copy(update={"seed": seed}) for seed, audit in enumerate(audits) for each in audit.attacks
            ),
            "linkage": tuple(rate for audit in audits for rate in audit.linkage),
            "attributes": tuple(rate for audit in audits for rate in audit.attributes),
            "tiers": worst_tiers(audits),
            "notes": tuple(dict.fromkeys(note for audit in audits for note in audit.notes)),
        }
    )


def budget_objection(audit: Audit, limit: float, budget: PrivacyBudget = LEAKAGE) -> str | None:
    """Why the audit does not show that a figure of the strongest tier is at most `limit`; None if it does.

    The rule to sign off (`records.sign_off`) must hold: an attack that failed or stopped early is no evidence of
    privacy, however little it recovered.

    Args:
        audit: of one (cut, defense).
        limit: the greatest figure allowed, from 0 to 1.
        budget: which of the figures; by default the index.
    """
    if not audit.tiers:
        return "no attack gave a figure"
    worst = audit.tiers[-1]
    what, figure = budget.figure, budget.of(worst)
    if figure is None:
        return budget.unknown(limit)
    by = f" (most by {worst.index_attack})" if budget is LEAKAGE else ""
    said = f"audited {worst.threat} {what} up to {figure.high:.3f}{by} against {limit:g}"
    if figure.high > limit:
        return said
    missing = missing_to_sign_off(audit.effort, audit.seeds, worst)
    return f"{said}, but nothing is proven; it takes {'; '.join(missing)}" if missing else None


def _permits(threat: Threat, needed: Threat) -> bool:
    return TIERS.index(needed) <= TIERS.index(threat)
