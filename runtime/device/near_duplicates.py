"""Finds the released input that lies nearest to a new one, without comparing it with all of them. It misses none.

The distance is the mean absolute difference over all numbers. A mean of the numbers under signs of +1 and -1 moves by
no more than that distance. So an R*-tree (N. Beckmann et al., SIGMOD 1990; SQLite's own) of five such means finds, in
logarithmic time, a few inputs among which is every one within a tolerance. Sums over 64 stretches of the numbers
exclude most of those (triangle inequality), and the rest are compared in full.

The five means are coarse, because inputs such as images differ in their coarse parts. For inputs without any, such as
pure noise, they exclude little, and a search takes as long as a scan.
"""

from __future__ import annotations

import sqlite3

import numpy as np
from numpy.typing import NDArray

Numbers = NDArray[np.float32]

_STRETCHES = 64
_TABLES = (
    "CREATE TABLE IF NOT EXISTS numbers (id INTEGER PRIMARY KEY, numbers BLOB NOT NULL)",
    "CREATE VIRTUAL TABLE IF NOT EXISTS near "
    "USING rtree(id, low0, high0, low1, high1, low2, high2, low3, high3, low4, high4, +sums BLOB)",
)
_INSERT = f"INSERT INTO near VALUES ({', '.join('?' * 12)})"
_INSIDE = "SELECT id, sums FROM near WHERE " + " AND ".join(f"high{k} >= ? AND low{k} <= ?" for k in range(5))


class NearDuplicateIndex:
    """The numbers of released inputs, in tables of a release store. The caller holds the transaction."""

    def __init__(self, database: sqlite3.Connection) -> None:
        self._database = database

    def create(self) -> None:
        """Make the tables if they are absent."""
        for table in _TABLES:
            self._database.execute(table)

    def add(self, number: int, values: Numbers) -> None:
        """Keep an input.

        Args:
            number: its number in the store.
            values: all its numbers, `[numbers]`.
        """
        sums = _sums(values)
        box = np.repeat(_means(sums, values.size), 2).tolist()
        self._database.execute("INSERT INTO numbers VALUES (?, ?)", (number, values.astype("<f4").tobytes()))
        self._database.execute(_INSERT, (number, *box, sums.astype("<f8").tobytes()))

    def remove(self, number: int) -> None:
        """Forget an input. An unknown one is ignored."""
        self._database.execute("DELETE FROM near WHERE id = ?", (number,))
        self._database.execute("DELETE FROM numbers WHERE id = ?", (number,))

    def nearest(self, values: Numbers, near: float) -> int | None:
        """The nearest input within a mean absolute difference of `near`, the oldest of several; None if there is none.

        Args:
            values: all numbers of the new input, `[numbers]`.
            near: the tolerance, in the units of the inputs.
        """
        sums = _sums(values)
        means = _means(sums, values.size)
        reach = near + 1e-6 * (near + np.abs(means))  # for rounding
        limits = np.stack([means - reach, means + reach], axis=1).ravel().tolist()
        found = self._database.execute(_INSIDE, limits).fetchall()
        if not found:
            return None
        numbers = np.array([number for number, _ in found])
        kept = np.frombuffer(b"".join(kept for _, kept in found), dtype="<f8").reshape(-1, _STRETCHES)
        least = np.abs(kept - sums).sum(axis=1) / max(values.size, 1)
        best, closest = float(near), None
        slack = 1e-6 * (near + float(np.abs(means).max()))
        for index in np.argsort(least, kind="stable"):
            if least[index] > best + slack:
                break
            number = int(numbers[index])
            distance = self._distance(number, values)
            if distance < best or (distance == best and (closest is None or number < closest)):
                best, closest = distance, number
        return closest

    def _distance(self, number: int, values: Numbers) -> float:
        """From a kept input; infinite if it has another number of numbers."""
        (numbers,) = self._database.execute("SELECT numbers FROM numbers WHERE id = ?", (number,)).fetchone()
        kept = np.frombuffer(numbers, dtype="<f4")
        if kept.shape != values.shape:
            return float("inf")
        with np.errstate(invalid="ignore"):
            distance = float(np.abs(kept - values).mean(dtype=np.float64))
        return float("inf") if np.isnan(distance) else distance


def _sums(values: Numbers) -> NDArray[np.float64]:
    """Over `_STRETCHES` stretches; what is no number counts as 0, since it is near nothing."""
    padded = np.zeros(-(-values.size // _STRETCHES) * _STRETCHES, dtype=np.float64)
    padded[: values.size] = np.nan_to_num(values, nan=0.0, posinf=0.0, neginf=0.0)
    found: NDArray[np.float64] = padded.reshape(_STRETCHES, -1).sum(axis=1)
    return found


def _means(sums: NDArray[np.float64], size: int) -> NDArray[np.float64]:
    """The five means under signs, `[5]`."""
    found: NDArray[np.float64] = _SIGNS @ sums / max(size, 1)
    return found


def _signs() -> NDArray[np.float64]:
    """The Walsh functions 0, 1, 2, 3 and 5: `[5, _STRETCHES]`, +1 and -1."""
    halves, quarters, eighths = ((-1.0) ** (np.arange(_STRETCHES) * parts // _STRETCHES) for parts in (2, 4, 8))
    return np.stack([np.ones(_STRETCHES), halves, halves * quarters, quarters, halves * quarters * eighths])


_SIGNS = _signs()
