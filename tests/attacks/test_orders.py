"""Disagreements with the index are named where both figures are clear, and nowhere else."""

from __future__ import annotations

from typing import Any

import pytest
from collabplan.attacks.orders import other_orders
from collabplan.records import Audit, DefenseRecord, Interval, TierFigures


def at(value: float) -> Interval:
    return Interval(value=value, low=value - 0.02, high=value + 0.02)


def audit(name: str, index: float, consistency: float | None = None, **others: Any) -> Audit:
    tier = TierFigures(
        threat="black-box",
        index=at(index),
        index_attack="ridge",
        consistency=None if consistency is None else at(consistency),
        reidentification=at(0.5),
        lower_bound=True,
        conclusive=True,
        **others,
    )
    return Audit(
        cut_id=name,
        cut_name=name,
        cut_kind="proper",
        depth=1,
        payload_bytes=1,
        defense=DefenseRecord(),
        effort="quick",
        attacks=(),
        tiers=(tier,),
        chance=0.01,
    )


def test_the_widest_clear_disagreement_is_named() -> None:
    early, middle, late = audit("early", 0.9, 0.5), audit("middle", 0.7, 0.6), audit("late", 0.5, 0.9)
    (found,) = other_orders([early, middle, late])
    assert (found.figure, found.first, found.second) == ("consistency", late, early)


def test_the_same_order_and_overlapping_intervals_are_no_disagreement() -> None:
    assert other_orders([audit("early", 0.9, 0.9), audit("late", 0.5, 0.5)]) == []
    assert other_orders([audit("early", 0.9, 0.80), audit("late", 0.5, 0.83)]) == []
    assert other_orders([audit("early", 0.52, 0.2), audit("late", 0.5, 0.9)]) == []


@pytest.mark.parametrize("figure", ["features", "ms_ssim"])
def test_perceptual_figures_are_compared_too(figure: str) -> None:
    low: dict[str, Any] = {figure: at(0.2)}
    high: dict[str, Any] = {figure: at(0.4)}
    early, late = audit("early", 0.9, **low), audit("late", 0.5, **high)
    (found,) = other_orders([early, late])
    assert (found.figure, found.first, found.second) == (figure, late, early)
