"""Timings that other programs do not distort, and that grow with what is computed.

Other programs only ever add time. The quick runs of a half therefore show what it costs, and slow ones may be
*disturbed*: those are kept in the record, but not counted (`steady_timing`). A cut whose edge half contains another's
cannot have the quicker prefix, nor the slower suffix: `ascending` moves what was measured as little as possible until
this holds. That is isotonic regression over a partial order (Barlow et al., Statistical Inference under Order
Restrictions, 1972, section 1.3), solved exactly as its dual, non-negative least squares.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ..records import Timing
from ..records.base import quantile

DISTURBED_SHARE = 0.3
"""A run is disturbed if it takes longer than the quick runs by this share of their time..."""

DISTURBED_SCATTERS = 6.0
"""... by this many times the distance between their own 5 % and 25 % quantiles..."""

DISTURBED_MS = 0.05
"""... and by this. The shortest halves take half as long again, or not, with what the caches happen to hold."""

EVEN = 1e-9
"""Milliseconds by which an order may be missed: rounding."""

Values = NDArray[np.float64]
Order = NDArray[np.bool_]


def steady_timing(samples_ms: Sequence[float]) -> Timing:
    """The summary of the undisturbed runs; the disturbed ones stand beside them.

    Right as long as a quarter of the runs is undisturbed.

    Args:
        samples_ms: milliseconds, in the order of measuring.

    Raises:
        ValueError: no samples.

    Examples:
        >>> timing = steady_timing([4.1, 4.0, 9.7, 4.2, 31.0])
        >>> timing.p50_ms, timing.disturbed_ms
        (4.1, (9.7, 31.0))
    """
    most_ms = longest_undisturbed_ms(samples_ms)
    kept = Timing.from_samples([each for each in samples_ms if each <= most_ms])
    return kept.model_copy(update={"disturbed_ms": tuple(each for each in samples_ms if each > most_ms)})


def longest_undisturbed_ms(samples_ms: Sequence[float]) -> float:
    """Milliseconds beyond which a run counts as disturbed."""
    if not samples_ms:
        raise ValueError("a timing needs at least one sample")
    ordered = sorted(samples_ms)
    quick = quantile(ordered, 0.25)
    scatter = quick - quantile(ordered, 0.05)
    return quick + max(DISTURBED_SHARE * quick, DISTURBED_SCATTERS * scatter, DISTURBED_MS)


def moved(timing: Timing, p50_ms: float) -> Timing:
    """A timing with another median. Its p95 keeps its distance from the median, and never falls.

    Examples:
        >>> timing = Timing(p50_ms=4.0, p95_ms=5.0, iqr_ms=0.5, samples_ms=())
        >>> moved(timing, 4.5).p95_ms, moved(timing, 3.5).p95_ms
        (5.5, 5.0)
    """
    p95_ms = max(timing.p95_ms, p50_ms + timing.p95_ms - timing.p50_ms)
    return timing.model_copy(update={"p50_ms": p50_ms, "p95_ms": p95_ms})


def precision(timing: Timing, least_ms: float) -> float:
    """The weight of a median: runs over their squared scatter, which counts as `least_ms` at least."""
    scatter_ms = max(timing.iqr_ms / 1.349, least_ms)
    return max(len(timing.samples_ms), 1) / scatter_ms**2


def ascending(values: Values, weights: Values, order: Order) -> Values:
    """The values nearest to `values`, in weighted squares, that keep an order.

    Only pairs that are out of order become constraints, the worst one of each value first, until none is left. So
    values that keep the order come back as they are, at once.

    Args:
        values: [n].
        weights: [n], positive.
        order: [n, n], `order[i, j]` where value i may not exceed value j.

    Examples:
        >>> chain = np.triu(np.ones((3, 3), dtype=bool), 1)
        >>> ascending(np.array([1.0, 4.0, 2.0]), np.array([1.0, 1.0, 3.0]), chain).tolist()
        [1.0, 2.5, 2.5]
    """
    from scipy.optimize import nnls  # only planning profiles; a device has no scipy

    roots, fitted = np.sqrt(weights / weights.max(initial=1e-300)), values
    pairs: set[tuple[int, int]] = set()
    while True:
        excess = np.where(order, fitted[:, None] - fitted[None, :], 0.0)
        worst = excess.argmax(axis=1) if len(values) else np.zeros(0, dtype=int)
        found = {(int(i), int(worst[i])) for i in np.flatnonzero(excess.max(axis=1, initial=0.0) > EVEN)} - pairs
        if not found:
            return fitted
        pairs |= found
        low, high = np.array(sorted(pairs)).T
        columns = np.zeros((len(values), len(pairs)))
        columns[low, np.arange(len(pairs))] = -1.0
        columns[high, np.arange(len(pairs))] = 1.0
        multipliers, _ = nnls(columns / roots[:, None], -roots * values, maxiter=30 * len(pairs) + 100)
        fitted = values + columns @ multipliers / roots**2
