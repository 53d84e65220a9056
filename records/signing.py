"""The one rule to sign off what attacks showed. Every command, table and page says the same.

Attacks show how much was recovered, never that nothing more can be. Signing off asks for an attacker that trained until
nothing was gained, more than once, on targets enough for a narrow interval.
"""

from __future__ import annotations

from typing import Literal

from .audit import TierFigures

EffortName = Literal["quick", "standard", "thorough"]

SEEDS = 3
"""Least attackers, each trained from another seed."""

TRAINED_TARGETS = 500
"""Least targets of attacks that are trained once for all of them."""

OPTIMISED_TARGETS = 100
"""Least targets of attacks that optimise each image."""


def unsigned(effort: EffortName, seeds: int, figures: TierFigures) -> tuple[str, ...]:
    """What is missing before a plan may be signed off, apart from its budgets; empty if nothing is.

    Args:
        effort: of every attack.
        seeds: attackers that were trained.
        figures: of the strongest tier that the threat model allows.
    """
    missing = []
    if effort == "quick":
        missing.append("standard effort or more: quick effort finds lower bounds alone")
    if seeds < SEEDS:
        missing.append(f"{SEEDS} attacker seeds instead of {seeds}")
    if not figures.conclusive:
        missing.append(f"attacks that did not end: FAILED {', '.join(figures.failed)}")
    if figures.target_count < TRAINED_TARGETS:
        missing.append(f"{TRAINED_TARGETS} targets instead of {figures.target_count}")
    if figures.fewest_targets < OPTIMISED_TARGETS:
        missing.append(f"{OPTIMISED_TARGETS} targets of every attack instead of {figures.fewest_targets}")
    return tuple(missing)
