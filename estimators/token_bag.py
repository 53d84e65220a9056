"""The tokens of a sequence in any order: what a pooling leaves of a text.

A mean over the sequence does not tell the places of the tokens, but may tell every token. Recovery is then counted
without places: the overlap of two bags, min(true count, answered count) summed over tokens. Two attackers look for the
bag. **Counts** is a ridge regression onto how often each token occurs. **Pursuit** starts from its answer and looks for
the bag whose tokens add up to the crossing. A token's share is what the edge half makes of a sequence of that token
alone. One token at a time is replaced by a likelier one.
"""

from __future__ import annotations

import torch
from torch import Tensor

from .token_attackers import PENALTIES, nearest, ridges

STEPS = 100
"""Tokens of a bag that are reconsidered, each at least once: several rounds for a short sequence."""

SEARCHES = 8
"""Bags that the pursuit starts from."""

ERRORS = (100.0, 30.0, 10.0, 3.0, 1.0)
"""Factors on the error, one after the other: coarse first, or the pursuit stops close to its start."""

PURSUIT_WORK = 5e10
"""Multiplications of all searches: with many tokens there are fewer searches."""


def counts_of(tokens: Tensor, candidates: int) -> Tensor:
    """Bags `[n, C]` float32 of tokens `[n, L]`; -1 does not count."""
    bags = torch.zeros(len(tokens), candidates + 1)
    places = torch.where(tokens >= 0, tokens, candidates)
    return bags.scatter_add_(1, places, torch.ones(tokens.shape))[:, :candidates]


def overlap(answered: Tensor, truth: Tensor) -> Tensor:
    """`[n]`: how many tokens the bags of two sets of sequences `[n, L]` share; -1 does not count."""
    candidates = int(max(answered.max(), truth.max())) + 1
    return torch.minimum(counts_of(answered, candidates), counts_of(truth, candidates)).sum(dim=1)


def likeliest(expected: Tensor, sizes: Tensor) -> Tensor:
    """Bags of `sizes` `[n]` tokens that overlap most with the `expected` counts `[n, C]`: tokens `[n, L]`, then -1."""
    left, rows = expected.clone(), torch.arange(len(expected))
    found = []
    for step in range(int(sizes.max())):
        best = left.argmax(dim=1)
        left[rows, best] -= 1
        found.append(torch.where(step < sizes, best, -1))
    return torch.stack(found, dim=1)


def by_counts(
    features: tuple[Tensor, Tensor, Tensor], own: Tensor, held: Tensor, sizes: Tensor, candidates: int
) -> Tensor:
    """Bags `[n, L]` by a regression of the counts.

    Args:
        features: `[m, F]` of the attackers' own, held-out and tested sequences.
        own: tokens `[m, L]` of their own sequences; -1 does not count.
        held: tokens of the held-out sequences, which choose the penalty.
        sizes: `[n]`, tokens of each tested sequence.
        candidates: C.
    """
    counts = counts_of(own, candidates)
    middle = counts.mean(dim=0)
    best, chosen = -1.0, torch.zeros(features[0].shape[1], candidates)
    for weights in ridges(features[0], counts - middle, PENALTIES):
        answered = likeliest(features[1] @ weights + middle, (held >= 0).sum(dim=1))
        shared = float(overlap(answered, held).sum())
        if shared > best:
            best, chosen = shared, weights
    return likeliest(features[2] @ chosen + middle, sizes)


def by_pursuit(
    seen: Tensor, weights: Tensor, shares: Tensor, start: Tensor, log_prior: Tensor, generator: torch.Generator
) -> Tensor:
    """Bags `[n, L]` whose tokens' shares add up to what is seen: the likeliest of several searches.

    Args:
        seen: `[n, F]`.
        weights: `[n, F]`, one over the variance of the error; 0 for what was dropped.
        shares: `[C, F]` of one token each.
        start: `[n, L]`, where the first search starts, -1 beyond a sequence's end; the others start at random bags.
        log_prior: `[C]`.
        generator: of these bags; on the CPU.
    """
    count, length = start.shape
    searches = max(1, min(SEARCHES, int(PURSUIT_WORK / (len(ERRORS) * length * count * shares.numel()))))
    drawn = torch.multinomial(log_prior.exp(), searches * count * length, replacement=True, generator=generator)
    bags = drawn.reshape(searches * count, length)
    bags[:count] = start
    inside = (start >= 0).repeat(searches, 1)
    bags = torch.where(inside, bags, len(shares))  # the last share is 0
    every, certain = seen.repeat(searches, 1), weights.repeat(searches, 1)
    for error in ERRORS:
        bags = _settled(every, certain / error**2, shares, bags, log_prior)
    missed = every - _with_nothing(shares)[bags].sum(dim=1)
    likelihood = (log_prior[bags.clamp(max=len(shares) - 1)] * inside).sum(dim=1)
    likelihood -= (certain * missed.square()).sum(dim=1) / 2
    best = likelihood.reshape(searches, count).argmax(dim=0)
    found = bags.reshape(searches, count, length)[best, torch.arange(count)]
    return torch.where(start >= 0, found, -1)


def _settled(seen: Tensor, weights: Tensor, shares: Tensor, bags: Tensor, log_prior: Tensor) -> Tensor:
    """Bags in which no token can be replaced by a likelier one, as far as the steps allow."""
    bags, padded = bags.clone(), _with_nothing(shares)
    total = padded[bags].sum(dim=1)
    for _ in range(max(1, STEPS // bags.shape[1])):
        before = bags.clone()
        for at in range(bags.shape[1]):
            inside = bags[:, at] < len(shares)
            without = total - padded[bags[:, at]]
            bags[:, at] = torch.where(inside, nearest(seen - without, weights, shares, log_prior), bags[:, at])
            total = without + padded[bags[:, at]]
        if torch.equal(before, bags):
            break
    return bags


def _with_nothing(shares: Tensor) -> Tensor:
    """`[C + 1, F]`: the last row is 0."""
    return torch.cat([shares, torch.zeros(1, shares.shape[1])])
