"""From the cheap estimate to the audited index: a monotone regression, with intervals that audits at random calibrate.

Attacks cost minutes and estimates seconds, so most candidates are never attacked. What attackers would reach at them is
predicted by isotonic regression of the audited index on the estimate (more estimated, more recovered), and the
prediction's interval is split-conformal (Vovk, Gammerman & Shafer 2005; Lei et al., JASA 2018, algorithm 2): as wide as
the regression was wrong on audits that were drawn at random and that it has not seen. It covers the audited figures,
interval included, of `COVERAGE` of candidates drawn at random, not of the one that is chosen *because* its figure is
low: that one is audited itself.

That share holds on average over searches. In one search it is random: with n audits at random its law is
Beta(k, n + 1 - k), k being the rank of the quantile (Vovk, "Conditional validity of inductive conformal predictors",
2012), and with few of them it scatters widely. `expected_coverage` says how widely.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.optimize import isotonic_regression
from scipy.special import betaincinv

from ..records import Interval

COVERAGE = 0.9
"""Share of candidates, drawn at random, whose audited figure lies in the predicted interval."""

CALIBRATION_AUDITS = 10
"""Audits at random below which nothing is predicted: the interval is then the whole range."""

LEAST_FITTED = 3
"""Audits below which the estimate itself is the prediction."""

NOTHING_KNOWN = Interval(value=1.0, low=0.0, high=1.0, level=COVERAGE)


@dataclass(frozen=True, slots=True)
class ExpectedCoverage:
    """The share of candidates whose audited figure lies in the predicted interval, before the audits are drawn.

    Attributes:
        mean: over searches.
        low: one search in ten has less.
    """

    mean: float
    low: float

    @property
    def text(self) -> str:
        """In words."""
        return (
            f"intervals hold for {self.mean:.0%} of the candidates on average, in one search of ten for less than "
            f"{self.low:.0%}"
        )


def expected_coverage(at_random: int) -> ExpectedCoverage:
    """What so many audits at random promise.

    Args:
        at_random: audits of candidates drawn at random, `CALIBRATION_AUDITS` or more.

    Examples:
        >>> found = expected_coverage(10)
        >>> round(found.mean, 3), round(found.low, 3)
        (0.909, 0.794)
    """
    rank = min(math.ceil((at_random + 1) * COVERAGE), at_random)
    return ExpectedCoverage(rank / (at_random + 1), float(betaincinv(rank, at_random + 1 - rank, 0.1)))


@dataclass(frozen=True, slots=True)
class Seen:
    """One audited candidate: what was estimated, and what attackers reached."""

    estimate: float
    audited: Interval


class Curve:
    """Isotonic regression of audited indices on estimates; with too few audits the estimate itself."""

    def __init__(self, audits: Sequence[Seen]) -> None:
        ordered = sorted(audits, key=lambda seen: seen.estimate)
        self._fitted = len(ordered) >= LEAST_FITTED
        self._estimates = np.array([seen.estimate for seen in ordered])
        self._levels = np.array([seen.audited.value for seen in ordered])
        if self._fitted:
            self._levels = isotonic_regression(self._levels).x

    def __call__(self, estimate: float) -> float:
        """The audited index that is expected where so much is estimated."""
        if not self._fitted:
            return estimate
        # Beyond what was audited the curve goes on with slope one: no attack has been seen there.
        first, last = float(self._estimates[0]), float(self._estimates[-1])
        beyond = min(estimate - first, 0.0) + max(estimate - last, 0.0)
        level = float(np.interp(estimate, self._estimates, self._levels)) + beyond
        return min(max(level, 0.0), 1.0)


class Calibration:
    """Predicts audited indices from estimates.

    The interval lies about a curve that has not seen the audits which say how wide it is; what is expected comes from
    a curve through all audits.

    Args:
        at_random: audits of candidates drawn at random; they set how wide intervals are.
        chosen: audits of candidates that were chosen for what they would tell.
    """

    def __init__(self, at_random: Sequence[Seen], chosen: Sequence[Seen]) -> None:
        self._apart, self._expected = Curve(chosen), Curve([*at_random, *chosen])
        self._half_width = self._quantile(at_random)
        self.coverage = expected_coverage(len(at_random)) if self._half_width is not None else None

    def _quantile(self, at_random: Sequence[Seen]) -> float | None:
        """The conformal quantile of how far the curve was from the far end of an audited interval."""
        if len(at_random) < CALIBRATION_AUDITS:
            return None
        missed = []
        for seen in at_random:
            level = self._apart(seen.estimate)
            missed.append(max(seen.audited.high - level, level - seen.audited.low))
        rank = math.ceil((len(missed) + 1) * COVERAGE)
        return sorted(missed)[rank - 1] if rank <= len(missed) else None

    @property
    def says_something(self) -> bool:
        """False where too few audits were drawn at random, so that every interval is the whole range."""
        return self._half_width is not None

    def predict(self, estimate: float) -> Interval:
        """The expected audited index and its interval; the whole range where too few audits were drawn at random."""
        if self._half_width is None:
            return NOTHING_KNOWN
        middle, half = self._apart(estimate), max(self._half_width, 0.0)
        low, high = max(middle - half, 0.0), min(middle + half, 1.0)
        return Interval(value=min(max(self._expected(estimate), low), high), low=low, high=high, level=COVERAGE)
