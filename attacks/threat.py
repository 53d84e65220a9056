"""Threat models: the tiers of an attacker, what each of them has at least, and the error of an attack that fails."""

from __future__ import annotations

from ..records import CollabplanError, Threat

MIN_AUXILIARY = 20
"""The fewest auxiliary images that an attacker may have."""

OWN = "own"
"""How records name auxiliary data that come from the targets' distribution."""

TIERS: tuple[Threat, ...] = ("query-free", "black-box", "white-box")
"""Weakest first. A tier's figure is the maximum over its own attacks and those of all weaker tiers."""


class AttackFailed(CollabplanError):
    """The attack could not be carried out. That proves nothing about privacy."""
