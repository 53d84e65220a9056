"""Fronts and hypervolumes against brute force."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from collabplan.planner.front import (
    added_volume,
    checked_objectives,
    dominates,
    hypervolume,
    objectives,
    pareto_front,
    pareto_indices,
)
from collabplan.records import CollabplanError
from defense_records import point_at
from planner_fakes import candidate


def brute_front(points):
    return [i for i, p in enumerate(points) if not any(dominates(q, p) for q in points)]


def brute_volume(points, reference):
    """Sum of the cells of the grid through all coordinates that some point dominates."""
    every = range(len(reference))
    axes = [sorted({p[k] for p in points if p[k] < reference[k]} | {reference[k]}) for k in every]
    total = 0.0
    for cell in itertools.product(*[range(len(axis) - 1) for axis in axes]):
        low = [axes[k][cell[k]] for k in every]
        high = [axes[k][cell[k] + 1] for k in every]
        if any(all(p[k] <= low[k] for k in every) for p in points):
            total += float(np.prod([b - a for a, b in zip(low, high, strict=True)]))
    return total


def included_and_excluded(points, reference):
    """The volume of the union of boxes by inclusion and exclusion, of few points."""
    total = 0.0
    for size in range(1, len(points) + 1):
        for chosen in itertools.combinations(points, size):
            corner = np.max(chosen, axis=0)
            total -= (-1) ** size * float(np.prod(np.maximum(np.array(reference) - corner, 0.0)))
    return total


def random_points(seed, dimensions=3, most=14):
    generator = np.random.default_rng(seed)
    count = int(generator.integers(1, most))
    if seed % 2:
        return [tuple(map(float, p)) for p in generator.integers(0, 5, size=(count, dimensions))]
    return [tuple(map(float, p)) for p in generator.random((count, dimensions)) * 1.2]


@pytest.mark.parametrize("seed", range(40))
def test_front_equals_brute_force(seed):
    points = random_points(seed)
    assert pareto_indices(points) == brute_front(points)


@pytest.mark.parametrize("dimensions", [2, 3, 4, 5])
@pytest.mark.parametrize("seed", range(20))
def test_hypervolume_equals_brute_force(seed, dimensions):
    points = random_points(seed, dimensions, most=14 if dimensions < 5 else 8)
    reference = (4.0 if seed % 2 else 1.0,) * dimensions
    assert hypervolume(points, reference) == pytest.approx(brute_volume(points, reference), rel=1e-12, abs=1e-12)


@pytest.mark.parametrize("dimensions", [2, 3, 4, 5])
@pytest.mark.parametrize("seed", range(6))
def test_hypervolume_equals_inclusion_and_exclusion(seed, dimensions):
    points = random_points(seed, dimensions, most=10)
    reference = tuple((3.7 if seed % 2 else 1.0) + 0.1 * k for k in range(dimensions))
    expected = included_and_excluded(points, reference)
    assert hypervolume(points, reference) == pytest.approx(expected, rel=1e-9, abs=1e-9)


@pytest.mark.parametrize("dimensions", [2, 3, 4, 5])
@pytest.mark.parametrize("seed", range(8))
def test_what_a_point_adds_is_the_difference(seed, dimensions):
    *others, point = random_points(seed, dimensions)
    reference = (4.0 if seed % 2 else 1.0,) * dimensions
    difference = hypervolume([*others, point], reference) - hypervolume(others, reference)
    assert added_volume(point, others, reference) == pytest.approx(difference, rel=1e-9, abs=1e-9)


def test_what_is_dominated_or_equalled_adds_exactly_nothing():
    others = [(0.1, 0.2, 0.3, 0.4), (0.4, 0.1, 0.1, 0.1)]
    assert added_volume((0.1, 0.2, 0.3, 0.4), others, (1.0,) * 4) == 0.0
    assert added_volume((0.1, 0.25, 0.3, 0.4), others, (1.0,) * 4) == 0.0
    assert added_volume((0.1, 0.1, 1.0, 0.1), others, (1.0,) * 4) == 0.0, "not below the reference"


def test_equal_points_all_stay_on_the_front():
    assert pareto_indices([(1.0, 1.0, 1.0), (1.0, 1.0, 1.0), (1.0, 1.0, 2.0)]) == [0, 1]


def test_a_dominated_point_adds_no_volume():
    points = [(0.2, 0.3, 0.4)]
    assert hypervolume([*points, (0.3, 0.3, 0.5)], (1.0, 1.0, 1.0)) == hypervolume(points, (1.0, 1.0, 1.0))


def test_nothing_below_the_reference_is_no_volume():
    assert hypervolume([], (1.0, 1.0, 1.0)) == 0.0
    assert hypervolume([(1.0, 0.0, 0.0)], (1.0, 1.0, 1.0)) == 0.0


@pytest.mark.parametrize("dimensions", [2, 3, 4, 5])
def test_agrees_with_optunas_private_hypervolume(dimensions):
    from optuna._hypervolume import compute_hypervolume

    points = np.random.default_rng(3).random((60, dimensions))
    ours = hypervolume([tuple(map(float, p)) for p in points], (1.0,) * dimensions)
    assert ours == pytest.approx(float(compute_hypervolume(points, np.ones(dimensions))), rel=1e-12)


def priced(cut, energy, payload, **figures):
    return candidate(point_at(cut), **figures).model_copy(update={"edge_energy_mj": energy, "payload_bytes": payload})


def test_a_front_is_made_of_the_objectives_that_were_asked_for():
    plain = priced("a", 5.0, 100)
    frugal = priced("b", 2.0, 100, accuracy=0.85)
    small = priced("c", 5.0, 10, accuracy=0.85)
    everyone = [plain, frugal, small]
    assert pareto_front(everyone) == [plain]
    assert pareto_front(everyone, ("accuracy", "leakage", "energy")) == [plain, frugal]
    assert pareto_front(everyone, ("accuracy", "payload")) == [plain, small]
    assert pareto_front(everyone, ("accuracy", "latency", "leakage", "energy", "payload")) == everyone
    assert objectives(frugal, ("payload", "energy")) == (100.0, 2.0)


def test_energy_that_is_not_known_is_no_objective():
    with pytest.raises(CollabplanError, match="nothing is known of the energy at layer a"):
        pareto_front([candidate(point_at("a"))], ("leakage", "energy"))


def test_a_set_of_objectives_has_one_order():
    assert checked_objectives(("payload", "accuracy")) == ("accuracy", "payload")
    with pytest.raises(CollabplanError, match="no objective 'speed'; choose at least two of accuracy, latency"):
        checked_objectives(("accuracy", "speed"))
    for names in ((), ("leakage",), ("leakage", "leakage")):
        with pytest.raises(CollabplanError, match="no set of two or more"):
            checked_objectives(names)
