"""The index of sketches misses no near-duplicate, and spares most other inputs the full comparison."""

from __future__ import annotations

import numpy as np
import pytest
from collabplan.runtime.device.near_duplicates import NearDuplicateIndex
from numpy.typing import NDArray


def inputs(count: int, size: int) -> NDArray[np.float32]:
    return np.random.default_rng(count * size).random((count, size), dtype=np.float32)


@pytest.mark.parametrize("size", [1, 63, 64, 65, 1000])
def test_every_input_within_the_tolerance_is_a_candidate(size: int) -> None:
    index, kept, near = NearDuplicateIndex(), inputs(300, size), 0.05
    for number, values in enumerate(kept):
        index.add(bytes([number // 256, number % 256]), values)
    draw = np.random.default_rng(1)
    for number in range(0, 300, 7):
        change = draw.uniform(-1, 1, size)
        changed = (kept[number] + change * (0.99 * near / np.abs(change).mean())).astype(np.float32)
        assert bytes([number // 256, number % 256]) in index.candidates(changed, near)


def test_inputs_whose_sums_differ_are_no_candidates() -> None:
    index, kept = NearDuplicateIndex(), inputs(300, 640)
    for number, values in enumerate(kept):
        index.add(bytes([number // 256, number % 256]), values)
    assert index.candidates(kept[5], 0.01) == [bytes([0, 5])]


def test_a_removed_input_is_no_candidate_any_more() -> None:
    index, kept = NearDuplicateIndex(), inputs(3, 10)
    for number, values in enumerate(kept):
        index.add(bytes([number]), values)
    index.remove([b"\x00", b"unknown"])
    assert index.candidates(kept[0], 10.0) == [b"\x01", b"\x02"]
