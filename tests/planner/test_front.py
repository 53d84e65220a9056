"""Fronts and hypervolumes against brute force."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from collabplan.planner.front import dominates, hypervolume, pareto_indices


def brute_front(points):
    return [i for i, p in enumerate(points) if not any(dominates(q, p) for q in points)]


def brute_volume(points, reference):
    """Sum of the cells of the grid through all coordinates that some point dominates."""
    axes = [sorted({p[k] for p in points if p[k] < reference[k]} | {reference[k]}) for k in range(3)]
    total = 0.0
    for cell in itertools.product(*[range(len(axis) - 1) for axis in axes]):
        low = [axes[k][cell[k]] for k in range(3)]
        high = [axes[k][cell[k] + 1] for k in range(3)]
        if any(all(p[k] <= low[k] for k in range(3)) for p in points):
            total += float(np.prod([b - a for a, b in zip(low, high, strict=True)]))
    return total


def random_points(seed):
    generator = np.random.default_rng(seed)
    count = int(generator.integers(1, 14))
    if seed % 2:
        return [tuple(map(float, p)) for p in generator.integers(0, 5, size=(count, 3))]
    return [tuple(map(float, p)) for p in generator.random((count, 3)) * 1.2]


@pytest.mark.parametrize("seed", range(40))
def test_front_equals_brute_force(seed):
    points = random_points(seed)
    assert pareto_indices(points) == brute_front(points)


@pytest.mark.parametrize("seed", range(40))
def test_hypervolume_equals_brute_force(seed):
    points = random_points(seed)
    reference = (4.0, 4.0, 4.0) if seed % 2 else (1.0, 1.0, 1.0)
    assert hypervolume(points, reference) == pytest.approx(brute_volume(points, reference), abs=1e-12)


def test_equal_points_all_stay_on_the_front():
    assert pareto_indices([(1.0, 1.0, 1.0), (1.0, 1.0, 1.0), (1.0, 1.0, 2.0)]) == [0, 1]


def test_a_dominated_point_adds_no_volume():
    points = [(0.2, 0.3, 0.4)]
    assert hypervolume([*points, (0.3, 0.3, 0.5)], (1.0, 1.0, 1.0)) == hypervolume(points, (1.0, 1.0, 1.0))


def test_nothing_below_the_reference_is_no_volume():
    assert hypervolume([], (1.0, 1.0, 1.0)) == 0.0
    assert hypervolume([(1.0, 0.0, 0.0)], (1.0, 1.0, 1.0)) == 0.0


def test_agrees_with_optunas_private_hypervolume():
    from optuna._hypervolume import compute_hypervolume

    points = np.random.default_rng(3).random((60, 3))
    ours = hypervolume([tuple(map(float, p)) for p in points], (1.0, 1.0, 1.0))
    assert ours == pytest.approx(float(compute_hypervolume(points, np.ones(3))), rel=1e-12)
