"""Figures that cannot be: whoever sees more recovers no less.

More releases, less dropout and an earlier cut never tell less, since an attacker can throw away what it has too much
of. An attack that recovered less from more is not a measure of privacy: it is under-trained.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ..records import AttackResult, Audit, TierFigures
from .threat import OWN, TIERS

SLACK = 0.01
"""An index that falls short by less may do so by chance."""


@dataclass(frozen=True, slots=True)
class UnderTrained:
    """An attack that recovered less than one that saw less.

    Attributes:
        attack: its name.
        index: what it reached.
        reached: what was reached by whoever saw less.
        by: who that was.

    Examples:
        >>> UnderTrained("inverse", 0.466, 0.495, "inverse (10 releases)").reason
        'under-trained: an index of 0.466, and inverse (10 releases), which sees no more, reaches 0.495'
    """

    attack: str
    index: float
    reached: float
    by: str

    @property
    def reason(self) -> str:
        """What is wrong, for the attack's result."""
        return (
            f"under-trained: an index of {self.index:.3f}, and {self.by}, which sees no more, reaches "
            f"{self.reached:.3f}"
        )


def less_from_more_releases(results: Sequence[AttackResult]) -> tuple[UnderTrained, ...]:
    """The attacks of one audit that recovered less from several releases than from fewer.

    Naive attacks and those with images of another kind are left out: a better one stands beside each. An attack that
    was outrun is known to be unfinished.

    Args:
        results: of one (cut, defense), with one seed.
    """
    found = []
    compared = [(each, each.figures.index.value) for each in results if each.figures is not None and counts(each)]
    for more, index in compared:
        if more.status == "outrun":
            continue
        fewer = [
            (reached, other.attack)
            for other, reached in compared
            if plain_name(other) == plain_name(more) and other.queries < more.queries
        ]
        reached, by = max(fewer, default=(0.0, ""))
        if index < reached - SLACK:
            found.append(UnderTrained(more.attack, index, reached, by))
    return tuple(found)


def failed(results: Sequence[AttackResult], wrong: Sequence[UnderTrained]) -> tuple[AttackResult, ...]:
    """The results, those of attacks in `wrong` with the status *failed* and the reason."""
    reasons = {each.attack: each.reason for each in wrong}
    return tuple(
        each.model_copy(update={"status": "failed", "reason": reasons[each.attack]}) if each.attack in reasons else each
        for each in results
    )


def checked(audits: Sequence[Audit]) -> tuple[Audit, ...]:
    """The audits, with every figure that cannot be marked: failed, not conclusive, and named in a note.

    Compared are, tier by tier, audits of one cut under more and less of the same dropout, and undefended cuts of one
    tensor each, an earlier one with a later one or the output. Whoever sees less is worst off with all its attacks, so
    the strongest attack of whoever sees more is the one that is under-trained.

    Args:
        audits: of one model, all of the same targets.
    """
    return tuple(
        _marked(audit, [wrong for tier in audit.tiers if (wrong := _beaten(audit, tier, audits)) is not None])
        for audit in audits
    )


def sees_no_more(less: Audit, more: Audit) -> bool:
    """True where whatever crosses in audit `less` could be made from what crosses in `more`."""
    if less.cut_id == more.cut_id:
        return _drops_more(less, more)
    undefended = all(not audit.defense.stages for audit in (less, more))
    return undefended and less.depth > more.depth and all(_of_one_tensor(audit) for audit in (less, more))


def _drops_more(less: Audit, more: Audit) -> bool:
    one, other = less.defense.unfitted, more.defense.unfitted
    if one.without("dropout").stages != other.without("dropout").stages or one.rate <= other.rate:
        return False
    # Of fresh and keyed masks neither is made from the other.
    alike = one.masks == other.masks and (one.dropout and one.dropout.granularity) == (
        other.dropout and other.dropout.granularity
    )
    return other.dropout is None or alike


def _of_one_tensor(audit: Audit) -> bool:
    return audit.cut_kind == "edge-only" or (audit.cut_kind == "proper" and " + " not in audit.cut_name)


def _beaten(audit: Audit, tier: TierFigures, audits: Sequence[Audit]) -> UnderTrained | None:
    """What recovered more in this tier, although it sees no more; None where the tier is known to be unfinished."""
    if tier.lower_bound and audit.effort != "quick":
        return None
    beaten = []
    for other in audits:
        if other is audit or not sees_no_more(other, audit):
            continue
        for theirs in (each for each in other.tiers if each.threat == tier.threat):
            by = f"{theirs.index_attack} at {other.cut_name} under {other.defense.unfitted.text}"
            beaten.append((theirs.index.value, by))
    reached, by = max(beaten, default=(0.0, ""))
    if tier.index.value >= reached - SLACK:
        return None
    return UnderTrained(tier.index_attack, tier.index.value, reached, by)


def _marked(audit: Audit, wrong: Sequence[UnderTrained]) -> Audit:
    """The audit with the attacks in `wrong` failed, and the tiers that rest on them not conclusive."""
    if not wrong:
        return audit
    names = {each.attack for each in wrong}
    attacks = failed(audit.attacks, wrong)
    tiers = []
    for tier in audit.tiers:
        allowed = [each.attack for each in attacks if TIERS.index(each.threat) <= TIERS.index(tier.threat)]
        every = tuple(dict.fromkeys((*tier.failed, *(name for name in allowed if name in names))))
        tiers.append(tier.model_copy(update={"conclusive": not every, "failed": every}))
    notes = dict.fromkeys((*audit.notes, *(f"{each.attack} is {each.reason}" for each in wrong)))
    return audit.model_copy(update={"attacks": attacks, "tiers": tuple(tiers), "notes": tuple(notes)})


def counts(result: AttackResult) -> bool:
    """Whether an attacker knows the defense and has images of the targets' kind."""
    return not result.naive and result.attacker_data == OWN


def plain_name(result: AttackResult) -> str:
    """The attack's name, without the variant that follows it in brackets."""
    return result.attack.split(" (")[0]
