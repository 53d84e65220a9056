"""Finds released inputs that lie near a new one, without comparing it with every one of them in full.

An input is sketched by the sums over 64 stretches of its numbers. By the triangle inequality, two inputs whose sums
differ by more than the tolerance cannot be near each other. So only the others are compared, and no near one is missed.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

_STRETCHES = 64


class NearDuplicateIndex:
    """Sketches of inputs by their digest."""

    def __init__(self) -> None:
        self._digests: list[bytes] = []
        self._sums = np.empty((0, _STRETCHES), dtype=np.float64)

    def add(self, digest: bytes, values: NDArray[np.float32]) -> None:
        """Remember an input's sketch. `values` holds all its numbers, `[numbers]`."""
        count = len(self._digests)
        if count == len(self._sums):
            self._sums = np.concatenate([self._sums, np.empty((max(count, 256), _STRETCHES))])
        self._sums[count] = _sums(values)
        self._digests.append(digest)

    def remove(self, digests: Sequence[bytes]) -> None:
        """Forget some inputs; an unknown digest is ignored."""
        for digest in digests:
            if digest in self._digests:  # the oldest, so near the front
                index = self._digests.index(digest)
                del self._digests[index]
                self._sums = np.delete(self._sums, index, axis=0)

    def candidates(self, values: NDArray[np.float32], near: float) -> list[bytes]:
        """The digests of all inputs that may lie within a mean absolute difference of `near`, and of some that do not.

        Args:
            values: all numbers of the new input, `[numbers]`.
            near: the tolerance, in the units of the inputs.
        """
        count = len(self._digests)
        least = np.abs(self._sums[:count] - _sums(values)).sum(axis=1) / max(values.size, 1)
        slack = 1e-6 * (1 + near)  # for rounding
        return [self._digests[index] for index in np.flatnonzero(least <= near + slack)]


def _sums(values: NDArray[np.float32]) -> NDArray[np.float64]:
    padded = np.zeros(-(-values.size // _STRETCHES) * _STRETCHES, dtype=np.float64)
    padded[: values.size] = values
    found: NDArray[np.float64] = padded.reshape(_STRETCHES, -1).sum(axis=1)
    return found
