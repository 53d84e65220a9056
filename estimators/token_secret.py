"""What attackers of one private input of tokens find out once, whatever the defense: places, references, priors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ..defenses.seeds import generator_for
from .token_attackers import Examples, readable
from .token_bag import counts_of, likeliest, overlap
from .token_inversion import Made, made_sequences
from .token_places import Places, TokenContext, beside, candidate_places
from .token_references import alongside, edge_references, edge_shares, placewise, table_references
from .token_traces import Edge, traced_places
from .tokens import TokenInput

MIN_SAMPLES = 20
TESTED = 200
"""Sequences that are tested; a quarter of all if there are fewer than 4 * TESTED. The interval is over them."""

POSITIONS = 32
"""Places of each sequence that are tested."""

HELD = 8
"""One of the attackers' sequences in HELD is kept for model selection and early stopping."""

SETTLING_ROWS = 4000
"""Rows that places are chosen by."""

DRAWN_NUMBERS = 2e7
"""The most numbers of a set of examples; rows are drawn from longer sequences and wider rows."""

WINDOW = 768
"""Neighbours are read with a row if they are no wider together."""

EVENNESS = 0.01
"""Features are divided by sqrt(variance + EVENNESS * mean variance + variance of the noise)."""

SMOOTHING = 5.0
"""How many sequences' worth of the common tokens of all places is added to those of each place."""


@dataclass(frozen=True, eq=False)
class Score:
    """An attacker's recovery of the tested sequences, and the influence `[tested]` of each sequence on it."""

    value: float
    influence: Tensor

    @classmethod
    def of(cls, missed: Tensor, by_prior: Tensor) -> Score:
        """From the tokens of each sequence `[n]` that the attacker, and the prior, did not find."""
        missed, by_prior = missed.double(), by_prior.double()
        if not float(by_prior.sum()):
            return cls(0.0, torch.zeros_like(missed))
        value = 1 - float(missed.sum()) / float(by_prior.sum())
        return cls(value, ((1 - value) * by_prior - missed) / float(by_prior.mean()))


class TokenSecret:
    """One private input of tokens at one cut.

    Args:
        rows: undefended tensors of the private crossings, `[N, *sample_shape]`, samples in random order.
        tokens: all private inputs of tokens, of the same samples.
        at: which of them this is.
        edge: runs the edge half on other tokens; None if only rows are known.
        seed: of all draws.
    """

    def __init__(
        self, rows: Sequence[Tensor], tokens: Sequence[TokenInput], at: int, edge: Edge | None, seed: int
    ) -> None:
        self.rows, self.tokens = rows, tokens[at]
        self.seed = seed
        self.count, self.length = self.tokens.ids.shape
        self.candidates, wanted = self.tokens.ids.unique(return_inverse=True)  # type: ignore[no-untyped-call]
        self.wanted = torch.where(self.tokens.counted, wanted, -1)
        tested = min(TESTED, max(self.count // 4, 5))
        held = max(2, (self.count - tested) // HELD)
        order = torch.arange(self.count)
        self.tested, self.held, self.train = order[:tested], order[tested : tested + held], order[tested + held :]
        self.log_prior = self._log_prior()
        self.constant = all(bool((row == row[:1]).all()) for row in rows)
        if not self.constant:
            self._find_places(tokens, at, edge)
            self._find_references(tokens, at, edge)

    def _find_places(self, tokens: Sequence[TokenInput], at: int, edge: Edge | None) -> None:
        """Which rows are read for which token, and their moments."""
        drawn = torch.randperm(self.length, generator=generator_for(self.seed, "places"))[:POSITIONS]
        self.positions = drawn.sort().values
        self.places, self._placed = self._places(tokens, at, edge)
        if any(each.unmixed is not None for _, each in self._placed):
            self.positions = torch.arange(self.length)  # in a mixture, a token tells about its neighbours
        self.reading = self._best_reading()
        self.middles = [row[self.train].float().mean(dim=0) for row in self.rows]
        self.mean, self.variance = self._moments()

    def _find_references(self, tokens: Sequence[TokenInput], at: int, edge: Edge | None) -> None:
        """What the edge half, or else the embedding, makes of each token."""
        self.made: Made | None = None
        self.shares = self.references = None
        if edge is not None:
            if len(self._placed) < len(self.rows):
                draws = generator_for(self.seed, "inversion")
                self.made = made_sequences(self.rows, self.tokens, self.train, self.candidates, edge, draws)
            if self.pooled:
                self.shares = edge_shares(self.rows, self.tokens, self.candidates, edge, self.reading, self.train)
            self.references = edge_references(
                self.rows, tokens, at, self.candidates, edge, self._placed, self.positions, self.tested
            )
        if self.references is not None:
            self.positions = self.references.positions
        else:
            self.references = table_references(
                self.rows, self.tokens, self.candidates, self.places, self.positions, self.train
            )

    @property
    def pooled(self) -> bool:
        """True if nothing that crosses belongs to a single place."""
        return self.reading.places.rows == 1 and self.length > 1

    def rows_of(self, indices: Tensor) -> list[Tensor]:
        """What crosses for the sequences at `indices` `[M]`, undefended."""
        return [row[indices] for row in self.rows]

    def score_places(self, answered: Tensor) -> Score:
        """The score of answers `[tested, positions]`, numbers of candidates."""
        truth = self.wanted[self.tested][:, self.positions]
        counted = truth >= 0
        guessed = self.log_prior[self.positions].argmax(dim=1)
        return Score.of(((answered != truth) & counted).sum(dim=1), ((guessed != truth) & counted).sum(dim=1))

    def score_bags(self, answered: Tensor) -> Score:
        """The score of bags `[tested, L]`, numbers of candidates, then -1."""
        truth = self.wanted[self.tested]
        sizes = (truth >= 0).sum(dim=1)
        usual = counts_of(self.wanted[torch.cat([self.held, self.train])], len(self.candidates)).mean(dim=0)
        guessed = likeliest(usual.expand(len(truth), -1), sizes)
        return Score.of(sizes - overlap(answered, truth), sizes - overlap(guessed, truth))

    def _log_prior(self) -> Tensor:
        """`[L, C]`: how common each token is at each place, among the attackers' sequences."""
        own = self.wanted[torch.cat([self.held, self.train])]
        flat = own + (torch.arange(self.length) * len(self.candidates))[:, None].T
        counts = torch.bincount(flat[own >= 0], minlength=self.length * len(self.candidates))
        counts = counts.reshape(self.length, -1).float()
        everywhere = (counts.sum(dim=0) + 1) / (counts.sum() + counts.shape[1])
        smoothed = counts + SMOOTHING * everywhere
        return (smoothed / smoothed.sum(dim=1, keepdim=True)).log()

    def _places(
        self, tokens: Sequence[TokenInput], at: int, edge: Edge | None
    ) -> tuple[list[list[Places]], tuple[tuple[int, Places], ...]]:
        """By tensor, all places to try; and those where each row depends on one token alone."""
        places = [candidate_places(row.shape[1:], self.length) for row in self.rows]
        if edge is None:
            return places, ()
        group = alongside(tokens, at)
        placed = placewise(places, group, edge)
        if len(placed) == len(places):
            return places, placed
        traced = traced_places(self.rows, self.tokens, self.candidates, edge, self.seed)
        places = [[*guessed, *shown] for guessed, shown in zip(places, traced, strict=True)]
        return places, placewise(places, group, edge)

    def _best_reading(self) -> TokenContext:
        """The places from which a ridge reads most, undefended."""
        shapes = [tuple(row.shape[1:]) for row in self.rows]
        best = []
        for part, tried in enumerate(self.places):
            best.append(max((self._reads(TokenContext(part, each)), -at, each) for at, each in enumerate(tried)))
        part = max(range(len(best)), key=lambda at: best[at][:2])
        places = best[part][2]
        reading = TokenContext(part, places, 0, beside(shapes, part, [each[2] for each in best]))
        wider = replace(reading, radius=1)
        if places.rows > 1 and wider.width(shapes) <= WINDOW and self._readable(wider) >= self._readable(reading):
            return wider
        return reading

    def _reads(self, reading: TokenContext) -> float:
        """What a ridge reads, with neighbours or without: a running sum is nothing without the row before."""
        wider = replace(reading, radius=1)
        alone = self._readable(reading)
        if reading.places.rows == 1 or wider.width([row.shape[1:] for row in self.rows]) > WINDOW:
            return alone
        return max(alone, self._readable(wider))

    def _readable(self, reading: TokenContext) -> float:
        """What a ridge reads of the held-out tokens in undefended rows."""
        most = max(MIN_SAMPLES, SETTLING_ROWS // reading.places.rows)
        own, held = self.train[:most], self.held[: max(2, most // 4)]
        features = reading.of([row[torch.cat([own, held])].float() for row in self.rows])
        spread, mean = torch.var_mean(features[: len(own)], dim=0, unbiased=False)
        features = (features - mean) / (spread.mean(dim=0) + EVENNESS * spread.mean() + 1e-12).sqrt()
        slots = reading.places.slots
        train = Examples(features[: len(own)], in_slots(self.wanted[own], slots))
        unseen = Examples(features[len(own) :], in_slots(self.wanted[held], slots))
        return readable(train, unseen, self.tokens.vectors(self.candidates), slots)

    def _moments(self) -> tuple[Tensor, Tensor]:
        """Of the attackers' undefended rows: the mean `[R, F]` of each number, the variance `[F]` over all rows."""
        total = squares = None
        for chosen in torch.split(self.train, max(1, int(DRAWN_NUMBERS / self.rows[0][0].numel()))):
            features = self.reading.of([row[chosen].float() for row in self.rows]).double()
            total = features.sum(dim=0) if total is None else total + features.sum(dim=0)
            squares = features.square().sum(dim=0) if squares is None else squares + features.square().sum(dim=0)
        assert total is not None  # there are samples to train on
        assert squares is not None
        mean = total / len(self.train)
        variance = (squares / len(self.train) - mean.square()).clamp(min=0).mean(dim=0)
        return mean.float(), variance.float()


def in_slots(wanted: Tensor, slots: Tensor) -> Tensor:
    """Tokens `[n, L]` as `[n, R, S]`, -1 where a row holds fewer."""
    return torch.where(slots >= 0, wanted[:, slots.clamp(min=0)], -1)
