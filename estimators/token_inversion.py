"""Inversion: a regression of all tokens on everything that crosses, trained on sequences that the attackers make.

Where all numbers of a sequence are mixed (a linear layer over all places), the content of one place is nowhere in
particular, and a regression on everything has as many unknowns as numbers cross. The attackers hold the edge half and
run it on as many sequences as that takes. This inverts a linear mixture exactly.
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
"""The most numbers that may cross: the work grows with their cube."""

ENOUGH = 4
"""At least 1 / ENOUGH of the numbers of the embedded sequence must cross: fewer are not inverted linearly."""

HELD = 256
MADE_TOKENS = 200_000
"""The most tokens of all sequences that are made."""

CHUNK = 256


@dataclass(frozen=True, eq=False)
class Made:
    """Sequences that the attackers made; the last `HELD` are held out.

    Attributes:
        rows: what the edge half makes of them, `[M, *sample_shape]` per tensor.
        wanted: `[M, L]`, indices of candidates.
        reading: everything that crosses as one row.
        width: components of each token's vector to regress.
    """

    rows: list[Tensor]
    wanted: Tensor
    reading: TokenContext
    width: int


def made_sequences(
    rows: Sequence[Tensor], own: TokenInput, known: Tensor, candidates: Tensor, edge: Edge, generator: torch.Generator
) -> Made | None:
    """Sequences of tokens, half of them drawn from those that the place holds in the data, half from all.

    Args:
        rows: of the private crossings `[N, *sample_shape]`.
        own: the attacked tokens.
        known: `[K]`, the attackers' sequences.
        candidates: `[C]`, its ids in the data.
        edge: runs the edge half.
        generator: of tokens; on the CPU.

    Returns:
        None if too much crosses, or too little.
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
