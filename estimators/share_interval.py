"""Exact intervals of shares, which hold near 0 and 1 and for few samples, where a bootstrap reads [0, 0].

Sources: C. Clopper and E. Pearson, "The use of confidence or fiducial limits illustrated in the case of the binomial",
Biometrika 26 (1934); R. Newcombe, "Interval estimation for the difference between independent proportions", Statistics
in Medicine 17 (1998), method 10, which combines the distances from each share to the ends of its own interval.
"""

from __future__ import annotations

import math

from scipy.special import betaincinv, ndtri

from ..records import Interval

LEVEL = 0.95


def share_interval(share: float, count: int, level: float = LEVEL) -> Interval:
    """The Clopper-Pearson interval of a share.

    Args:
        share: the mean of `count` independent values in [0, 1]. Values between 0 and 1, as ties give, vary less than
            those of a coin with the same mean: the interval then covers more than it says.
        count: how many values there are.
        level: the least coverage, two-sided, from 0 to 1.

    Examples:
        >>> round(share_interval(share=0.0, count=32).high, 3)  # nothing seen in 32 tries is no proof of nothing
        0.109
    """
    hits, tail = min(max(share, 0.0), 1.0) * count, (1 - level) / 2
    low = float(betaincinv(hits, count - hits + 1, tail)) if hits > 0 else 0.0
    high = float(betaincinv(hits + 1, count - hits, 1 - tail)) if hits < count else 1.0
    return Interval(value=share, low=min(low, share), high=max(high, share), level=level)


def excess_interval(share: float, reference: float, count: int, level: float = LEVEL) -> Interval:
    """The interval of `share - reference`, two shares of the same `count` samples.

    Args:
        share: in [0, 1].
        reference: in [0, 1], of a comparison on the same samples. The two are taken for independent; where both tend to
            succeed on the same samples, the interval covers more than it says.
        count: how many samples there are.
        level: the nominal coverage, two-sided.

    Examples:
        >>> found = excess_interval(share=0.5, reference=0.1, count=100)
        >>> round(found.low, 2), found.value, round(found.high, 2)
        (0.27, 0.4, 0.51)
    """
    own, other = share_interval(share, count, level), share_interval(reference, count, level)
    value = share - reference
    return Interval(
        value=value,
        low=max(-1.0, value - math.hypot(share - own.low, other.high - reference)),
        high=min(1.0, value + math.hypot(own.high - share, reference - other.low)),
        level=level,
    )


def widened(interval: Interval, level: float) -> Interval:
    """An interval of a nearly normal figure at another level: each end moves by the ratio of normal quantiles.

    Args:
        interval: at its own level.
        level: the coverage wanted, two-sided, from 0 to 1.

    Examples:
        >>> found = widened(Interval(value=0.5, low=0.4, high=0.6), level=0.99)
        >>> round(found.high, 3)
        0.631
    """
    ratio = float(ndtri(0.5 + level / 2) / ndtri(0.5 + interval.level / 2))
    return Interval(
        value=interval.value,
        low=interval.value - ratio * (interval.value - interval.low),
        high=interval.value + ratio * (interval.high - interval.value),
        level=level,
    )
