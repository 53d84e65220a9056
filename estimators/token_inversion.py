"""Inversion: a regression of all tokens on everything that crosses, learnt from sequences that the attackers make.

Where a sequence's numbers are all mixed (a linear layer over all places), what one place holds is nowhere in
particular, and a regression on everything has as many unknowns as numbers cross. The attackers hold the edge half: they
run it on as many sequences as that takes. A linear mixture is so inverted exactly.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from .token_places import Places, TokenContext
from .token_traces import Edge
from .tokens import TokenInput

PENALTIES = (1e-4, 1e-2, 1.0)
"""Relative to the mean eigenvalue."""

MOST_NUMBERS = 2048
"""Numbers that may cross: the work grows with their cube."""

ENOUGH = 4
"""One of so many of the numbers of the embedded sequence must cross: far fewer are not inverted linearly."""

HELD = 256
MADE_TOKENS = 200_000
"""Tokens of all sequences that are made, at most."""

CHUNK = 256


@dataclass(frozen=True, eq=False)
class Made:
    """Sequences that were made, the last `HELD` of which are held out.

    Attributes:
        rows: what the edge half makes of them, `[M, *sample_shape]` per tensor.
        wanted: `[M, L]`, numbers of candidates.
        reading: everything that crosses as one row.
        width: components of each token's vector that are worth a regression.
    """

    rows: list[Tensor]
    wanted: Tensor
    reading: TokenContext
    width: int


def made_sequences(
    rows: Sequence[Tensor], own: TokenInput, known: Tensor, candidates: Tensor, edge: Edge, generator: torch.Generator
) -> Made | None:
    """Sequences of tokens drawn from what the place holds in the data, and from all, by halves.

    Args:
        rows: of the private crossings `[N, *sample_shape]`.
        own: the attacked tokens.
        known: `[K]`, the attackers' own sequences.
        candidates: `[C]`, its ids in the data.
        edge: runs the edge half.
        generator: draws tokens.

    Returns:
        None where too much crosses, or too little.
    """
    length = own.ids.shape[1]
    numbers = sum(row[0].numel() for row in rows)
    width = max(1, min(own.vectors(candidates[:1]).shape[1], len(candidates) - 1))
    count = min(2 * numbers + HELD, MADE_TOKENS // length)
    if numbers > MOST_NUMBERS or numbers * ENOUGH < length * width or count < 2 * HELD or length < 2:
        return None
    wanted = torch.randint(len(candidates), (count, length), generator=generator)
    usual = torch.searchsorted(candidates, own.ids[known])
    drawn = torch.randint(len(known), (count, length), generator=generator)
    wanted = torch.where(torch.rand(wanted.shape, generator=generator) < 0.5, usual.gather(0, drawn), wanted)
    crossed = [edge({own.position: candidates[chunk]}) for chunk in torch.split(wanted, CHUNK)]
    whole = Places(0, 0, 1, (0,) * length)
    reading = TokenContext(0, whole, 0, tuple((part, whole) for part in range(1, len(rows))))
    return Made(
        [torch.cat([each[part] for each in crossed]) for part in range(len(rows))],
        wanted,
        reading,
        min(width, max(1, numbers // length)),
    )
