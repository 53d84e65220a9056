"""Where another figure orders two (cut, defense) pairs the other way than the index does."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import permutations

from ..records import Audit, Interval, TierFigures

OTHERS = ("within_class", "region", "consistency", "ssim", "ms_ssim", "features", "reconstruction_rate")
"""Fields of `TierFigures` that are compared with the index.

Two audits of the same targets have the same floors, so what a figure has beyond its floor has the figure's own order.
"""


@dataclass(frozen=True)
class OtherOrder:
    """By `figure`, `first` reveals more than `second`; by the index it reveals less."""

    figure: str
    first: Audit
    second: Audit


def other_orders(audits: Sequence[Audit]) -> list[OtherOrder]:
    """One clear disagreement with the index for each figure that has any, the widest.

    An order is clear where the two intervals do not overlap.

    Args:
        audits: of several (cut, defense) pairs; the strongest tier of each counts.
    """
    found = []
    for figure in OTHERS:
        against = [
            (gap, OtherOrder(figure, first, second))
            for first, second in permutations([audit for audit in audits if audit.tiers], 2)
            if (gap := _gap(figure, first.tiers[-1], second.tiers[-1])) > 0
        ]
        if against:
            found.append(max(against, key=lambda pair: pair[0])[1])
    return found


def _gap(figure: str, first: TierFigures, second: TierFigures) -> float:
    """How far `first` lies above `second` by the figure; 0 unless it is clear and the index clearly says otherwise."""
    high, low = getattr(first, figure), getattr(second, figure)
    if high is None or low is None or not _above(high, low) or not _above(second.index, first.index):
        return 0.0
    return float(high.value - low.value)


def _above(one: Interval, other: Interval) -> bool:
    return one.low > other.high
