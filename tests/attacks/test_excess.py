"""The excess over the declared output: known values, and intervals that flatter nobody."""

from __future__ import annotations

from typing import Any

import pytest
from collabplan.attacks.excess import PERCEPTUAL, excess, over_class_mean
from collabplan.records import AttackFigures, FloorFigures, Interval, TierFigures


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


def floor(of: str, value: float) -> FloorFigures:
    reads: dict[str, Any] = dict.fromkeys(PERCEPTUAL, at(value - 0.02, value, value + 0.02))
    figures = AttackFigures(
        index=at(0, 0, 0), mse=0.1, reidentification=at(0, 0, 0), target_count=9, gallery_count=9, **reads
    )
    return FloorFigures(of=of, figures=figures)


def test_perceptual_figures_count_beyond_the_mean_image_of_the_class() -> None:
    known = at(0.85, 0.9, 0.95)
    tier = TierFigures(
        threat="black-box", index=known, index_attack="ridge", consistency=known, ssim=known, features=known,
        reidentification=known, lower_bound=False, conclusive=True,
    )  # fmt: skip
    floors = [floor("mean image", 0.2), floor("class mean", 0.8), floor("image of the class", 0.7)]
    (found,) = over_class_mean([tier], floors)
    reads, prior = floors[1].figures.ssim, floors[0].figures.ssim
    assert reads is not None
    assert prior is not None
    assert found.consistency_excess == found.ssim_excess == found.features_excess == excess(known, reads)
    assert found.consistency_excess is not None
    assert found.consistency_excess.value == pytest.approx(0.5)
    assert found.ms_ssim_excess is None
    (without,) = over_class_mean([tier], floors[:1])
    assert without.ssim_excess == excess(known, prior)
    (unknown,) = over_class_mean([tier], [])
    assert unknown.ssim_excess is None


def test_a_floor_near_1_leaves_nothing_to_tell_and_calls_nothing_harmless() -> None:
    below = at(0.95, 0.97, 0.98)
    tier = TierFigures(
        threat="black-box", index=below, index_attack="ridge", consistency=below, reidentification=below,
        lower_bound=False, conclusive=True,
    )  # fmt: skip
    for value, told in ((1.0, False), (0.89, False), (0.87, True)):
        (found,) = over_class_mean([tier], [floor("class mean", value)])
        assert (found.consistency_excess is not None) == told
