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
from .inversion import InversionIndex
from .ridge import Kernels, RidgeIndex, ridge_index
from .secrets import Components

COMBINED_INDEX = Part("combined-index")
"""Raise its revision whenever the same two figures give another index."""

FEW_SAMPLES = 500
"""With fewer samples the covariance of the inputs is a guess, and the report says so."""


@dataclass(frozen=True, slots=True)
class CombinedIndex:
    """The index of one (cut, defense), and where it comes from.

    Attributes:
        index: what data shows; its high end is the greater of both.
        shown: what data shows.
        inverted: what algebra shows; None where there is none.
        by_samples: as of `RidgeIndex`.
        note: why the high end is as high as it is; empty where there is nothing to say.
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
    ridge: RidgeIndex, inverted: InversionIndex | str, samples: int, unseen: Callable[[], float]
) -> CombinedIndex:
    """What data shows, up to the greater of both.

    Args:
        ridge: what data shows.
        inverted: what algebra shows, or why there is none.
        samples: that both are from.
        unseen: gives what a regression with as many samples misses of the inputs themselves; see `unseen_share`.
    """
    shown = ridge.index
    if isinstance(inverted, str):
        if not ridge.varies:
            return CombinedIndex(shown, shown, None, ridge.by_samples, "")
        missed = unseen()
        high = min(max(shown.high, shown.value + missed), 1.0)
        note = (
            f"no bound from the edge half ({inverted}): the high end adds {missed:.3f}, which a regression on "
            f"{samples} samples misses even of the inputs themselves"
        )
        return CombinedIndex(shown.model_copy(update={"high": high}), shown, None, ridge.by_samples, note)
    index = Interval(
        value=shown.value,
        low=shown.low,
        high=max(shown.high, inverted.value, inverted.high),
        level=shown.level,
    )
    note = ""
    if samples < FEW_SAMPLES:
        note = (
            f"{samples} samples, fewer than {FEW_SAMPLES}, hardly tell how the inputs vary: the high end is that of an "
            "attacker who knows it; give more data"
        )
    return CombinedIndex(index, shown, inverted, ridge.by_samples, note)


def unseen_share(inputs: Components) -> float:
    """What ridge attackers miss of the inputs where the inputs themselves are released; the worst input counts."""
    reached = [
        ridge_index([Kernels((scores @ scores.T).float())], Components((scores,))).index.value
        for scores in inputs.scores
    ]
    return 1.0 - min(reached)
