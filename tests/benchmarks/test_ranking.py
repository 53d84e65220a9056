"""Regret, fits and paired intervals of `benchmarks/ranking.py`, against what can be worked out by hand."""

from __future__ import annotations

import sys
from pathlib import Path

import collabplan
import numpy as np
import pytest
from collabplan.attacks.agreement import resampled, spearman

sys.path.insert(0, str(Path(collabplan.__file__).parent / "benchmarks"))
from ranking import Difference, clusters_of, linear_fit, random_sets, regret, within_clusters

TRUTH = np.array([0.9, 0.5, 0.4, 0.1])


def test_regret_is_what_the_choice_has_above_the_best_of_the_set() -> None:
    sets = np.array([[True, True, True, True], [True, True, False, False], [True, False, False, False]])
    np.testing.assert_allclose(regret(np.array([4.0, 3.0, 1.0, 2.0]), TRUTH, sets), [0.3, 0.0, 0.0])


def test_a_method_that_knows_the_truth_has_no_regret_and_its_opposite_has_the_most() -> None:
    every = np.ones(4, dtype=bool)
    assert float(regret(TRUTH, TRUTH, every)) == 0
    assert float(regret(-TRUTH, TRUTH, every)) == pytest.approx(0.8)


def test_regret_of_a_tie_is_that_of_a_choice_at_random() -> None:
    every = np.ones(4, dtype=bool)
    assert float(regret(np.array([1.0, 0.0, 1.0, 0.0]), TRUTH, every)) == pytest.approx((0.4 + 0.0) / 2)
    assert float(regret(np.zeros(4), TRUTH, every)) == pytest.approx(TRUTH.mean() - 0.1)


def test_random_sets_hold_what_is_allowed_and_was_drawn() -> None:
    allowed = np.array([True, True, False, True])
    times = np.array([[1.0, 1.0, 1.0, 1.0], [0.0, 2.0, 1.0, 1.0]])
    sets = random_sets(allowed, times, 2, 500, np.random.default_rng(0))
    assert sets.shape == (2, 500, 4)
    assert not sets[:, :, 2].any()
    assert not sets[1, :, 0].any()
    assert set(sets.sum(axis=2).ravel()) == {1, 2}
    assert sets[1, :, 1].sum() > sets[1, :, 3].sum()


def test_where_nothing_is_allowed_there_is_no_set() -> None:
    with pytest.raises(ValueError, match="no candidate is allowed"):
        random_sets(np.zeros(3, dtype=bool), np.ones((1, 3)), 2, 5, np.random.default_rng(0))


def test_a_fit_to_one_network_holds_at_another_of_the_same_law() -> None:
    source = np.random.default_rng(0)
    known, asked = source.random((20, 2)), source.random((7, 2))
    law = np.array([-0.6, -0.3])
    found = linear_fit(known, known @ law + 0.9, asked)
    np.testing.assert_allclose(found, asked @ law + 0.9, atol=1e-12)


def test_a_fit_never_sees_the_network_that_it_ranks() -> None:
    """Where the other network has the opposite law, the fit ranks backwards: nothing of the asked one leaks in."""
    depth = np.linspace(0, 1, 9)[:, None]
    found = linear_fit(depth, depth[:, 0], depth)
    assert spearman(found, 1 - depth[:, 0], np.ones((1, 9)))[0] == pytest.approx(-1)


def test_members_of_a_cluster_are_drawn_together() -> None:
    clusters = clusters_of(["a", "b", "a", "c", "b"])
    assert clusters == [[0, 2], [1, 4], [3]]
    times = resampled(clusters, np.random.default_rng(0))
    assert (times[0] == 1).all()
    assert (times[:, 0] == times[:, 2]).all()
    assert (times[:, 1] == times[:, 4]).all()
    assert (times[:, 0] + times[:, 1] + times[:, 3] == 3).all()


def test_the_correlation_within_clusters_ignores_what_lies_between_them() -> None:
    scores = np.array([1.0, 2.0, 3.0, 13.0, 12.0, 11.0, 5.0, 5.0, 5.0])
    truth = np.array([11.0, 12.0, 13.0, 1.0, 2.0, 3.0, 0.0, 1.0, 2.0])
    clusters = [[0, 1, 2], [3, 4, 5], [6, 7, 8]]
    times = np.array([[1.0] * 9, [2.0] * 3 + [1.0] * 3 + [0.0] * 3, [0.0] * 6 + [3.0] * 3])
    found = within_clusters(spearman, scores, truth, clusters, times)
    np.testing.assert_allclose(found, [0.0, 1 / 3, np.nan], atol=1e-12)


def test_a_paired_interval_is_narrower_than_the_figures_scatter() -> None:
    """Two methods that fail at the same cuts: each scatters widely, their difference hardly."""
    source = np.random.default_rng(0)
    cuts = [str(at // 5) for at in range(50)]
    truth = source.random(50)
    shared = truth + np.repeat(source.normal(0, 0.5, 10), 5)
    times = resampled(clusters_of(cuts), np.random.default_rng(1))
    one, other = spearman(shared, truth, times), spearman(shared + source.normal(0, 0.01, 50), truth, times)
    apart = Difference.of(one, other)
    assert apart.low <= apart.value <= apart.high
    assert apart.high - apart.low < 0.2 * float(np.ptp(np.quantile(one[1:], [0.025, 0.975])))


def test_a_method_less_itself_is_nothing() -> None:
    same = np.array([0.5, 0.4, np.nan, 0.6])
    assert Difference.of(same, same) == Difference(0.0, 0.0, 0.0)


def test_the_interval_of_a_real_difference_excludes_none() -> None:
    truth = np.tile(np.arange(5.0), 8)
    times = resampled(clusters_of([str(at // 5) for at in range(40)]), np.random.default_rng(0))
    good, bad = truth, np.random.default_rng(2).random(40)
    assert Difference.of(spearman(good, truth, times), spearman(bad, truth, times)).low > 0
