"""The one rule to sign off what attacks showed. Every command, table and page says the same.

Attacks show how much was recovered, never that nothing more can be. Signing off therefore takes attackers that train
until they gain nothing more, from several seeds, and enough targets for a narrow interval.
"""

from __future__ import annotations

from typing import Literal

from .audit import TierFigures

EffortName = Literal["quick", "standard", "thorough"]

Level = Literal["estimated", "quick", "standard", "signed off", "by definition"]
"""How well a figure of leakage is supported. *by definition*: it follows from what crosses, and no attack is needed."""

LEVELS: tuple[Level, ...] = ("estimated", "quick", "standard", "signed off", "by definition")
"""From the least support to the most."""

PROVEN: tuple[Level, ...] = ("signed off", "by definition")
"""The levels that prove a privacy budget."""

QUICK = "quick effort finds lower bounds alone"
"""Why it meets no privacy budget, in the words of every message."""

SEEDS = 3
"""The fewest seeds that attackers are trained from."""

TRAINED_TARGETS = 500
"""The fewest targets of attacks that are trained once for all targets."""

OPTIMISED_TARGETS = 100
"""The fewest targets of attacks that optimise each image."""


def missing_to_sign_off(effort: EffortName, seeds: int, figures: TierFigures) -> tuple[str, ...]:
    """What is missing before a plan may be signed off, apart from its budgets; empty if nothing is.

    Args:
        effort: of every attack.
        seeds: how many seeds attackers were trained from.
        figures: of the strongest tier that the threat model allows.

    Returns:
        One phrase for each thing that is missing.
    """
    missing = []
    if effort == "quick":
        missing.append(f"standard effort or more: {QUICK}")
    if seeds < SEEDS:
        missing.append(f"{SEEDS} attacker seeds instead of {seeds}")
    if not figures.conclusive:
        missing.append(f"attacks that did not end: FAILED {', '.join(figures.failed)}")
    if figures.target_count < TRAINED_TARGETS:
        missing.append(f"{TRAINED_TARGETS} targets instead of {figures.target_count}")
    if figures.fewest_targets < OPTIMISED_TARGETS:
        missing.append(f"{OPTIMISED_TARGETS} targets of every attack instead of {figures.fewest_targets}")
    return tuple(missing)
