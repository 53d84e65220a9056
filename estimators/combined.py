"""The estimated leakage index: what data shows, up to the greater of that and what algebra shows.

A regression (`ridge.py`) reaches what it reaches with the samples that it has; with too few of them it cannot see even
an invertible layer. Local inversion (`inversion.py`) needs no samples, but holds around one input. Neither alone may
reassure. `value` and `low` are what data shows, and rank candidates; `high` is the greater of both, and budgets see it.
Behind rectifiers and pooling, local inversion reads more than attacks reach, so it decides no order.

Where the edge half has no derivative there is no algebra. The high end then adds what the same regression with the same
samples fails to reconstruct where the inputs themselves are released: what it cannot see there, it may miss here.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from ..records import Interval
from ..records.revisions import Part
from .inversion import MANY, InversionIndex
from .ridge import Kernels, RidgeIndex, ridge_index
from .secrets import Components

COMBINED_INDEX = Part("combined-index", 2)
"""Raise its revision whenever the same two figures give another index."""

REPEATS = (
    f"masks or noise are random: high ends are those of {MANY} releases of an input (if keyed, of near-duplicates), "
    "which average noise out and show what one mask drops"
)
"""Why the high end is further from the value than samples explain."""

FEW_SAMPLES = 500
"""With fewer samples the covariance of the inputs is a guess, and the report says so."""


@dataclass(frozen=True, slots=True)
class CombinedIndex:
    """The index of one (cut, defense), and where it comes from.

    Attributes:
        index: what data shows; its high end is the greater of both.
        shown: what data shows: of one release and, at its high end, of `MANY` where these tell more.
        inverted: what algebra shows; None where there is none.
        by_samples: as of `RidgeIndex`, of one release.
        note: why the high end is as high as it is, a reason a line; empty where there is nothing to say.
    """

    index: Interval
    shown: Interval
    inverted: InversionIndex | None
    by_samples: tuple[tuple[int, float], ...]
    note: str

    @property
    def inverted_value(self) -> Interval | None:
        """What algebra shows, from the shrunk prior to the upper end."""
        if self.inverted is None:
            return None
        value, high = self.inverted.value, max(self.inverted.value, self.inverted.high)
        return Interval(value=value, low=value, high=high)


def combined_index(
    ridge: RidgeIndex,
    inverted: InversionIndex | str,
    samples: int,
    unseen: Callable[[], float],
    many: RidgeIndex | None = None,
) -> CombinedIndex:
    """What data shows, up to the greater of both.

    Args:
        ridge: what data shows of one release.
        inverted: what algebra shows, or why there is none.
        samples: that both are from.
        unseen: gives what a regression with as many samples misses of the inputs themselves; see `unseen_share`.
        many: what data shows of `MANY` releases of an input; None where all releases of it are the same.
    """
    best = ridge if many is None else max(ridge, many, key=lambda each: each.index.high)
    shown = ridge.index.model_copy(update={"high": best.index.high})
    repeats = [] if many is None else [REPEATS]
    if isinstance(inverted, str):
        if not best.varies:
            return CombinedIndex(shown, shown, None, ridge.by_samples, "")
        missed, reached = unseen(), max(each.index.value for each in (ridge, many or ridge))
        high = min(max(shown.high, reached + missed), 1.0)
        note = (
            f"no bound from the edge half ({inverted}): the high end adds {missed:.3f}, which a regression on "
            f"{samples} samples misses even of the inputs themselves"
        )
        note = "\n".join([note, *repeats])
        return CombinedIndex(shown.model_copy(update={"high": high}), shown, None, ridge.by_samples, note)
    index = Interval(
        value=shown.value,
        low=shown.low,
        high=max(shown.high, inverted.value, inverted.high),
        level=shown.level,
    )
    few = (
        f"{samples} samples, fewer than {FEW_SAMPLES}, hardly tell how the inputs vary: the high end is that of an "
        "attacker who knows it; give more data"
    )
    note = "\n".join([*([few] if samples < FEW_SAMPLES else []), *repeats])
    return CombinedIndex(index, shown, inverted, ridge.by_samples, note)


def unseen_share(inputs: Components) -> float:
    """What ridge attackers miss of the inputs where the inputs themselves are released; the worst input counts."""
    reached = [
        ridge_index([Kernels((scores @ scores.T).float())], Components((scores,))).index.value
        for scores in inputs.scores
    ]
    return 1.0 - min(reached)
