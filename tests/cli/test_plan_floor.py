"""A plan's audit beside the floor of what the service returns."""

from __future__ import annotations

import pytest
from collabplan.cli.plan_tables import audited
from collabplan.planner.output_floor import beside_floor
from collabplan.records import Audited, FloorIndex, Interval, TierFigures


def at(value: float) -> Interval:
    return Interval(value=value, low=value - 0.1, high=value + 0.1)


def plain() -> Audited:
    figures = TierFigures(
        threat="white-box",
        index=at(0.6),
        index_attack="kernel",
        reidentification=at(0.5),
        lower_bound=False,
        conclusive=True,
    )
    return Audited(effort="standard", split="confirm", seeds=3, attacks=("kernel",), figures=figures)


def test_the_excess_stands_beside_the_index_and_says_over_what() -> None:
    found = beside_floor(plain(), FloorIndex(of="label", declared=False, index=at(0.2)))
    assert found.figures.excess is not None
    assert found.figures.excess.value == pytest.approx(0.5)
    said = " ".join(text for _, text in audited(found))
    assert "excess 0.500 (up to 0.667) over the label alone (`returns` is not declared), whose index is 0.200" in said


def test_without_a_floor_nothing_is_said_of_an_excess() -> None:
    assert beside_floor(plain(), None) == plain()
    assert not any("excess" in text for _, text in audited(plain()))
