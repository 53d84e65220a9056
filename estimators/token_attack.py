"""The attackers of one private input of tokens under one defense."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ..defenses.pipeline import Defense
from ..defenses.randomness import Simulated
from ..defenses.seeds import generator_for
from .token_attackers import Examples, Predictor, classifier, ridge
from .token_bag import by_counts, by_pursuit
from .token_inversion import HELD as INVERSION_HELD
from .token_inversion import PENALTIES, Made
from .token_secret import DRAWN_NUMBERS, EVENNESS, Score, TokenSecret, in_slots

DRAWS = 3
"""Releases of each of the attackers' sequences that a regression learns from, if releases differ."""


class TokenAttack:
    """The attackers, and the releases that they are tested on.

    Args:
        secret: what is to be recovered.
        defense: a calibrated `Defense.private`.
        seed: of releases and trainings.
    """

    def __init__(self, secret: TokenSecret, defense: Defense, seed: int) -> None:
        self.secret, self.defense, self.seed = secret, defense, seed
        self.undropped = Defense(defense.record.without("dropout"), defense.crossing)
        self.random = defense.randomizes
        self.noise = torch.zeros(()) if defense.record.noise is None else self._floor_variance()
        self.seen, self.kept = self._release(secret.rows_of(secret.tested), self._generator("tested"))

    def score(self, name: str, share: int = 1) -> Score | None:
        """What the attacker `name` recovers with 1 / `share` of its sequences; None if it does not apply."""
        secret, known = self.secret, self.secret.references
        if name == "bag":
            return secret.score_bags(self._bag(share)) if secret.pooled else None
        if name == "nearest":
            if known is None:
                return None
            return secret.score_places(known.answers(self._filled(self.seen, self.kept), self.kept, self.defense))
        if name == "successive":
            if known is None or not known.mixed or self.kept is not None:
                return None
            return secret.score_places(known.successive(self.seen, self.defense))
        if name == "inversion":
            return None if secret.made is None else secret.score_places(self._inverted(secret.made))
        return secret.score_places(self._answers(name, share))

    def _answers(self, name: str, share: int) -> Tensor:
        """Candidates `[tested, positions]` of a trained attacker."""
        predict = self._ridge(share) if name == "ridge" else self._classifier(share)
        slots = self.secret.reading.places.slots
        answered = predict(self._features(self.seen, self.kept))
        found = torch.full((len(answered), self.secret.length), -1)
        rows, columns = (slots >= 0).nonzero(as_tuple=True)
        found[:, slots[rows, columns]] = answered[:, rows, columns]
        return found[:, self.secret.positions]

    def _inverted(self, made: Made) -> Tensor:
        """Candidates `[tested, positions]` by a regression of all tokens on everything that crosses."""
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
        """Tokens `[tested, L]` in any order."""
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
        """Newly released sequences with their tokens; only some rows of long or wide ones."""
        reading = self.secret.reading
        rows = reading.places.rows
        most = max(1, int(DRAWN_NUMBERS / (len(indices) * len(self.secret.variance))))
        chosen = None if most >= rows else torch.randperm(rows, generator=generator)[:most].sort().values
        features = self._features(*self._release(self.secret.rows_of(indices), generator), chosen)
        wanted = in_slots(self.secret.wanted[indices], reading.places.slots)
        return Examples(features, wanted if chosen is None else wanted[:, chosen])

    def _release(self, rows: Sequence[Tensor], generator: torch.Generator) -> tuple[list[Tensor], list[Tensor] | None]:
        """Tensors `[n, *sample_shape]` as they are released, float32, and masks with 1 for what was not dropped."""
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
        """The release with the mean in place of what was dropped, which is neutral in a sum of rows as well."""
        if kept is None:
            return released
        return [
            torch.where(mask > 0, row, middle)
            for row, mask, middle in zip(released, kept, self.secret.middles, strict=True)
        ]

    def _floor_variance(self) -> Tensor:
        """`[F]`: the variance of the noise floor of each number that is read."""
        levels = [
            torch.full((1, *crossing.sample_shape), std**2)
            for crossing, std in zip(self.defense.crossing, self.defense.floor.stds, strict=True)
        ]
        return self.secret.reading.of(levels, variance=True).amax(dim=(0, 1))
