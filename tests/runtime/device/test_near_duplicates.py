"""The index finds exactly what a scan over all inputs finds."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable

import numpy as np
import pytest
from collabplan.runtime.device.near_duplicates import NearDuplicateIndex, Numbers


def index() -> NearDuplicateIndex:
    made = NearDuplicateIndex(sqlite3.connect(":memory:", isolation_level=None))
    made.create()
    return made


def smooth(count: int, size: int) -> Numbers:
    """Inputs with coarse parts, as images have: random walks, scaled into [0, 1]."""
    walks = np.random.default_rng(count * size).standard_normal((count, size)).cumsum(axis=1)
    low, high = walks.min(axis=1, keepdims=True), walks.max(axis=1, keepdims=True)
    return ((walks - low) / (high - low + 1e-9)).astype(np.float32)


def noise(count: int, size: int) -> Numbers:
    return np.random.default_rng(count * size).random((count, size), dtype=np.float32)


def scanned(kept: Numbers, values: Numbers, near: float) -> int | None:
    """The nearest input by comparison with each of them."""
    distances = [float(np.abs(each - values).mean(dtype=np.float64)) for each in kept]
    nearest = int(np.argmin(distances))
    return nearest if distances[nearest] <= near else None


@pytest.mark.parametrize("size", [1, 63, 64, 65, 1000])
@pytest.mark.parametrize("inputs", [smooth, noise])
@pytest.mark.parametrize("scale", [1.0, 255.0, 1e-3])
def test_it_finds_what_a_scan_finds(size: int, inputs: Callable[[int, int], Numbers], scale: float) -> None:
    kept = inputs(300, size) * np.float32(scale)
    found = index()
    for number, values in enumerate(kept):
        found.add(number, values)
    draw, near = np.random.default_rng(1), 0.03 * scale
    for number in range(0, 300, 37):
        for distance in (0.0, 0.5, 0.999, 1.0, 1.001, 2.0):
            change = draw.uniform(-1, 1, size) * draw.choice([0.01, 1.0], size, p=[0.5, 0.5])
            changed = (kept[number] + change * (distance * near / np.abs(change).mean())).astype(np.float32)
            assert found.nearest(changed, near) == scanned(kept, changed, near)


@pytest.mark.parametrize("where", [slice(0, 16), slice(500, 516), slice(None), slice(0, None, 61)])
def test_a_difference_is_found_wherever_it_lies_up_to_the_tolerance(where: slice) -> None:
    kept, near = smooth(200, 1000), 0.02
    found = index()
    for number, values in enumerate(kept):
        found.add(number, values)
    changed = kept[11].copy()
    changed[where] += 0.9999 * near * 1000 / changed[where].size
    assert scanned(kept, changed, near) is not None
    assert found.nearest(changed, near) == scanned(kept, changed, near)


def test_a_removed_input_is_not_found_any_more() -> None:
    found, kept = index(), noise(3, 10)
    for number, values in enumerate(kept):
        found.add(number, values)
    assert found.nearest(kept[0], 0.01) == 0
    found.remove(0)
    found.remove(77)
    assert found.nearest(kept[0], 0.01) is None
    assert found.nearest(kept[1], 0.01) == 1


def test_inputs_of_another_size_or_without_a_distance_are_never_near() -> None:
    found, ones = index(), np.ones(10, dtype=np.float32)
    broken = ones.copy()
    broken[3] = np.nan
    endless = ones.copy()
    endless[3] = np.inf
    for number, values in enumerate((np.ones(20, dtype=np.float32), broken, endless)):
        found.add(number, values)
    assert [found.nearest(values, 5.0) for values in (ones, broken, endless)] == [None, None, None]
