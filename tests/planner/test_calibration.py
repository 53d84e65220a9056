"""Predictions keep their promise at random, rise with the estimate, and promise nothing on too few audits."""

from __future__ import annotations

import numpy as np
import pytest
from collabplan.planner.calibration import (
    CALIBRATION_AUDITS,
    COVERAGE,
    NOTHING_KNOWN,
    Calibration,
    Curve,
    Seen,
    expected_coverage,
)
from collabplan.records import Interval


def audits(draws: np.random.Generator, count: int, spread: float = 0.05) -> list[Seen]:
    """A saturating truth: attackers reach more than is estimated, and differ from candidate to candidate."""
    made = []
    for estimate in draws.uniform(size=count):
        index = float(np.clip(np.sqrt(estimate) + draws.normal() * spread, 0, 1))
        made.append(Seen(float(estimate), Interval(value=index, low=max(index - 0.01, 0), high=min(index + 0.01, 1))))
    return made


def covered(predicted: Interval, seen: Seen) -> bool:
    return predicted.low <= seen.audited.low and seen.audited.high <= predicted.high


@pytest.mark.parametrize("chosen", [0, 2, 15])
def test_the_intervals_cover_what_they_promise(chosen: int) -> None:
    """Over many studies of ten random audits; three standard errors of the share are 0.02."""
    draws = np.random.default_rng(0)
    hits = []
    for _ in range(400):
        calibration = Calibration(audits(draws, CALIBRATION_AUDITS), audits(draws, chosen))
        hits += [covered(calibration.predict(seen.estimate), seen) for seen in audits(draws, 5)]
    assert np.mean(hits) >= COVERAGE - 0.02


@pytest.mark.parametrize("count", [CALIBRATION_AUDITS, 40])
def test_what_is_said_about_coverage_is_what_searches_have(count: int) -> None:
    """Each search draws its audits from many candidates, over all of which its coverage is counted."""
    draws, said = np.random.default_rng(4), expected_coverage(count)
    chosen, every = audits(draws, 40), audits(draws, 4000)
    curve = Curve(chosen)
    missed = np.sort([max(s.audited.high - curve(s.estimate), curve(s.estimate) - s.audited.low) for s in every])
    shares = []
    for _ in range(1000):
        at_random = [every[at] for at in draws.integers(len(every), size=count)]
        predicted = Calibration(at_random, chosen).predict(0.4)  # far enough from 0 and 1 not to be clipped
        shares.append(np.searchsorted(missed, (predicted.high - predicted.low) / 2 + 1e-9) / len(every))
    assert np.mean(shares) == pytest.approx(said.mean, abs=0.015)
    assert np.quantile(shares, 0.1) == pytest.approx(said.low, abs=0.03)


def test_audits_that_were_chosen_make_the_intervals_narrow() -> None:
    """The truth lies up to 0.25 above the estimate itself."""
    draws = np.random.default_rng(1)
    blind = Calibration(audits(draws, 40), [])
    taught = Calibration(audits(draws, 40), audits(draws, 40))
    widths = [each.predict(0.3).high - each.predict(0.3).low for each in (taught, blind)]
    assert widths[0] < 0.6 * widths[1]


@pytest.mark.parametrize("count", [0, 1, CALIBRATION_AUDITS - 1])
def test_too_few_audits_at_random_promise_nothing(count: int) -> None:
    draws = np.random.default_rng(2)
    calibration = Calibration(audits(draws, count), audits(draws, 50))
    assert calibration.predict(0.0) == NOTHING_KNOWN
    assert calibration.predict(0.5).high == 1.0


def test_predictions_never_fall_where_the_estimate_rises() -> None:
    draws = np.random.default_rng(3)
    calibration = Calibration(audits(draws, 20), audits(draws, 8, spread=0.3))
    levels = [calibration.predict(estimate).value for estimate in np.linspace(0, 1, 101)]
    assert levels == sorted(levels)
    assert all(0 <= level <= 1 for level in levels)


def test_beyond_all_audits_more_estimated_is_more_predicted() -> None:
    """A flat end would call a candidate that leaks more than all audited ones as private as the worst of them."""
    low = [Seen(estimate, Interval(value=0.2, low=0.2, high=0.2)) for estimate in (0.1, 0.15, 0.2)]
    assert Curve(low)(0.7) == pytest.approx(0.7)
