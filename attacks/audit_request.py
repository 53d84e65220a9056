"""What an audit is about, and which variants of each attack it runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from torch import Tensor

from ..estimators.inversion import MANY
from ..records import Interval
from ..targets.data import Data
from .audit_target import AuditTarget
from .interface import Attack, Effort
from .releases import ObservedReleases


@dataclass(frozen=True, slots=True)
class AttackVariant:
    """One attack as it is fitted, and the releases that it is tried on.

    Attributes:
        attack: what is done.
        naive: the attacker does not know the defense.
        queries: releases of each input.
        other: name of auxiliary data from another distribution; "" for data of the targets' distribution.
    """

    attack: Attack
    naive: bool = False
    queries: int = 1
    other: str = ""

    @property
    def plain(self) -> bool:
        """One release of each input, to an attacker who knows the defense and has images of the targets' kind."""
        return not self.naive and self.queries == 1 and not self.other

    @property
    def label(self) -> str:
        """As in tables: `inverse`, `inverse (naive)`, `inverse (10 releases)`, `inverse (random queries)`."""
        said = [self.other] * bool(self.other) + ["naive"] * self.naive
        said += [f"{self.queries} releases"] * (self.queries > 1)
        return self.attack.name + (f" ({', '.join(said)})" if said else "")


@dataclass(frozen=True, eq=False)
class AuditRequest:
    """What an audit is about.

    Attributes:
        target: one cut under one defense.
        target_data: images to recover, in random order, disjoint from the auxiliary data.
        auxiliary: the attacker's images, in random order.
        intercepted: further images of the targets' distribution; a query-free attacker has seen their releases.
        others: auxiliary data from other distributions, by name.
        sensitive: sensitive labels: `[targets]`, and `[intercepted]` for a probe to learn from.
        accuracy: of the model under the defense, for the report.
        captured: by number of releases, what a real device released of the targets (`AuditTarget.captured`). Attacks
            with this number of exact repeats are tried on it; all others on releases that the audit target draws.
        region: `[H, W]` in [0, 1], how much each pixel of an image matters; None where that is not declared.
    """

    target: AuditTarget
    target_data: Data
    auxiliary: Data
    intercepted: Data | None = None
    others: Mapping[str, Data] | None = None
    sensitive: tuple[Tensor, Tensor] | None = None
    accuracy: Interval | None = None
    captured: Mapping[int, ObservedReleases] | None = None
    region: Tensor | None = None


def attack_variants(
    request: AuditRequest, attacks: Sequence[Attack], effort: Effort, *, strongest: bool = False, naive: bool = True
) -> list[AttackVariant]:
    """The variants that the suite runs.

    Every attack is adaptive. Where it makes a difference it is also run as naive, with many releases, and on auxiliary
    data from other distributions; at quick effort only attacks that learn from queries are, which are the strongest
    there.

    Args:
        request: what is audited.
        attacks: which.
        effort: how hard.
        strongest: only the variant of each attack that knows most. Many releases with fresh masks tell all that one
            tells. With keyed masks they are of near-duplicates, whose masks differ.
        naive: also attackers who do not know the defense. Those who do should recover no less.
    """
    if strongest:
        many = request.target.defense.randomizes
        return [AttackVariant(each, queries=MANY if many and each.threat != "query-free" else 1) for each in attacks]
    quick, randomizes = effort.name == "quick", request.target.defense.randomizes
    found = [AttackVariant(attack) for attack in attacks]
    for attack in attacks:
        learns = attack.threat == "black-box" and not attack.per_image
        if randomizes and (learns or (attack.threat == "white-box" and not quick)):
            found += [AttackVariant(attack, naive=True)] * naive + [AttackVariant(attack, queries=MANY)]
        if learns and not quick:
            found += [AttackVariant(attack, other=name) for name in request.others or {}]
    return found
