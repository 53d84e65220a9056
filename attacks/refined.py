"""White-box: the best black-box reconstruction, refined until it explains the release.

    minimise |f(x) - t|^2 + weight (x - x_0)' S^-1 (x - x_0)    over x, by Adam

x_0 is the reconstruction by the black-box attack that does best on held-out images, S the covariance of what it misses
there. A likelihood alone needs a prior, and total variation is a poor one: x_0 has learned what images look like, and S
says in which directions it is wrong. The likelihood is that of the actual defense (see `release_law.py`). The weight is
chosen on held-out images that S was not fitted on; where no weight improves on x_0 there, x_0 is the answer.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import ClassVar

import torch
from torch import Tensor

from ..records import Threat
from .adversary_view import AdversaryView
from .descent import PRACTICE_SEED, Practice, descend, in_batches
from .interface import Attack, Attacker, Effort, Reconstruction, Training
from .inverse import InverseNetwork
from .release_law import ReleaseLaw, ReleaseLoss
from .releases import ObservedReleases
from .residuals import ResidualLaw
from .ridge import KernelRidge, LinearRidge
from .shared_fits import fitted_once
from .threat import AttackFailed

STARTS: tuple[type[Attack], ...] = (LinearRidge, KernelRidge, InverseNetwork)
"""Attacks whose reconstructions are refined, the best one at each cut."""

WEIGHTS = (1.0, 0.1, 1e-2, 1e-3, 1e-4, 1e-5)
"""Of the prior, per pixel, beside a likelihood whose mean is 1 at the mean image."""

RATE = 0.1
"""Adam's, in standard deviations of what x_0 misses."""

TUNING_IMAGES = 16
TUNING_SHARE = 2
"""The weight is chosen with 1 / TUNING_SHARE of the iterations."""


@dataclass(frozen=True, slots=True)
class Refined:
    """The attack. Its revision rises with those of its starts.

    Attributes:
        weights: of the prior, to choose from.
    """

    revision: ClassVar[int] = 1 + sum(start().revision for start in STARTS)
    iterated: ClassVar[bool] = True
    weights: tuple[float, ...] = WEIGHTS
    name: str = "refined"
    threat: Threat = "white-box"
    per_image: bool = True

    def fit(self, view: AdversaryView, effort: Effort, generator: torch.Generator) -> Attacker:
        """Fit the starts, or take them from the cache, and choose start and weight on held-out images.

        Raises:
            AttackFailed: no live gradient, or no start that can be fitted.
        """
        law = ReleaseLaw.of(view)
        held = Practice.of(view, torch.arange(len(view.held_out)), generator)
        start, found = _best_start(view, effort, held)
        residuals, count = held.truth - found, max(1, min(TUNING_IMAGES, len(found) // 2))
        missed = ResidualLaw.of(residuals[count:] if len(found) > 1 else residuals, residuals[:count])
        practice, unrefined = held.first(count), _Refiner(law, start, missed, 0.0, 0)

        def images(weight: float, steps: int, draws: torch.Generator) -> Tensor:
            tried = replace(unrefined, weight=weight, iterations=steps)
            return tried.reconstruct(practice.released, draws).images

        def index(weight: float, steps: int) -> float:
            try:
                return practice.index(images(weight, steps, generator))
            except AttackFailed:  # it diverged
                return -math.inf

        best = max(self.weights, key=lambda weight: index(weight, max(1, effort.iterations // TUNING_SHARE)))
        steps = practice.enough_steps(effort, lambda count, draws: images(best, count, draws))
        if index(best, steps.count) <= practice.index(found[:count]):
            return replace(unrefined, training=start.training)
        training = replace(start.training, converged=start.training.converged and steps.converged)
        return replace(unrefined, weight=best, iterations=steps.count, training=training)


def _best_start(view: AdversaryView, effort: Effort, held: Practice) -> tuple[Attacker, Tensor]:
    """The start with the least error on held-out images, and its reconstructions of them.

    Raises:
        AttackFailed: none can be fitted; the reason is that of the last.
    """
    best: tuple[float, Attacker, Tensor] | None = None
    reason = AttackFailed("there is nothing to refine")
    for make in STARTS:
        try:
            attacker = fitted_once(make(), view, effort)
        except AttackFailed as error:
            reason = error
            continue
        found = attacker.reconstruct(held.released, torch.Generator().manual_seed(PRACTICE_SEED)).images
        missed = float((found - held.truth).square().mean())
        if best is None or missed < best[0]:
            best = missed, attacker, found
    if best is None:
        raise reason
    return best[1], best[2]


@dataclass(frozen=True, eq=False)
class _Refiner:
    """Refines what `start` reconstructs; with 0 iterations it answers with that."""

    law: ReleaseLaw
    start: Attacker
    missed: ResidualLaw
    weight: float
    iterations: int
    training: Training = field(default_factory=Training)

    def reconstruct(self, released: ObservedReleases, generator: torch.Generator) -> Reconstruction:
        if not self.iterations:
            return self.start.reconstruct(released, generator)
        missed = self.missed.to(self.law.view.device)

        def solve(loss: ReleaseLoss, batch: ObservedReleases) -> Reconstruction:
            begun = self.start.reconstruct(batch, generator).images.to(missed.deviations)
            loss.require_live_gradient(begun)
            numbers = torch.zeros(len(batch), missed.size).to(missed.deviations).requires_grad_(True)

            def images() -> Tensor:
                return (begun + missed.residual(numbers).reshape(begun.shape)).clamp(0, 1)

            def objective() -> Tensor:
                return loss(images()) + self.weight * numbers.square().sum(dim=1) / begun[0].numel()

            _, trace = descend([numbers], objective, self.iterations, RATE)
            with torch.no_grad():
                return Reconstruction(images().cpu(), Training(self.iterations, tuple(trace)))

        return in_batches(self.law, released, solve)
