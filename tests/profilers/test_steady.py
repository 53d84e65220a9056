"""Disturbed runs do not move a timing, and medians keep to the order of what is computed."""

import random
import statistics

import numpy as np
import pytest
from collabplan.profilers.cuts import MAX_SAMPLES, steady_enough
from collabplan.profilers.steady import ascending, moved, precision, steady_timing
from collabplan.records import Timing
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

CLEAN_MS = 10.0


def clean(draw: random.Random, runs: int, scatter: float = 0.04) -> list[float]:
    return [CLEAN_MS * draw.gauss(1, scatter) for _ in range(runs)]


def contended(draw: random.Random, runs: int, share: float) -> list[float]:
    """Runs of which a share has to wait for other programs, for 3 ms and longer."""
    return [each + (3 + draw.expovariate(1 / 20) if draw.random() < share else 0.0) for each in clean(draw, runs)]


@pytest.mark.parametrize("runs", [5, 10, 25])
def test_clean_runs_are_summarised_as_ever(runs: int) -> None:
    draw = random.Random(0)
    series = [clean(draw, runs) for _ in range(200)]
    assert sum(steady_timing(each) == Timing.from_samples(each) for each in series) >= 198


def test_runs_that_scatter_to_both_sides_are_kept() -> None:
    draw = random.Random(0)
    series = [clean(draw, 25, scatter=0.15) for _ in range(200)]
    lost = sum(len(steady_timing(each).disturbed_ms) for each in series)
    assert lost < 0.02 * 25 * 200


@pytest.mark.parametrize("share", [0.2, 0.5])
def test_contention_while_profiling_moves_neither_median_nor_p95_far(share: float) -> None:
    draw = random.Random(0)
    timings = [steady_timing(contended(draw, 25, share)) for _ in range(300)]
    assert statistics.mean(each.p50_ms for each in timings) == pytest.approx(CLEAN_MS, rel=0.01)
    clean_p95 = CLEAN_MS * (1 + 1.645 * 0.04)
    held = statistics.mean(each.p95_ms for each in timings)
    assert 0.98 * clean_p95 < held < 1.03 * clean_p95
    plain = statistics.mean(Timing.from_samples(contended(draw, 25, share)).p95_ms for _ in range(300))
    assert plain > 2 * clean_p95


def test_disturbed_runs_are_kept_beside_the_counted_ones_in_the_order_of_measuring() -> None:
    timing = steady_timing([4.1, 31.0, 4.0, 9.7, 4.2])
    assert timing.samples_ms == (4.1, 4.0, 4.2)
    assert timing.disturbed_ms == (31.0, 9.7)


def test_a_moved_median_takes_its_p95_along_and_never_lowers_it() -> None:
    timing = Timing.from_samples([4.0, 5.0, 6.0])
    assert moved(timing, 6.0).p95_ms == pytest.approx(timing.p95_ms + 1)
    assert moved(timing, 3.0).p95_ms == timing.p95_ms
    assert moved(timing, 3.0).samples_ms == timing.samples_ms


def test_the_weight_of_a_median_grows_with_runs_and_shrinks_with_scatter() -> None:
    few, many = Timing.from_samples([10.0] * 3), Timing.from_samples([10.0] * 12)
    assert precision(few, 0.1) == pytest.approx(3 / 0.01)
    assert precision(many, 0.1) == pytest.approx(12 / 0.01)
    assert precision(Timing.from_samples([9.0, 10.0, 11.0]), 0.1) < precision(few, 0.1)


def test_rounds_end_when_medians_are_known_closely_or_runs_are_many() -> None:
    draw = random.Random(0)
    assert not steady_enough(clean(draw, 9, 0.0), 1.0)
    assert steady_enough(clean(draw, 10, 0.01), 0.2)
    assert not steady_enough(clean(draw, 12, 0.1), 0.1)
    assert steady_enough(clean(draw, MAX_SAMPLES + 3, 0.1), 0.01)


def random_order(draw: random.Random, count: int) -> NDArray[np.bool_]:
    """A transitive partial order of `count` values: sets of units, ordered by inclusion, as cuts are."""
    masks = np.array([[draw.random() < 0.5 for _ in range(4)] for _ in range(count)], dtype=float)
    inside: NDArray[np.bool_] = masks @ (1 - masks).T == 0
    np.fill_diagonal(inside, val=False)
    return inside


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 10**6), count=st.integers(1, 12))
def test_nearest_values_that_keep_a_partial_order(seed: int, count: int) -> None:
    draw = random.Random(seed)
    order = random_order(draw, count)
    values = np.array([draw.gauss(10, 3) for _ in range(count)])
    weights = np.array([draw.uniform(0.1, 10) for _ in range(count)])
    fitted = ascending(values, weights, order)
    assert not (order & (fitted[:, None] > fitted[None, :] + 1e-6)).any()
    slope = 2 * weights * (fitted - values)  # the gradient: no allowed direction may lower the squares
    for upper in ({j for j in range(count) if order[i, j]} | {i} for i in range(count)):
        assert sum(slope[j] for j in upper) >= -1e-5 or any(
            order[k, j] and abs(fitted[k] - fitted[j]) < 1e-5 for j in upper for k in range(count) if k not in upper
        )
    assert sum(slope) == pytest.approx(0.0, abs=1e-5)
    again = ascending(fitted, weights, order)
    assert np.allclose(again, fitted, atol=1e-6)


@settings(max_examples=40, deadline=None)
@given(values=st.lists(st.floats(0, 100), min_size=1, max_size=30), seed=st.integers(0, 1000))
def test_on_a_chain_it_is_what_scipy_finds(values: list[float], seed: int) -> None:
    from scipy.optimize import isotonic_regression

    draw = random.Random(seed)
    weights = np.array([draw.uniform(0.1, 10) for _ in values])
    chain = np.triu(np.ones((len(values), len(values)), dtype=bool), 1)
    expected = isotonic_regression(np.array(values), weights=weights).x
    assert np.allclose(ascending(np.array(values), weights, chain), expected, atol=1e-5)


def test_values_in_order_are_handed_back_untouched() -> None:
    values = np.array([1.0, 2.0, 2.0, 5.0])
    assert ascending(values, np.ones(4), np.triu(np.ones((4, 4), dtype=bool), 1)) is values
