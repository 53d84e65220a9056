"""Timings between measured cuts lie on a straight line."""

import pytest
from collabplan.profilers.interpolation import NO_TIME, between
from collabplan.records import Timing


def timing(ms: float) -> Timing:
    return Timing(p50_ms=ms, p95_ms=2 * ms, iqr_ms=ms / 10, samples_ms=(ms,))


def test_between_two_measured_cuts_lies_a_straight_line() -> None:
    points = [(0.0, timing(0.0)), (4.0, timing(10.0)), (8.0, timing(30.0))]
    middle = between(points, 6.0)
    assert (middle.p50_ms, middle.p95_ms, middle.iqr_ms) == pytest.approx((20.0, 40.0, 2.0))
    assert middle.samples_ms == ()
    assert between(points, 9.0).p50_ms == 30.0
    assert between([(1.0, timing(2.0)), (1.0, timing(4.0))], 1.0).p50_ms == pytest.approx(3.0)


def test_before_the_first_and_after_the_last_point_the_ends_hold() -> None:
    points = [(2.0, NO_TIME), (4.0, timing(10.0))]
    assert between(points, 0.0).p50_ms == 0.0
    assert between(points, 9.0).p50_ms == 10.0
