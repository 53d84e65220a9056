"""Which numbers of a tensor belong to which place of a sequence.

A graph does not say which dimension of a crossing counts the tokens: `[tokens, features]` in a transformer, `[channels,
tokens]` before a convolution, `[heads, tokens, features]` inside attention, fewer rows than tokens after a stride, none
after a pooling. All of these are tried, and the one that is read best is used. Rows in another order than the tokens,
and mixtures of rows, are found with the edge half itself (`token_traces.py`).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

NEAR = 4
"""A dimension longer or shorter than the sequence by at most NEAR is one row per token, but for some at an end."""

COARSEST = 16
"""The most tokens that one row of a strided tensor may stand for."""

LONGEST_WHOLE = 2048
"""The most numbers of a tensor without rows that is read beside each row of another."""


@dataclass(frozen=True, eq=False)
class Places:
    """A sample's dimensions `start` to `stop` (excluded) count `rows`; position l of L lies in row `row_of[l]`.

    If `start == stop` there is one row, the whole sample.

    Attributes:
        start: the first counting dimension.
        stop: the dimension after the last counting one.
        rows: how many rows there are.
        row_of: the row of each position.
        taken: which of the sample's rows each of `rows` is; None if they are the same.
        unmixed: `[rows, sample's rows]`, weights by which each of `rows` is a sum of the sample's.
        view: the shape that a sample is reshaped to first; None for its own.
    """

    start: int
    stop: int
    rows: int
    row_of: tuple[int, ...]
    taken: tuple[int, ...] | None = None
    unmixed: Tensor | None = None
    view: tuple[int, ...] | None = None

    def of(self, tensor: Tensor, *, variance: bool = False) -> Tensor:
        """A tensor `[n, *sample_shape]` as `[n, rows, features]`; if it holds variances, the variances of the rows."""
        if self.start == self.stop:
            return tensor.reshape(tensor.shape[0], 1, -1)
        if self.view is not None:
            tensor = tensor.reshape(tensor.shape[0], *self.view)
        counting = range(1 + self.start, 1 + self.stop)
        moved = tensor.movedim(tuple(counting), tuple(range(1, 1 + len(counting))))
        moved = moved.reshape(tensor.shape[0], math.prod(tensor.shape[1 + self.start : 1 + self.stop]), -1)
        if self.unmixed is not None:
            return (self.unmixed.square() if variance else self.unmixed) @ moved.float()
        return moved if self.taken is None else moved[:, list(self.taken)]

    def width(self, shape: Sequence[int]) -> int:
        """Features of each row of a sample of `shape`."""
        shape = shape if self.view is None else self.view
        return math.prod(shape[: self.start]) * math.prod(shape[self.stop :])

    @property
    def one_to_one(self) -> bool:
        """True if row l belongs to position l and there are no other rows."""
        return self.rows == len(self.row_of) and self.row_of == tuple(range(self.rows))

    @cached_property
    def slots(self) -> Tensor:
        """`[rows, S]`: the positions in each row, S the most in one row; -1 for an empty slot."""
        inside: list[list[int]] = [[] for _ in range(self.rows)]
        for position, row in enumerate(self.row_of):
            inside[row].append(position)
        most = max(map(len, inside))
        return torch.tensor([each + [-1] * (most - len(each)) for each in inside])


def candidate_places(shape: Sequence[int], length: int) -> list[Places]:
    """All ways in which a sample of `shape` may hold a sequence of `length`; the last is the whole as one row."""
    found = []
    for start in range(len(shape)):
        for stop in range(start + 1, len(shape) + 1):
            rows = math.prod(shape[start:stop])
            if rows == length or (stop == start + 1 and 2 <= rows <= 2 * length and rows * COARSEST >= length):
                found += [Places(start, stop, rows, row_of) for row_of in _rows_of(rows, length)]
    return [*found, Places(0, 0, 1, (0,) * length)]


def _rows_of(rows: int, length: int) -> list[tuple[int, ...]]:
    """The row of each position: shifted by a few tokens if there are about as many rows, else in proportion."""
    if abs(rows - length) <= min(NEAR, length // 2):
        extra = rows - length
        shifts = range(min(0, extra), max(0, extra) + 1)
        return [tuple(min(max(at + shift, 0), rows - 1) for at in range(length)) for shift in shifts]
    return [tuple(int((at + 0.5) * rows / length) for at in range(length))]


@dataclass(frozen=True, eq=False)
class TokenContext:
    """What attackers read: a row of one tensor with its neighbours, and what else crosses beside it.

    Attributes:
        part: the tensor that the places belong to.
        places: of that tensor.
        radius: neighbours on either side that are read with each row.
        others: further tensors with their places: row by row if they have as many rows, else as a whole.
    """

    part: int
    places: Places
    radius: int = 0
    others: tuple[tuple[int, Places], ...] = ()

    def of(self, tensors: Sequence[Tensor], rows: Tensor | None = None, *, variance: bool = False) -> Tensor:
        """Tensors `[n, *sample_shape]` as `[n, R, F]`: all rows, or those at `rows` `[R]`."""
        count = self.places.rows
        chosen = torch.arange(count) if rows is None else rows
        found = []
        for part, places in ((self.part, self.places), *self.others):
            read = places.of(tensors[part], variance=variance)
            if read.shape[1] != count:
                found.append(read.reshape(len(read), 1, -1).expand(-1, len(chosen), -1))
                continue
            padded = torch.nn.functional.pad(read, (0, 0, self.radius, self.radius)) if self.radius else read
            found += [padded[:, chosen + step] for step in range(2 * self.radius + 1)]
        return torch.cat(found, dim=2)

    def width(self, shapes: Sequence[Sequence[int]]) -> int:
        """F for samples of these shapes."""
        total = 0
        for part, places in ((self.part, self.places), *self.others):
            width = places.width(shapes[part])
            beside_each = places.rows == self.places.rows
            total += width * (2 * self.radius + 1) if beside_each else width * places.rows
        return total


def beside(shapes: Sequence[Sequence[int]], part: int, chosen: Sequence[Places]) -> tuple[tuple[int, Places], ...]:
    """The other tensors that are read beside `part`: those with as many rows, and short ones as a whole."""
    return tuple(
        (at, places)
        for at, places in enumerate(chosen)
        if at != part and (places.rows == chosen[part].rows or math.prod(shapes[at]) <= LONGEST_WHOLE)
    )
