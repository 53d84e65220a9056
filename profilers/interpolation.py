"""Timings of cuts that were not measured, from their measured neighbours."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence

from ..records import Timing

NO_TIME = Timing(p50_ms=0.0, p95_ms=0.0, iqr_ms=0.0, samples_ms=())
"""Where there is nothing to run."""


def between(points: Sequence[tuple[float, Timing]], at: float) -> Timing:
    """The timing at node time `at`, linear between the two nearest points. It has no samples.

    Args:
        points: node time and timing, ascending in node time.
        at: node time in the same unit.

    Examples:
        >>> end = Timing(p50_ms=4.0, p95_ms=4.0, iqr_ms=0.0, samples_ms=())
        >>> between([(0.0, NO_TIME), (2.0, end)], 1.0).p50_ms
        2.0
    """
    above = min(max(bisect_left([place for place, _ in points], at), 1), len(points) - 1)
    (left, low), (right, high) = points[above - 1], points[above]
    weight = (at - left) / (right - left) if right > left else 0.5
    weight = min(max(weight, 0.0), 1.0)

    def blend(one: float, other: float) -> float:
        return (1 - weight) * one + weight * other

    return Timing(
        p50_ms=blend(low.p50_ms, high.p50_ms),
        p95_ms=blend(low.p95_ms, high.p95_ms),
        iqr_ms=blend(low.iqr_ms, high.iqr_ms),
        samples_ms=(),
    )
