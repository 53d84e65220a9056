"""What estimates distinguish among defenses, and defenses that differ in one thing."""

from __future__ import annotations

import math

from ..defenses.pipeline import Defense
from .inversion import lost_by_all

CLOSED_FORM_FEATURES = 256
"""With fewer dropped elements their number scatters too much for D -> (1 - p) D; masks are drawn instead."""


def without_dropout(defense: Defense) -> Defense:
    """The same without masks."""
    return Defense(defense.record.without("dropout"), defense.crossing)


def at_rate(defense: Defense, rate: float) -> Defense:
    """The same with another dropout rate."""
    dropout = defense.record.dropout
    if dropout is None or not rate:
        return without_dropout(defense)
    return Defense(defense.record.replacing(dropout.model_copy(update={"rate": rate})), defense.crossing)


def fused(defense: Defense, releases: int) -> Defense:
    """One release that tells at least what the mean of so many does: noise and random rounding average out."""
    several = at_rate(defense, lost_by_all(defense.rate, releases))
    record, noise = several.record, several.record.noise
    if noise is not None:
        record = record.replacing(noise.model_copy(update={"std": noise.std / math.sqrt(releases)}))
    if is_random(several):
        record = record.without("quantizer")
    return Defense(record.model_copy(update={"masks": "fresh"}), several.crossing)


def wire_key(defense: Defense) -> str:
    """Names what all masks over the same quantizer and noise share."""
    return defense.record.without("dropout").model_copy(update={"masks": "fresh"}).model_dump_json()


def is_random(defense: Defense) -> bool:
    """True where a release of the same numbers differs from one time to the next, masks apart."""
    return defense.record.noise is not None or defense.record.rounds_randomly


def is_gaussian(defense: Defense) -> bool:
    """True where the floor is Gaussian noise that is really added. Laplace noise has the pairwise bounds alone."""
    noise = defense.record.noise
    return defense.floor.real and noise is not None and noise.distribution == "gaussian"


def has_mass(defense: Defense) -> bool:
    """True for stochastic rounding alone: real randomness, whose mass is known, but no floor."""
    return defense.record.rounds_randomly and defense.record.noise is None


def in_closed_form(defense: Defense) -> bool:
    """True where expected distances stand for a mask: no dropout, or that of very many elements."""
    if defense.dropout is None:
        return True
    elements = sum(crossing.sample_elements for crossing in defense.crossing if defense.drops(crossing))
    return not defense.dropout.by_channel and elements >= CLOSED_FORM_FEATURES
