"""The worst case of each threat model. A stronger attacker can do all that a weaker one can."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from ..records import AttackResult, AttributeRate, Audit, Interval, LinkageRate, Threat, TierFigures
from .threat import OWN, TIERS


def tier_figures(
    results: Sequence[AttackResult],
    linkage: Sequence[LinkageRate],
    attributes: Sequence[AttributeRate],
    *,
    lower_bound: bool,
) -> tuple[TierFigures, ...]:
    """The tiers that were attacked, weakest first.

    Figures of a failed attack count if it has any, since what was recovered was recovered. Its tier is then not
    conclusive, unless the attack was naive or had other images on purpose: a better variant stands beside it.

    Args:
        results: of all attacks.
        linkage: counts from the tier that it needs.
        attributes: count from the tier that they need.
        lower_bound: whether more effort would raise the figures.
    """
    found = []
    for position, threat in enumerate(TIERS):
        own = [result for result in results if result.threat == threat]
        allowed = [result for result in results if TIERS.index(result.threat) <= position]
        judged = [(result, result.figures) for result in allowed if result.figures is not None]
        if not own or not judged:
            continue
        worst, figures = max(judged, key=lambda pair: pair[1].index.value)
        failed = tuple(
            result.attack
            for result in allowed
            if result.status == "failed" and not result.naive and result.attacker_data == OWN
        )
        found.append(
            TierFigures(
                threat=threat,
                index=figures.index,
                index_attack=worst.attack,
                ssim=_greatest(each.ssim for _, each in judged),
                reidentification=_greatest(each.reidentification for _, each in judged) or figures.reidentification,
                reconstruction_rate=_greatest(each.reconstruction_rate for _, each in judged),
                linkage=_greatest(rate.rate for rate in linkage if _permits(threat, rate.threat)),
                attribute=_greatest(rate.accuracy for rate in attributes if _permits(threat, rate.threat)),
                lower_bound=lower_bound,
                conclusive=not failed,
                failed=failed,
            )
        )
    return tuple(found)


def worst_tiers(audits: Sequence[Audit]) -> tuple[TierFigures, ...]:
    """The worst of each figure by threat model, over several audits of one (cut, defense), with different seeds say."""
    found = []
    for threat in TIERS:
        tiers = [tier for audit in audits for tier in audit.tiers if tier.threat == threat]
        if not tiers:
            continue
        worst = max(tiers, key=lambda tier: tier.index.high)
        found.append(
            worst.model_copy(
                update={
                    "ssim": _greatest(tier.ssim for tier in tiers),
                    "reidentification": _greatest(tier.reidentification for tier in tiers),
                    "reconstruction_rate": _greatest(tier.reconstruction_rate for tier in tiers),
                    "linkage": _greatest(tier.linkage for tier in tiers),
                    "attribute": _greatest(tier.attribute for tier in tiers),
                    "lower_bound": any(tier.lower_bound for tier in tiers),
                    "conclusive": all(tier.conclusive for tier in tiers),
                    "failed": tuple(dict.fromkeys(name for tier in tiers for name in tier.failed)),
                }
            )
        )
    return tuple(found)


def budget_objection(audit: Audit, limit: float) -> str | None:
    """Why the audit does not show that the strongest tier's index is at most `limit`; None if it does.

    An attack that failed or stopped early is no evidence of privacy, however little it recovered.

    Args:
        audit: of one (cut, defense).
        limit: the highest index allowed, from 0 to 1.
    """
    if not audit.tiers:
        return "no attack gave a figure"
    worst = audit.tiers[-1]
    said = f"audited {worst.threat} index up to {worst.index.high:.3f} ({worst.index_attack}) against {limit:g}"
    if worst.index.high > limit:
        return said
    if not worst.conclusive:
        return f"{said}, but nothing is proven, since attacks FAILED: {', '.join(worst.failed)}"
    if worst.lower_bound:
        return f"{said}, but {audit.effort} effort finds lower bounds alone; attack with --effort standard"
    return None


def _permits(threat: Threat, needed: Threat) -> bool:
    return TIERS.index(needed) <= TIERS.index(threat)


def _greatest(found: Iterable[Interval | None]) -> Interval | None:
    return max((each for each in found if each is not None), key=lambda each: each.value, default=None)
