"""Statistics for methods that rank candidates: rank correlations, regret, and paired intervals over resampled cuts.

A method gives every candidate a score, and a larger score means that more leaks. Its *regret* in a set of candidates is
the index of the one with the smallest score, less the least index in the set.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from collabplan.attacks.agreement import Floats, Rank
from numpy.typing import NDArray

Flags = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Difference:
    """A figure of one method less that of another, with a 95 % interval over the same resamples of both."""

    value: float
    low: float
    high: float

    @classmethod
    def of(cls, one: Floats, other: Floats) -> Difference:
        """From figures `[1 + resamples]`, that of the data first. Resamples without a figure (NaN) do not count."""
        apart = one - other
        drawn = apart[1:][~np.isnan(apart[1:])]
        low, high = np.quantile(drawn, [0.025, 0.975]) if len(drawn) else (np.nan, np.nan)
        return cls(float(apart[0]), float(low), float(high))


def clusters_of(names: Sequence[str]) -> list[list[int]]:
    """The positions of equal names."""
    return [[at for at, name in enumerate(names) if name == each] for each in dict.fromkeys(names)]


def linear_fit(known: Floats, wanted: Floats, asked: Floats) -> Floats:
    """What the least-squares fit of `wanted` `[n]` on features `known` `[n, k]` says of features `asked` `[m, k]`."""
    weights, *_ = np.linalg.lstsq(np.column_stack([known, np.ones(len(known))]), wanted, rcond=None)
    found: Floats = np.column_stack([asked, np.ones(len(asked))]) @ weights
    return found


def within_clusters(
    rank: Rank, scores: Floats, truth: Floats, clusters: Sequence[Sequence[int]], times: Floats
) -> Floats:
    """The mean over clusters of their own rank correlation, each counted as often as it was drawn: `[resamples]`.

    Clusters without a rank (a constant side) do not count.

    Args:
        rank: of agreement: of scores, truth and how often each counts.
        scores: `[n]`.
        truth: `[n]`.
        clusters: the members of each.
        times: `[resamples, n]`, how often each member counts.
    """
    own, drawn = [], []
    for members in map(list, clusters):
        (value,) = rank(scores[members], truth[members], np.ones((1, len(members))))
        if not np.isnan(value):
            own.append(value)
            drawn.append(times[:, members[0]])
    if not own:
        return np.full(len(times), np.nan)
    counts = np.column_stack(drawn)
    total = counts.sum(axis=1)
    return np.where(total > 0, counts @ np.asarray(own) / np.maximum(total, 1), np.nan)


def random_sets(allowed: Flags, times: Floats, size: int, count: int, generator: np.random.Generator) -> Flags:
    """Random sets of at most `size` allowed candidates, `[resamples, count, n]`: each is what some budget permits.

    Args:
        allowed: `[n]`, which candidates there are to choose from.
        times: `[resamples, n]`, how often each counts; those that count 0 times are in no set.
        size: draws with replacement for each set.
        count: sets per resample.
        generator: draws.

    Raises:
        ValueError: a resample has no allowed candidate.
    """
    sets = np.zeros((len(times), count, len(allowed)), dtype=bool)
    rows = np.arange(count)[:, None]
    for resample, weights in enumerate(times * allowed):
        if not weights.any():
            raise ValueError("no candidate is allowed, so there is nothing to choose from")
        drawn = generator.choice(len(allowed), (count, size), p=weights / weights.sum())
        sets[resample][rows, drawn] = True
    return sets


def regret(scores: Floats, truth: Floats, sets: Flags) -> Floats:
    """`[...]`: in each set, the index of whatever has the smallest score, less the least index; ties are averaged.

    Args:
        scores: `[n]`.
        truth: `[n]`, what attackers reached.
        sets: `[..., n]`, none of them empty.
    """
    least = np.where(sets, scores, np.inf).min(axis=-1, keepdims=True)
    chosen = sets & (scores <= least)
    found: Floats = (chosen @ truth) / chosen.sum(axis=-1) - np.where(sets, truth, np.inf).min(axis=-1)
    return found
