"""Token recovery: what share of the private tokens attackers read exactly, each at its place, from released tensors.

    recovery = (accuracy - prior) / (1 - prior)      0: no better than the commonest tokens      1: every token

over the tokens of held-out sequences; padding does not count, and the prior answers with the commonest token at each
place. Attackers have the other sequences with the tensors that the edge half makes of them, know which elements were
dropped, and hold the model's weights. The greatest counts:

- **nearest**: the token whose crossing lies nearest. Where each place depends on its own token alone (embedding,
  positions, normalisation, a network at each place) the edge half itself is run on every token at every place, so that
  whatever it does there is undone exactly. Elsewhere the rows of the embedding stand for the crossing, where it is as
  wide.
- **successive**: the same where rows are mixed, one token after the other (`token_successive.py`).
- **ridge**: a ridge regression onto the embedding, then the nearest row.
- **inversion**: the same regression of all tokens on everything that crosses at once, learnt from sequences that the
  attackers make (`token_inversion.py`).
- **classifier**: a small network per place, with the same weights at each, trained on releases.

Which rows belong to which token the edge half itself shows (`token_traces.py`): they may stand in any order, or mixed.
Where nothing that crosses belongs to a place, as after a pooling, a fifth asks for the tokens wherever they stand: the
**bag** (`token_bag.py`). Its zero is the bag of commonest tokens.

Candidates are the tokens that occur in the data: who attacks text knows its vocabulary. What it does not mean: a search
that runs the edge half on whole sequences, or a language model as the prior, recovers more.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ..defenses.pipeline import Defense
from ..defenses.randomness import Simulated
from ..defenses.seeds import generator_for
from ..records import CollabplanError, Interval
from ..records.revisions import Part
from .sandwich import half_width
from .token_attackers import Examples, Predictor, classifier, readable, ridge
from .token_bag import by_counts, by_pursuit, counts_of, likeliest, overlap
from .token_inversion import HELD as INVERSION_HELD
from .token_inversion import PENALTIES, Made, made_sequences
from .token_places import Places, TokenContext, beside, candidate_places
from .token_references import alongside, edge_references, edge_shares, placewise, table_references
from .token_traces import Edge, traced_places
from .tokens import TokenInput

TOKEN_RECOVERY = Part("token-recovery")
"""Raise its revision whenever the same releases give another recovery, any `token_*.py` included."""

MIN_SAMPLES = 20
TESTED = 200
"""Sequences that are tested, a quarter where there are fewer than four times as many: the interval is about them."""

POSITIONS = 32
"""Places of each sequence that are tested."""

HELD = 8
"""One of so many of the attackers' own sequences chooses penalties, and when a training ends."""

DRAWS = 3
"""Releases of each of the attackers' sequences that a regression learns from, where releases differ."""

SETTLING_ROWS = 4000
"""Rows that places are settled by."""

DRAWN_NUMBERS = 2e7
"""Numbers that examples hold at most: of long sequences, and of wide rows, some rows are drawn."""

WINDOW = 768
"""Neighbours are read where a row with them is no wider."""

EVENNESS = 0.01
"""Features are divided by sqrt(variance + EVENNESS * mean variance + variance of the noise)."""

SMOOTHING = 5.0
"""Of each place's own commonest tokens: so many sequences' worth of those of all places."""

ATTACKERS = ("nearest", "successive", "ridge", "inversion", "classifier", "bag")

LEARNT = ("ridge", "classifier", "bag")
"""Those that would read more with more samples."""

READ = 0.98
"""What others read so much of is not inverted: there is nothing to win."""

SURE = 0.025
"""Half of what a 95 % interval leaves out, at either end."""


@dataclass(frozen=True, slots=True)
class Recovered:
    """The recovery of the private tokens that leak most.

    `by_samples` holds (samples, recovery of the same attacker with so many), ascending; `attacker` is the one that read
    most, and `input_name` what it read.
    """

    index: Interval
    by_samples: tuple[tuple[int, float], ...]
    attacker: str
    input_name: str


class TokenRecovery:
    """Recovery of private tokens at one cut under many defenses; what they share is found once."""

    def __init__(
        self, rows: Sequence[Tensor], tokens: Sequence[TokenInput], seed: int, edge: Edge | None = None
    ) -> None:
        """
        Args:
            rows: undefended tensors of the private crossings, `[N, *sample_shape]`, samples in random order.
            tokens: of the same samples; none of them constant.
            seed: of everything that defenses share.
            edge: runs the edge half on other tokens; None where only rows are known.

        Raises:
            CollabplanError: fewer than 20 samples.
        """
        count = len(rows[0])
        if count < MIN_SAMPLES:
            raise CollabplanError(f"token recovery needs at least {MIN_SAMPLES} samples, got {count}; give more data")
        self._inputs = [_OneInput(rows, tokens, at, edge, seed) for at in range(len(tokens))]

    def under(self, defense: Defense, generator: torch.Generator) -> Recovered:
        """The recovery under `defense`, a calibrated `Defense.private`; the generator draws releases and trainings."""
        seed = int(torch.randint(2**62, (1,), generator=generator))
        found = [each.under(defense, seed) for each in self._inputs]
        return max(found, key=lambda item: (item.index.high, item.index.value))


@dataclass(frozen=True, eq=False)
class _Score:
    """Of the tested sequences: an attacker's recovery and each sequence's influence on it."""

    value: float
    influence: Tensor


class _OneInput:
    """Everything about one private input of tokens."""

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
        if self.constant:
            return
        drawn = torch.randperm(self.length, generator=generator_for(seed, "places"))[:POSITIONS]
        self.positions = drawn.sort().values
        self.places, placed = self._places(tokens, at, edge)
        if any(each.unmixed is not None for _, each in placed):
            self.positions = torch.arange(self.length)  # a token tells about its neighbours in a mixture
        self.reading = self._settled()
        self.middles = [row[self.train].float().mean(dim=0) for row in rows]
        self.mean, self.variance = self._moments()
        self.made: Made | None = None
        if edge is not None and len(placed) < len(rows):
            self.made = made_sequences(
                rows, self.tokens, self.train, self.candidates, edge, generator_for(seed, "inversion")
            )
        self.shares = None
        if edge is not None and self.pooled:
            self.shares = edge_shares(rows, self.tokens, self.candidates, edge, self.reading, self.train)
        self.references = None if edge is None else edge_references(
            rows, tokens, at, self.candidates, edge, placed, self.positions, self.tested
        )  # fmt: skip
        if self.references is not None:
            self.positions = self.references.positions
        else:
            self.references = table_references(
                rows, self.tokens, self.candidates, self.places, self.positions, self.train
            )

    @property
    def pooled(self) -> bool:
        """True where nothing that crosses belongs to a place."""
        return self.reading.places.rows == 1 and self.length > 1

    def rows_of(self, indices: Tensor) -> list[Tensor]:
        """What crosses of some sequences `[M]`, undefended."""
        return [row[indices] for row in self.rows]

    def under(self, defense: Defense, seed: int) -> Recovered:
        """What the attackers recover at most."""
        if self.constant:
            nothing = Interval(value=0.0, low=0.0, high=0.0)
            return Recovered(nothing, ((self.count, 0.0),), "prior", self.tokens.name)
        attack = _Attack(self, defense, seed)
        scores: dict[str, _Score] = {}
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
        if best in LEARNT and 0 < score.value < 1 and len(self.train) >= MIN_SAMPLES:
            halved = attack.score(best, share=2)
        return self._recovered(score, None if halved is None else halved.value, best)

    def _recovered(self, score: _Score, halved: float | None, name: str) -> Recovered:
        value = score.value
        half = half_width(score.influence)
        # None of n right is no 0, and few sequences that agree are no certainty.
        least = 1 - SURE ** (1 / len(self.tested))
        more = 0.0 if halved is None else max(0.0, value - halved)
        clipped = min(max(value, 0.0), 1.0)
        index = Interval(
            value=clipped,
            low=min(max(value - half, 0.0), clipped),
            high=max(min(max(value, 0.0) + max(half, least) + more, 1.0), clipped),
        )
        curve = [(self.count, clipped)]
        if halved is not None:
            curve.insert(0, (self.count - len(self.train) // 2, min(max(halved, 0.0), 1.0)))
        return Recovered(index, tuple(curve), name, self.tokens.name)

    def score_places(self, answered: Tensor) -> _Score:
        """Of answers `[tested, positions]`, numbers of candidates."""
        truth = self.wanted[self.tested][:, self.positions]
        counted = truth >= 0
        guessed = self.log_prior[self.positions].argmax(dim=1)
        return _score(((answered != truth) & counted).sum(dim=1), ((guessed != truth) & counted).sum(dim=1))

    def score_bags(self, answered: Tensor) -> _Score:
        """Of bags `[tested, L]`, numbers of candidates and -1."""
        truth = self.wanted[self.tested]
        sizes = (truth >= 0).sum(dim=1)
        usual = counts_of(self.wanted[torch.cat([self.held, self.train])], len(self.candidates)).mean(dim=0)
        guessed = likeliest(usual.expand(len(truth), -1), sizes)
        return _score(sizes - overlap(answered, truth), sizes - overlap(guessed, truth))

    def _log_prior(self) -> Tensor:
        """`[L, C]`: how common each token is at each place, among the attackers' own."""
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
        """By tensor, all places that are tried; and those where each row depends on one token alone."""
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

    def _settled(self) -> TokenContext:
        """The places that a ridge reads best by, undefended."""
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
        train = Examples(features[: len(own)], _in_slots(self.wanted[own], slots))
        unseen = Examples(features[len(own) :], _in_slots(self.wanted[held], slots))
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


def _score(missed: Tensor, by_prior: Tensor) -> _Score:
    """From the tokens of each sequence that an attacker, and the prior, did not find `[n]`."""
    missed, by_prior = missed.double(), by_prior.double()
    if not float(by_prior.sum()):
        return _Score(0.0, torch.zeros_like(missed))
    value = 1 - float(missed.sum()) / float(by_prior.sum())
    return _Score(value, ((1 - value) * by_prior - missed) / float(by_prior.mean()))


def _in_slots(wanted: Tensor, slots: Tensor) -> Tensor:
    """Tokens `[n, L]` as `[n, R, S]`, -1 where a row holds fewer."""
    return torch.where(slots >= 0, wanted[:, slots.clamp(min=0)], -1)


class _Attack:
    """The attackers of one input under one defense, and the releases that they are tested on."""

    def __init__(self, secret: _OneInput, defense: Defense, seed: int) -> None:
        self.secret, self.defense, self.seed = secret, defense, seed
        self.undropped = Defense(defense.record.without("dropout"), defense.crossing)
        self.random = defense.randomizes
        self.noise = self._noise_variance()
        self.seen, self.kept = self._release(secret.rows_of(secret.tested), self._generator("tested"))

    def score(self, name: str, share: int = 1) -> _Score | None:
        """What an attacker recovers with one of `share` of its own sequences; None where it has nothing to go by."""
        secret = self.secret
        if name == "bag":
            return secret.score_bags(self._bag(share)) if secret.pooled else None
        if name == "nearest":
            known = secret.references
            return (
                None
                if known is None
                else secret.score_places(known.answers(self._filled(self.seen, self.kept), self.kept, self.defense))
            )
        if name == "successive":
            known = secret.references
            if known is None or not known.mixed or self.kept is not None:
                return None
            return secret.score_places(known.successive(self.seen, self.defense))
        if name == "inversion":
            return None if secret.made is None else secret.score_places(self._inverted(secret.made))
        return secret.score_places(self._answers(name, share))

    def _answers(self, name: str, share: int) -> Tensor:
        """Candidates `[tested, positions]` by what is learnt."""
        predict = self._ridge(share) if name == "ridge" else self._classifier(share)
        slots = self.secret.reading.places.slots
        answered = predict(self._features(self.seen, self.kept))
        found = torch.full((len(answered), self.secret.length), -1)
        rows, columns = (slots >= 0).nonzero(as_tuple=True)
        found[:, slots[rows, columns]] = answered[:, rows, columns]
        return found[:, self.secret.positions]

    def _inverted(self, made: Made) -> Tensor:
        """Candidates `[tested, positions]` by a regression of all tokens on everything at once."""
        released = self._filled(*self._release(made.rows, self._generator("inversion")))
        features = made.reading.of(released)
        spread, mean = torch.var_mean(features, dim=0, unbiased=False)
        scale = (spread + EVENNESS * spread.mean() + 1e-12).rsqrt()
        features, wanted = (features - mean) * scale, made.wanted[:, None]
        own = len(features) - INVERSION_HELD
        predict = ridge(
            Examples(features[:own], wanted[:own]),
            Examples(features[own:], wanted[own:]),
            self.secret.tokens.vectors(self.secret.candidates),
            self.secret.log_prior,
            made.reading.places.slots,
            penalties=PENALTIES,
            widest=made.width,
        )
        seen = (made.reading.of(self._filled(self.seen, self.kept)) - mean) * scale
        return predict(seen)[:, 0][:, self.secret.positions]

    def _bag(self, share: int) -> Tensor:
        """Tokens `[tested, L]` wherever they stand."""
        secret, generator = self.secret, self._generator("bag")
        own = secret.train[::share]
        features = [
            self._features(*self._release(secret.rows_of(indices), generator)) for indices in (own, secret.held)
        ]
        sizes = (secret.wanted[secret.tested] >= 0).sum(dim=1)
        counted = by_counts(
            (features[0][:, 0], features[1][:, 0], self._features(self.seen, self.kept)[:, 0]),
            secret.wanted[own],
            secret.wanted[secret.held],
            sizes,
            len(secret.candidates),
        )
        shares = secret.shares
        if shares is None:
            return counted
        weights = shares.errors(self._floor_variance(), sizes).square().reciprocal()
        if self.kept is not None:
            weights = weights * secret.reading.of(self.kept)[:, 0]
        seen = shares.summed(secret.reading.of(self.seen)[:, 0], sizes)
        usual = secret.log_prior.exp().mean(dim=0).log()
        return by_pursuit(seen, weights, shares.values, counted, usual, generator)

    def _ridge(self, share: int) -> Predictor:
        secret, generator = self.secret, self._generator("ridge")
        drawn = [self._examples(secret.train[::share], generator) for _ in range(DRAWS if self.random else 1)]
        train = Examples(torch.cat([each.features for each in drawn]), torch.cat([each.wanted for each in drawn]))
        return ridge(
            train,
            self._examples(secret.held, generator),
            secret.tokens.vectors(secret.candidates),
            secret.log_prior,
            secret.reading.places.slots,
        )

    def _classifier(self, share: int) -> Predictor:
        secret, generator = self.secret, self._generator("classifier")
        first = self._examples(secret.train[::share], generator)
        partly = first.features.shape[1] < secret.reading.places.rows
        draws = self.random or partly

        def draw() -> Examples:
            return self._examples(secret.train[::share], generator) if draws else first

        held = self._examples(secret.held, generator)
        return classifier(draw, held, len(secret.candidates), generator)

    def _generator(self, purpose: str) -> torch.Generator:
        return generator_for(self.seed, purpose)

    def _examples(self, indices: Tensor, generator: torch.Generator) -> Examples:
        """Sequences newly released, with their tokens; of long or wide ones only some rows."""
        reading = self.secret.reading
        rows = reading.places.rows
        most = max(1, int(DRAWN_NUMBERS / (len(indices) * len(self.secret.variance))))
        chosen = None if most >= rows else torch.randperm(rows, generator=generator)[:most].sort().values
        features = self._features(*self._release(self.secret.rows_of(indices), generator), chosen)
        wanted = _in_slots(self.secret.wanted[indices], reading.places.slots)
        return Examples(features, wanted if chosen is None else wanted[:, chosen])

    def _release(self, rows: Sequence[Tensor], generator: torch.Generator) -> tuple[list[Tensor], list[Tensor] | None]:
        """Tensors `[n, *sample_shape]` as they are released, float32, and 1 where nothing was dropped."""
        source = Simulated(generator)
        masks = [
            self.defense.dropout.mask(crossing, len(row), source).expand_as(row)
            if self.defense.dropout is not None and self.defense.drops(crossing)
            else torch.ones_like(row, dtype=torch.bool)
            for crossing, row in zip(self.defense.crossing, rows, strict=True)
        ]
        rows = [torch.where(mask, row, torch.zeros_like(row)) for mask, row in zip(masks, rows, strict=True)]
        released = [row.float() for row in self.undropped.observed(self.undropped.release(rows, generator))]
        return released, [mask.float() for mask in masks] if self.defense.rate else None

    def _features(self, released: list[Tensor], kept: list[Tensor] | None, rows: Tensor | None = None) -> Tensor:
        """What is read of a release: `[n, R, F]`, centred, of about unit variance, about 0 where it was dropped."""
        secret = self.secret
        mean = secret.mean if rows is None else secret.mean[rows]
        scale = (secret.variance + EVENNESS * secret.variance.mean() + self.noise + 1e-12).rsqrt()
        return (secret.reading.of(self._filled(released, kept), rows) - mean) * scale

    def _filled(self, released: list[Tensor], kept: list[Tensor] | None) -> list[Tensor]:
        """With the mean where something was dropped: then it says nothing, in a sum of rows neither."""
        if kept is None:
            return released
        return [
            torch.where(mask > 0, row, middle)
            for row, mask, middle in zip(released, kept, self.secret.middles, strict=True)
        ]

    def _noise_variance(self) -> Tensor:
        """`[F]`: of the noise in each number that is read; 0 without."""
        return torch.zeros(()) if self.defense.record.noise is None else self._floor_variance()

    def _floor_variance(self) -> Tensor:
        """`[F]`: of the noise floor of each number that is read."""
        levels = [
            torch.full((1, *crossing.sample_shape), std**2)
            for crossing, std in zip(self.defense.crossing, self.defense.floor.stds, strict=True)
        ]
        return self.secret.reading.of(levels, variance=True).amax(dim=(0, 1))
