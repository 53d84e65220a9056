"""Token recovery: the share of private tokens that attackers read exactly, each at its place, from released tensors.

    recovery = (accuracy - prior) / (1 - prior)      0: no better than the commonest tokens      1: every token

over the tokens of held-out sequences. Padding does not count, and the prior answers with the commonest token at each
place. Attackers have other sequences with the tensors that the edge half makes of them, know which elements were
dropped, and hold the model's weights. The best of these counts:

- **nearest**: the token whose crossing lies nearest. Where each place depends on its own token alone (embedding,
  positions, normalisation, a network at each place), the edge half itself is run on every token at every place, which
  inverts whatever it does there exactly. Elsewhere the rows of the embedding stand for the crossing, if it is as wide.
- **successive**: the same where rows are mixed, one token after the other (`token_successive.py`).
- **ridge**: a ridge regression onto the embedding, then the nearest row.
- **inversion**: the same regression of all tokens on everything that crosses at once, trained on sequences that the
  attackers make (`token_inversion.py`).
- **classifier**: a small network with the same weights at each place, trained on releases.

The edge half itself shows which rows belong to which token (`token_traces.py`); they may be in any order, or mixed.
After a pooling, nothing that crosses belongs to a place. A sixth attacker then recovers the tokens without their
places, the **bag** (`token_bag.py`); its zero is the bag of commonest tokens.

Candidates are the tokens that occur in the data: attackers of text know its vocabulary. What it does not mean: a search
that runs the edge half on whole sequences, or a language model as the prior, recovers more.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ..defenses.pipeline import Defense
from ..records import CollabplanError, Interval
from ..records.revisions import Part
from .sandwich import half_width
from .token_attack import TokenAttack
from .token_secret import MIN_SAMPLES, Score, TokenSecret
from .token_traces import Edge
from .tokens import TokenInput

TOKEN_RECOVERY = Part("token-recovery", 2)
"""Raise its revision whenever the same releases give another recovery, any `token_*.py` included."""

ATTACKERS = ("nearest", "successive", "ridge", "inversion", "classifier", "bag")

LEARNT = ("ridge", "classifier", "bag")
"""Attackers that would read more with more samples."""

READ = 0.98
"""Inversion is skipped if another attacker reads at least this share."""

SURE = 0.025
"""The probability beyond either end of a 95 % interval."""


@dataclass(frozen=True, slots=True)
class Recovered:
    """The recovery of the private tokens that leak most.

    Attributes:
        index: from 0 to 1.
        by_samples: (samples, recovery of the same attacker with as many), ascending.
        attacker: the one that read most.
        input_name: what it read.
        note: why the high end is as high as it is; empty where there is nothing to say.
    """

    index: Interval
    by_samples: tuple[tuple[int, float], ...]
    attacker: str
    input_name: str
    note: str = ""


class TokenRecovery:
    """Recovery of private tokens at one cut under many defenses; what they share is found once.

    Args:
        rows: undefended tensors of the private crossings, `[N, *sample_shape]`, samples in random order.
        tokens: of the same samples; none of them constant.
        seed: of everything that defenses share.
        edge: runs the edge half on other tokens; None if only rows are known.

    Raises:
        CollabplanError: fewer than 20 samples.
    """

    def __init__(
        self, rows: Sequence[Tensor], tokens: Sequence[TokenInput], seed: int, edge: Edge | None = None
    ) -> None:
        count = len(rows[0])
        if count < MIN_SAMPLES:
            raise CollabplanError(f"token recovery needs at least {MIN_SAMPLES} samples, got {count}; give more data")
        self._secrets = [TokenSecret(rows, tokens, at, edge, seed) for at in range(len(tokens))]

    def under(self, defense: Defense, generator: torch.Generator) -> Recovered:
        """The recovery under one defense.

        Args:
            defense: a calibrated `Defense.private`.
            generator: of releases and trainings; on the CPU.
        """
        seed = int(torch.randint(2**62, (1,), generator=generator))
        found = [_recovered(each, defense, seed) for each in self._secrets]
        return max(found, key=lambda item: (item.index.high, item.index.value))


def _recovered(secret: TokenSecret, defense: Defense, seed: int) -> Recovered:
    """The best attacker's recovery of one input."""
    if secret.constant:
        nothing = Interval(value=0.0, low=0.0, high=0.0)
        return Recovered(nothing, ((secret.count, 0.0),), "prior", secret.tokens.name)
    attack = TokenAttack(secret, defense, seed)
    scores: dict[str, Score] = {}
    for name in ATTACKERS:
        if name == "inversion" and any(each.value >= READ for each in scores.values()):
            continue
        found = attack.score(name)
        if found is not None:
            scores[name] = found
        if name in scores and scores[name].value >= 1:
            break
    best = max(scores, key=lambda name: scores[name].value)
    score, halved = scores[best], None
    if best in LEARNT and 0 < score.value < 1 and len(secret.train) >= MIN_SAMPLES:
        halved = attack.score(best, share=2)
    return _with_interval(secret, score, None if halved is None else halved.value, best)


def _with_interval(secret: TokenSecret, score: Score, halved: float | None, name: str) -> Recovered:
    """The recovery with its interval; `halved` is the same attacker's with half of the samples."""
    value = score.value
    half = half_width(score.influence)
    # None of n right does not prove 0, and few sequences that agree are no certainty.
    least = 1 - SURE ** (1 / len(secret.tested))
    more = 0.0 if halved is None else max(0.0, value - halved)
    clipped = min(max(value, 0.0), 1.0)
    index = Interval(
        value=clipped,
        low=min(max(value - half, 0.0), clipped),
        high=max(min(max(value, 0.0) + max(half, least) + more, 1.0), clipped),
    )
    curve = [(secret.count, clipped)]
    if halved is not None:
        curve.insert(0, (secret.count - len(secret.train) // 2, min(max(halved, 0.0), 1.0)))
    return Recovered(index, tuple(curve), name, secret.tokens.name)
