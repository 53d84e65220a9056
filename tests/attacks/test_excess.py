"""The excess over the declared output: known values, and intervals that flatter nobody."""

from __future__ import annotations

import pytest
from collabplan.attacks.excess import excess
from collabplan.records import Interval


def at(low: float, value: float, high: float) -> Interval:
    return Interval(value=value, low=low, high=high)


def test_nothing_beyond_the_floor_is_no_excess_and_everything_is_all() -> None:
    floor = at(0.35, 0.4, 0.45)
    assert excess(floor, floor).value == 0.0
    assert excess(at(1.0, 1.0, 1.0), floor).value == 1.0
    assert excess(at(0.6, 0.7, 0.8), floor).value == pytest.approx(0.5)


def test_without_a_floor_the_excess_is_the_index() -> None:
    index = at(0.2, 0.3, 0.4)
    assert excess(index, at(0.0, 0.0, 0.0)) == index


def test_the_upper_end_takes_the_least_floor_and_the_lower_the_greatest() -> None:
    found = excess(at(0.5, 0.6, 0.7), at(0.3, 0.4, 0.5))
    assert found.high == pytest.approx((0.7 - 0.3) / 0.7)
    assert found.low == pytest.approx(0.0)
    assert found.low <= found.value <= found.high


def test_an_output_that_tells_everything_proves_no_small_excess() -> None:
    assert excess(at(0.9, 0.95, 1.0), at(0.99, 1.0, 1.0)).high == pytest.approx(1.0)
    assert excess(at(0.4, 0.5, 0.6), at(1.0, 1.0, 1.0)).value == 1.0


def test_a_release_below_the_floor_has_an_excess_of_zero_and_not_less() -> None:
    assert excess(at(0.1, 0.2, 0.3), at(0.5, 0.6, 0.7)) == at(0.0, 0.0, 0.0)
