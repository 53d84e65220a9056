"""Which rows of a crossing hold which token, found with the edge half itself.

An attacker with the weights changes one token of a sequence and observes which numbers of the crossing change. Over all
places this gives a matrix [tokens, rows]: the identity in a transformer, a shift behind a soft prompt, any permutation,
a band around a convolution's stride, a triangle for a running sum. Two things are read off it:

- the **row** of each token: among the rows that it moves, the one that other tokens move least. Rows are then put in
  the order of the tokens, so that a window of neighbours holds the tokens before and after.
- the **mixture**: if the same change of a token moves all rows by multiples of the same vector, these multiples form a
  matrix, whose pseudo-inverse recovers one row per token (a running sum becomes differences).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ..defenses.seeds import generator_for
from .token_places import COARSEST, Places
from .tokens import TokenInput

Edge = Callable[[dict[int, Tensor]], Sequence[Tensor]]
"""Runs the edge half on tokens by the input's position, `[n, L]` each; returns rows of the private crossings."""

BASES = 4
"""Sequences whose tokens are changed one by one; fewer, but at least one, if they are long."""

PROBES = 512
"""Sequences that the edge half is run on, roughly."""

CHUNK = 128

LONGEST = 4
"""At most LONGEST times as many rows as tokens, and 64 more, are considered: the rest are a prompt, or empty."""

SKETCH = 32
"""Random directions that the movements of a row are projected on."""

SAME_VECTOR = 0.5
"""The share of all movement that multiples of one vector must explain before a mixture is undone."""

OWN_ROW = 0.999
"""With this share of a token's movement in its own row, nothing is mixed."""

WEAKEST = 1e-3
"""Singular values of a mixture below this, relative to the greatest, are not inverted."""

UNMOVED = 1e-10
"""A token that moves less than this share of the mean is one that the edge half ignores."""


@dataclass(frozen=True, eq=False)
class _Trace:
    """Movements of the rows of one choice of dimensions.

    Attributes:
        moved: `[L, rows]`, squared movement when a token changes, over all bases.
        sketches: `[L, rows, K]`, projected movement where every token changed in the same way.
    """

    moved: Tensor
    sketches: Tensor


def traced_places(
    rows: Sequence[Tensor], own: TokenInput, candidates: Tensor, edge: Edge, seed: int
) -> list[list[Places]]:
    """By tensor, the places that the edge half shows: rows in another order than the tokens, or mixed.

    Args:
        rows: of the private crossings `[N, *sample_shape]`.
        own: the attacked tokens.
        candidates: `[C]`, ids to change tokens to; at least two.
        edge: runs the edge half.
        seed: of sequences and tokens.
    """
    length = own.ids.shape[1]
    if len(candidates) < 2 or length < 2:
        return [[] for _ in rows]
    vector = own.vectors(candidates[:1]).shape[1]
    tried = [_countings(tuple(row.shape[1:]), length, vector) for row in rows]
    traces = _traces(tried, own, candidates, edge, seed)
    return [
        [places for counting, trace in zip(countings, found, strict=True) for places in _places(counting, trace)]
        for countings, found in zip(tried, traces, strict=True)
    ]


def _countings(shape: tuple[int, ...], length: int, vector: int) -> list[Places]:
    """The dimensions that may count tokens in any order, of the sample or, if it is flat, of a view of it."""
    found = [Places(start, stop, rows, ()) for start, stop, rows in _dimensions(shape, length)]
    if len(shape) == 1:
        sizes = {(shape[0] // size, size) for size in (shape[0] // length, vector) if size and not shape[0] % size}
        for view in sorted(sizes | {(width, rows) for rows, width in sizes}):
            found += [Places(start, stop, rows, (), view=view) for start, stop, rows in _dimensions(view, length)]
    return found


def _dimensions(shape: Sequence[int], length: int) -> list[tuple[int, int, int]]:
    """Ranges of dimensions that may count tokens in any order, with their rows."""
    found = []
    for start in range(len(shape)):
        for stop in range(start + 1, len(shape) + 1):
            rows = math.prod(shape[start:stop])
            likely = stop == start + 1 and 2 <= rows <= LONGEST * length + 64 and rows * COARSEST >= length
            if rows == length or likely:
                found.append((start, stop, rows))
    return found


def _traces(
    tried: Sequence[Sequence[Places]], own: TokenInput, candidates: Tensor, edge: Edge, seed: int
) -> list[list[_Trace]]:
    """The traces of every base and its L changes, by tensor and by counting dimensions."""
    length = own.ids.shape[1]
    generator = generator_for(seed, "traces")
    found: dict[tuple[int, int], list[_Trace]] = {}
    for base in range(max(1, min(BASES, PROBES // (length + 1)))):
        first, second = _base(own, candidates, base % 2 == 0, generator)
        still = edge({own.position: first[None].contiguous()})
        changed = torch.where(torch.eye(length, dtype=torch.bool), second[None], first[None])
        for chunk in torch.split(changed, CHUNK):
            crossed = edge({own.position: chunk})
            for part, countings in enumerate(tried):
                difference = crossed[part].float() - still[part].float()
                for at, counting in enumerate(countings):
                    found.setdefault((part, at), []).append(_moved(counting.of(difference), base))
    return [[_joined(found[part, at], length) for at in range(len(each))] for part, each in enumerate(tried)]


def _base(own: TokenInput, candidates: Tensor, alike: bool, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """A sequence `[L]`, and the tokens that it is changed to.

    If all tokens are `alike`, all change in the same way, which shows the mixture. Otherwise they come from the data.
    """
    if alike:
        pair = candidates[torch.randperm(len(candidates), generator=generator)[:2]]
        return pair[0].expand(own.ids.shape[1]), pair[1].expand(own.ids.shape[1])
    first, second = own.ids[torch.randperm(len(own), generator=generator)[:2]]
    another = torch.where(first == candidates[0], candidates[1], candidates[0])
    return first, torch.where(second == first, another, second)


def _moved(read: Tensor, base: int) -> _Trace:
    """The trace of the movement `[m, rows, F]` by some changes of one base; without sketches if changes differ."""
    directions = torch.randn(read.shape[2], SKETCH if base % 2 == 0 else 0, generator=generator_for(base, "sketch"))
    return _Trace(read.square().sum(dim=2), read @ directions)


def _joined(chunks: Sequence[_Trace], length: int) -> _Trace:
    """All chunks of all bases, in order, as one trace."""
    moved = torch.cat([each.moved for each in chunks])
    alike = torch.cat([each.sketches for each in chunks if each.sketches.shape[2]])
    rows = moved.shape[1]
    sketches = alike.reshape(-1, length, rows, SKETCH).movedim(0, 2).reshape(length, rows, -1)
    return _Trace(moved.reshape(-1, length, rows).sum(dim=0), sketches)


def _places(counting: Places, trace: _Trace) -> list[Places]:
    """Rows in the order of the tokens, and the mixture undone; nothing if row l is that of token l alone."""
    length, rows = trace.moved.shape
    looked_at = trace.moved.sum(dim=1) > UNMOVED * trace.moved.sum(dim=1).mean()
    if int(looked_at.sum()) < 2:
        return []
    each = tuple(range(length))
    row_of = _row_of(trace.moved, looked_at)
    if rows < length:
        return [replace(counting, row_of=row_of)]
    as_tokens = replace(counting, rows=length, row_of=each)
    same = row_of == each and rows == length and counting.view is None
    found = [] if same else [replace(as_tokens, taken=row_of)]
    apart = trace.moved[torch.arange(length), list(row_of)].sum() > OWN_ROW * trace.moved.sum()
    unmixed = None if apart else _unmixed(trace.sketches)
    return found if unmixed is None else [*found, replace(as_tokens, unmixed=unmixed)]


def _row_of(moved: Tensor, looked_at: Tensor) -> tuple[int, ...]:
    """The row of each token; no two tokens share one if there are as many rows as tokens."""
    length, rows = moved.shape
    least = torch.finfo(torch.float32).tiny
    own = moved / moved.sum(dim=1, keepdim=True).clamp(min=least)
    score = own * moved / moved.sum(dim=0).clamp(min=least)
    score[~looked_at] = -math.inf
    found: dict[int, int] = {}
    for _ in range(int(looked_at.sum())):
        token, row = divmod(int(score.argmax()), rows)
        found[token] = row
        score[token] = -math.inf
        if rows >= length:
            score[:, row] = torch.where(score[:, row] >= 0, -1.0, score[:, row])
    known = sorted(found)
    for token in range(length):
        if token not in found:  # padding in the replayed sample: extrapolated from the nearest two
            first, second = sorted(known, key=lambda each: abs(each - token))[:2]
            step = (found[first] - found[second]) / (first - second)
            found[token] = min(max(round(found[first] + (token - first) * step), 0), rows - 1)
    return tuple(found[token] for token in range(length))


def _unmixed(sketches: Tensor) -> Tensor | None:
    """`[L, rows]`: the pseudo-inverse of the mixture; None if rows do not move by multiples of one vector."""
    length, rows, _ = sketches.shape
    flat = sketches.flatten(0, 1).double()
    values, directions = torch.linalg.eigh(flat.T @ flat)
    if float(values[-1]) < SAME_VECTOR * float(values.sum()):
        return None
    mixture = (flat @ directions[:, -1]).reshape(length, rows).T
    inverse: Tensor = torch.linalg.pinv(mixture / mixture.abs().max(), rtol=WEAKEST).float()
    return inverse
