"""Do estimates rank (cut, defense) pairs as attacks do? If so, an estimate may steer a search.

Rank correlation between each estimate and the audited index is taken over all pairs; within a defense across cuts and
within a cut across defenses (the median over groups), since a good pooled figure may come from the defenses alone; and
over the pairs with an acceptable drop in accuracy. Depth, payload and accuracy stand beside the estimates: one that
does not beat these is not worth its cost. Intervals are bootstraps that resample whole cuts, since the pairs of a cut
are not independent.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from ..records import AgreementRow, Correlation, Discordance, Interval

RESAMPLES = 1000
FEWEST = 3
"""The fewest pairs of a rank correlation."""

AFFORDABLE_DROP = 0.10
LISTED = 5
"""The most discordant pairs that are listed per estimate."""

Scope = Literal["pooled", "within defense", "within cut", "accuracy drop <= 10 points"]
Floats = NDArray[np.float64]
Rank = Callable[[Floats, Floats, Floats], Floats]


@dataclass(frozen=True, slots=True)
class Pair:
    """One (cut, defense): what was estimated, and what attacks recovered.

    Attributes:
        label: for tables, such as `layer2 at dropout:element:0.5`.
        cut_id: of the cut.
        depth: of the cut.
        defense: names the defense, whatever the cut.
        rate: of dropout.
        payload_bytes: per sample.
        accuracy: under the defense, from 0 to 1; None if it was not measured.
        audited: the index that attacks reached.
        estimates: by name; a larger one should mean that more leaks.
    """

    label: str
    cut_id: str
    depth: int
    defense: str
    rate: float
    payload_bytes: int
    accuracy: float | None
    audited: Interval
    estimates: Mapping[str, float]


def measure_agreement(
    pairs: Sequence[Pair], generator: np.random.Generator
) -> tuple[tuple[AgreementRow, ...], tuple[Discordance, ...]]:
    """How estimates and trivial proxies rank the pairs, in every scope, and which pairs they order wrong.

    Args:
        pairs: what was estimated and audited. An estimate counts if all pairs have it.
        generator: resamples cuts.

    Returns:
        Rows by estimate, proxies last, and the worst discordant pairs of each estimate.
    """
    named = _columns(pairs)
    rows = [row for name, (trivial, values) in named.items() for row in _rows(pairs, name, trivial, values, generator)]
    wrong = [
        found for name, (trivial, values) in named.items() if not trivial for found in _discordant(pairs, name, values)
    ]
    return tuple(rows), tuple(wrong)


def _columns(pairs: Sequence[Pair]) -> dict[str, tuple[bool, list[float]]]:
    """By name, whether the column is a trivial proxy, and its values."""
    shared = [name for name in (pairs[0].estimates if pairs else {}) if all(name in pair.estimates for pair in pairs)]
    columns = {name: (False, [pair.estimates[name] for pair in pairs]) for name in shared}
    columns["depth"] = True, [-float(pair.depth) for pair in pairs]
    columns["payload x (1 - rate)"] = True, [pair.payload_bytes * (1 - pair.rate) for pair in pairs]
    known = [pair.accuracy for pair in pairs if pair.accuracy is not None]
    if pairs and len(known) == len(pairs):
        columns["accuracy"] = True, known
    return columns


def _rows(
    pairs: Sequence[Pair], name: str, trivial: bool, values: Sequence[float], generator: np.random.Generator
) -> Iterable[AgreementRow]:
    audited = [pair.audited.value for pair in pairs]
    scopes: dict[Scope, list[list[int]]] = {
        "pooled": [list(range(len(pairs)))],
        "within defense": _groups(pair.defense for pair in pairs),
        "within cut": _groups(pair.cut_id for pair in pairs),
        "accuracy drop <= 10 points": [_affordable(pairs)],
    }
    for scope, groups in scopes.items():
        rho, tau = (_correlation(pairs, values, audited, groups, way, generator) for way in (spearman, kendall))
        if rho.pair_count:
            yield AgreementRow(estimate=name, trivial=trivial, scope=scope, spearman=rho, kendall=tau)


def _groups(keys: Iterable[float | str]) -> list[list[int]]:
    found: dict[float | str, list[int]] = {}
    for position, key in enumerate(keys):
        found.setdefault(key, []).append(position)
    return list(found.values())


def _affordable(pairs: Sequence[Pair]) -> list[int]:
    known = [pair.accuracy for pair in pairs if pair.accuracy is not None]
    if not known:
        return []
    least = max(known) - AFFORDABLE_DROP
    return [at for at, pair in enumerate(pairs) if pair.accuracy is not None and pair.accuracy >= least]


def _correlation(
    pairs: Sequence[Pair], values: Sequence[float], audited: Sequence[float], groups: Sequence[Sequence[int]],
    rank: Rank, generator: np.random.Generator,
) -> Correlation:  # fmt: skip
    """The median over groups, with an interval over resampled cuts."""
    count = sum(len(group) for group in groups)
    cuts = _groups(pair.cut_id for pair in pairs)
    times = resampled(cuts, generator)
    x, y = np.asarray(values), np.asarray(audited)
    every = np.array([rank(x[group], y[group], times[:, group]) for group in map(list, groups) if len(group) >= FEWEST])
    known = every[~np.isnan(every[:, 0])] if len(every) else every
    if not len(known):
        return Correlation(value=None, pair_count=count)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # resamples in which no group has a rank
        medians = np.nanmedian(known, axis=0)
    value, drawn = float(medians[0]), medians[1:][~np.isnan(medians[1:])]
    if len(drawn) < RESAMPLES // 2:  # with very few cuts, most resamples hold a single one
        return Correlation(value=value, pair_count=count)
    low, high = (float(end) for end in np.quantile(drawn, [0.025, 0.975]))
    return Correlation(value=value, low=min(low, value), high=max(high, value), pair_count=count)


def resampled(clusters: Sequence[Sequence[int]], generator: np.random.Generator) -> Floats:
    """How often each member counts, `[1 + RESAMPLES, members]`: once each, then where whole clusters are drawn anew.

    Args:
        clusters: the members of each, by position; every position stands in one of them.
        generator: draws the clusters.
    """
    times = np.ones((1 + RESAMPLES, sum(map(len, clusters))))
    drawn = generator.integers(0, len(clusters), (RESAMPLES, len(clusters)))
    for chosen, members in enumerate(clusters):
        times[1:, list(members)] = (drawn == chosen).sum(axis=1, keepdims=True)
    return times


def spearman(x: Floats, y: Floats, times: Floats) -> Floats:
    """Spearman's rho of `x` and `y` `[n]`, each pair counted `times` `[r, n]`: `[r]`, NaN where a side is constant.

    Ranks of ties, repeated pairs included, are averaged, as in `scipy.stats.spearmanr` of the repeated pairs.
    """
    left, right = (times @ ((z[:, None] < z) + 0.5 * (z[:, None] == z)) for z in (x, y))
    total = times.sum(axis=1, keepdims=True)
    with np.errstate(invalid="ignore", divide="ignore"):
        left, right = (z - (times * z).sum(axis=1, keepdims=True) / total for z in (left, right))
        spread = np.sqrt((times * left**2).sum(axis=1) * (times * right**2).sum(axis=1))
        found = (times * left * right).sum(axis=1) / spread
    return _where_ranked(found, spread > 1e-9, times)


def kendall(x: Floats, y: Floats, times: Floats) -> Floats:
    """Kendall's tau-b with the same arguments, as in `scipy.stats.kendalltau`."""
    left, right = (np.sign(z[:, None] - z) for z in (x, y))
    agreeing, one, other = (((times @ signs) * times).sum(axis=1) for signs in (left * right, left**2, right**2))
    with np.errstate(invalid="ignore", divide="ignore"):
        found = agreeing / np.sqrt(one * other)
    return _where_ranked(found, one * other > 0, times)


def _where_ranked(found: Floats, varied: NDArray[np.bool_], times: Floats) -> Floats:
    return np.where(varied & ((times > 0).sum(axis=1) >= FEWEST), np.clip(found, -1, 1), np.nan)


def _discordant(pairs: Sequence[Pair], name: str, values: Sequence[float]) -> list[Discordance]:
    """Pairs whose audited intervals are disjoint and in the other order, the furthest apart first."""
    found = []
    for i, j in combinations(range(len(pairs)), 2):
        less, more = (i, j) if pairs[i].audited.value < pairs[j].audited.value else (j, i)
        gap = pairs[more].audited.low - pairs[less].audited.high
        if gap > 0 and values[less] > values[more]:
            found.append((gap, less, more))
    return [
        Discordance(
            estimate=name,
            first=pairs[less].label,
            second=pairs[more].label,
            estimated=(values[less], values[more]),
            audited=(pairs[less].audited.value, pairs[more].audited.value),
        )
        for _, less, more in sorted(found, reverse=True)[:LISTED]
    ]
