"""What crosses for every token: the references among which the nearest one is searched."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ..defenses.pipeline import Defense
from .token_attackers import nearest
from .token_places import Places, TokenContext
from .token_successive import successive
from .token_traces import Edge
from .tokens import TokenInput

MOST = 8192
"""The most tokens (with several inputs, combinations) that the edge half is run on."""

REFERENCE_NUMBERS = 6e7
"""The most numbers of all references: with many wide ones, fewer places are tested."""

LEAST_ERROR = 1e-6
"""Error variance of a crossing that is not rounded, relative to its own variance."""

FEWEST_POSITIONS = 4
PAIRS = 4
"""Pairs of sequences that are mixed, to test whether places read each other."""

CHUNK = 256


@dataclass(frozen=True, eq=False)
class References:
    """References at the tested places.

    Attributes:
        positions: `[P]`.
        parts: the tensors that they are of, with their places.
        values: per part `[C, P, F]`.
        missed: per part `[F]`, the error variance of the true reference; 0 if it is exact.
        log_prior: `[P, C]`.
        candidate: `[C]`, the candidate of the attacked input that each reference belongs to.
        spreads: per tensor, each number's variance `[*sample_shape]`.
    """

    positions: Tensor
    parts: tuple[tuple[int, Places], ...]
    values: tuple[Tensor, ...]
    missed: tuple[Tensor, ...]
    log_prior: Tensor
    candidate: Tensor
    spreads: tuple[Tensor, ...]

    def answers(self, released: Sequence[Tensor], kept: Sequence[Tensor] | None, defense: Defense) -> Tensor:
        """Candidates `[n, P]` of a release.

        Args:
            released: tensors `[n, *sample_shape]`, with the mean in place of what was dropped.
            kept: 1 for what was not dropped; None without dropout.
            defense: what the device does.
        """
        scales, seen, weights, values = [], [], [], []
        for (part, places), references, missed in zip(self.parts, self.values, self.missed, strict=True):
            quantizer, random = defense.quantizers[part], defense.randomizes and not defense.only_drops
            exact = quantizer is not None and not random and places.unmixed is None
            values.append(quantizer.dequantize(quantizer.quantize(references), torch.float32) if exact else references)  # type: ignore[union-attr]
            floor = torch.full((1, *released[part].shape[1:]), defense.floor.stds[part] ** 2)
            error = (missed + places.of(floor, variance=True).mean(dim=(0, 1))).clamp(min=1e-30)
            scales.append(error.rsqrt())
            seen.append(places.of(released[part])[:, self.positions])
            if kept is not None and places.unmixed is None:
                weights.append(places.of(kept[part])[:, self.positions])
            elif kept is not None:  # the mean in its place misses by the number's own variance
                added = places.of((1 - kept[part]) * self.spreads[part], variance=True)[:, self.positions]
                weights.append(error / (error + added))
        scale = torch.cat(scales)
        found = []
        for at in range(len(self.positions)):
            mask = torch.cat([each[:, at] for each in weights], dim=1) if weights else None
            found.append(
                nearest(
                    torch.cat([each[:, at] for each in seen], dim=1) * scale,
                    mask,
                    torch.cat([each[:, at] for each in values], dim=1) * scale,
                    self.log_prior[at],
                )
            )
        return self.candidate[torch.stack(found, dim=1)]

    @property
    def mixed(self) -> bool:
        """True if the references are of one tensor's unmixed rows, whose errors are correlated."""
        return len(self.parts) == 1 and self.parts[0][1].unmixed is not None

    def successive(self, released: Sequence[Tensor], defense: Defense) -> Tensor:
        """As `answers`, one token after the other; for `mixed` references without dropout."""
        ((part, places),), (values,), (missed,) = self.parts, self.values, self.missed
        assert places.unmixed is not None
        weights = places.unmixed[self.positions].double()
        floor = max(defense.floor.stds[part] ** 2, LEAST_ERROR * float(self.spreads[part].mean()))
        covariance = floor * weights @ weights.T
        covariance.diagonal().add_(float(missed.mean()) + LEAST_ERROR * float(covariance.diagonal().mean()))
        seen = places.of(released[part])[:, self.positions]
        return self.candidate[successive(seen, values, covariance, self.log_prior)]


def edge_references(
    rows: Sequence[Tensor],
    tokens: Sequence[TokenInput],
    at: int,
    candidates: Tensor,
    edge: Edge,
    parts: Sequence[tuple[int, Places]],
    positions: Tensor,
    tested: Tensor,
) -> References | None:
    """References by running the edge half on every token; None if its places read each other.

    Inputs as long as the attacked one are replayed together, in the combinations that occur in the data.

    Args:
        rows: undefended private crossings `[N, *sample_shape]`.
        tokens: all private inputs of tokens.
        at: which of them is attacked.
        candidates: `[C]`, its ids in the data.
        edge: runs the edge half.
        parts: the tensors that are `placewise`, with their places.
        positions: `[P]` to test; fewer are tested if the references would hold too many numbers.
        tested: `[T]`, samples whose tokens must be among the references.
    """
    own = tokens[at]
    if not parts:
        return None
    group = alongside(tokens, at)
    combinations, number = _combinations(group, tested)
    width = sum(places.width(rows[part].shape[1:]) for part, places in parts)
    most = max(FEWEST_POSITIONS, int(REFERENCE_NUMBERS / (len(combinations) * width)))
    if most < len(positions):
        positions = positions[torch.linspace(0, len(positions) - 1, most).round().long()]
    values = _replayed(combinations, group, edge, parts, own.ids.shape[1], positions)
    here = number[:, positions]
    known = own.counted[:, positions] & (here >= 0)
    missed = tuple(
        _missed(places.of(rows[part])[:, positions], each, here, known)
        for (part, places), each in zip(parts, values, strict=True)
    )
    others = torch.ones(len(own), dtype=torch.bool)
    others[tested] = False
    return References(
        positions,
        tuple(parts),
        values,
        missed,
        _log_counts(here[others], known[others], len(combinations)),
        torch.searchsorted(candidates, combinations[:, group.index(own)].contiguous()),
        _spreads(rows, others),
    )


@dataclass(frozen=True, eq=False)
class Shares:
    """What each token adds to a crossing without places.

    Attributes:
        values: `[C, F]`; the shares of a sequence's tokens add up to about the crossing less `middle`.
        middle: `[F]`.
        missed: `[F]`, the variance of the error of that sum.
        mean: True if the crossing is a mean over the sequence, which its length turns into a sum.
    """

    values: Tensor
    middle: Tensor
    missed: Tensor
    mean: bool

    def summed(self, seen: Tensor, sizes: Tensor) -> Tensor:
        """What is seen `[n, F]` of sequences of `sizes` `[n]` tokens, as sums of shares."""
        scale = sizes[:, None] if self.mean else torch.ones(1, 1)
        return (seen - self.middle) * scale

    def errors(self, floor: Tensor, sizes: Tensor) -> Tensor:
        """Standard deviations `[n, F]` of these sums; `floor` `[F]` is the variance of the noise."""
        scale = sizes[:, None] if self.mean else torch.ones(len(sizes), 1)
        return (self.missed + floor).clamp(min=1e-30).sqrt() * scale


def edge_shares(
    rows: Sequence[Tensor], own: TokenInput, candidates: Tensor, edge: Edge, reading: TokenContext, train: Tensor
) -> Shares | None:
    """Shares by running the edge half on sequences of a single token, repeated; None if they hold too many numbers.

    Whether the crossing is a sum or a mean over the sequence is decided by what fits better.
    """
    length = own.ids.shape[1]
    width = reading.width([row.shape[1:] for row in rows])
    if len(candidates) > MOST or len(candidates) * width > REFERENCE_NUMBERS:
        return None
    parts = []
    for chunk in torch.split(candidates, CHUNK):
        crossed = edge({own.position: chunk[:, None].expand(-1, length).contiguous()})
        parts.append(reading.of([each.float() for each in crossed])[:, 0])
    whole = torch.cat(parts)
    seen = reading.of([row[train].float() for row in rows])[:, 0]
    counted = own.counted[train]
    sizes = counted.sum(dim=1, keepdim=True).clamp(min=1)
    total = (whole[torch.searchsorted(candidates, own.ids[train])] * counted[:, :, None]).sum(dim=1)
    found = []
    for mean, missed in ((True, seen - total / sizes), (False, seen - total / int(sizes.max()))):
        variance, middle = torch.var_mean(missed, dim=0, unbiased=False)
        found.append(Shares(whole if mean else whole / int(sizes.max()), middle, variance, mean))
    return min(found, key=lambda each: float(each.missed.sum()))


def table_references(
    rows: Sequence[Tensor],
    own: TokenInput,
    candidates: Tensor,
    tried: Sequence[Sequence[Places]],
    positions: Tensor,
    train: Tensor,
) -> References | None:
    """The embedding's rows, shifted to the mean of what crosses at each place; None if nothing is as wide."""
    if own.table is None:
        return None
    vectors = own.vectors(candidates)
    for part, row in enumerate(rows):
        for places in tried[part]:
            if places.one_to_one and places.width(row.shape[1:]) == vectors.shape[1]:
                here = torch.searchsorted(candidates, own.ids[:, positions])
                seen = places.of(row.float())[:, positions]
                middle = seen[train].mean(dim=0) - vectors[here[train]].mean(dim=0)
                values = vectors[:, None, :] + middle[None]
                known = own.counted[:, positions]
                missed = _missed(seen[train], values, here[train], known[train])
                log_prior = _log_counts(here[train], known[train], len(candidates))
                numbers = torch.arange(len(candidates))
                spreads = _spreads(rows, train)
                return References(positions, ((part, places),), (values,), (missed,), log_prior, numbers, spreads)
    return None


def alongside(tokens: Sequence[TokenInput], at: int) -> list[TokenInput]:
    """The inputs as long as number `at`, itself included."""
    return [each for each in tokens if each.ids.shape == tokens[at].ids.shape]


def placewise(
    tried: Sequence[Sequence[Places]], group: Sequence[TokenInput], edge: Edge
) -> tuple[tuple[int, Places], ...]:
    """The tensors whose row l depends on the tokens at place l alone, with their places among those `tried`.

    Two sequences are interleaved: each row must then be that of the sequence that its token comes from.
    """
    count, length = group[0].ids.shape
    first = torch.arange(min(PAIRS, count // 2))
    second = len(first) + first
    evenly = (torch.arange(length) % 2 == 0)[None]
    mixed = edge({each.position: torch.where(evenly, each.ids[first], each.ids[second]) for each in group})
    alone = [edge({each.position: each.ids[chosen] for each in group}) for chosen in (first, second)]
    found = []
    for part, each_tried in enumerate(tried):
        for places in each_tried:
            if not places.one_to_one:
                continue
            here, left, right = (places.of(each[part].float()) for each in (mixed, *alone))
            expected = torch.where(evenly[:, :, None], left, right)
            if torch.allclose(here, expected, rtol=1e-4, atol=1e-4 * float(expected.abs().max())):
                found.append((part, places))
                break
    return tuple(found)


def _combinations(group: Sequence[TokenInput], tested: Tensor) -> tuple[Tensor, Tensor]:
    """The tokens that inputs of one length have at the same place, `[C, inputs]`, and which of them each place holds.

    If there are more than `MOST`, the commonest are kept, and all that the samples `tested` hold. A place `[N, L]` with
    any other is -1.
    """
    flat = torch.stack([each.ids for each in group], dim=2).flatten(0, 1)
    combinations, number, counts = flat.unique(dim=0, return_inverse=True, return_counts=True)  # type: ignore[no-untyped-call]
    number = number.reshape(group[0].ids.shape)
    if len(combinations) <= MOST:
        return combinations, number
    needed = torch.zeros(len(combinations), dtype=torch.bool)
    needed[number[tested].unique()] = True
    order = (needed.long() * (int(counts.max()) + 1) + counts).argsort(descending=True, stable=True)
    chosen = order[: max(MOST, int(needed.sum()))].sort().values
    place = torch.full((len(combinations),), -1)
    place[chosen] = torch.arange(len(chosen))
    return combinations[chosen], place[number]


def _replayed(
    combinations: Tensor,
    group: Sequence[TokenInput],
    edge: Edge,
    parts: Sequence[tuple[int, Places]],
    length: int,
    positions: Tensor,
) -> tuple[Tensor, ...]:
    """Per part `[C, P, F]`: the edge half run on sequences of a single combination, repeated."""
    found: list[list[Tensor]] = [[] for _ in parts]
    for chunk in torch.split(combinations, CHUNK):
        crossed = edge(
            {each.position: chunk[:, at : at + 1].expand(-1, length).contiguous() for at, each in enumerate(group)}
        )
        for kept, (part, places) in zip(found, parts, strict=True):
            kept.append(places.of(crossed[part])[:, positions].float())
    return tuple(torch.cat(each) for each in found)


def _missed(seen: Tensor, values: Tensor, here: Tensor, known: Tensor) -> Tensor:
    """`[F]`: mean squared difference of what crosses `[n, P, F]` and its true references; 0 if that is rounding."""
    total = torch.zeros(values.shape[2])
    for at in range(here.shape[1]):
        used = known[:, at]
        total += (seen[used, at].float() - values[here[used, at], at]).square().sum(dim=0)
    mean = total / max(int(known.sum()), 1)
    return torch.where(mean > 1e-8 * values.square().mean(dim=(0, 1)), mean, 0.0)


def _spreads(rows: Sequence[Tensor], chosen: Tensor) -> tuple[Tensor, ...]:
    """Per tensor, the variance `[*sample_shape]` of each number over the chosen samples."""
    return tuple(row[chosen].float().var(dim=0, unbiased=False) for row in rows)


def _log_counts(here: Tensor, known: Tensor, count: int) -> Tensor:
    """`[P, C]`: how common each reference is, the same at all places."""
    counts = torch.bincount(here[known], minlength=count).float() + 1
    return (counts / counts.sum()).log().expand(here.shape[1], -1)
