"""White-box: regularised maximum likelihood, batched. He, Zhang & Lee (ACSAC 2019), section 4.1:

    minimise |f(x) - t|^2 + lambda_TV TV(x) + lambda_2 |x - mean|^2    over x, by Adam

made adaptive: the likelihood is that of the actual defense (see `release_law.py`). The weights of the priors are chosen
on auxiliary images. Of several starts the one with the least objective is kept, image by image.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import ClassVar

import torch
from torch import Tensor

from ..records import Threat
from .adversary_view import AdversaryView
from .descent import Practice, descend, in_batches
from .interface import Attacker, Effort, Reconstruction, Training
from .release_law import ReleaseLaw, ReleaseLoss
from .releases import ObservedReleases

PRIORS = ((0.0, 0.0), (1e-3, 0.0), (1e-2, 0.0), (1e-2, 1e-2), (1e-1, 0.0), (1e-1, 1e-1), (1.0, 1.0))
"""(TV, L2) weights beside a likelihood whose mean is 1 at the mean image."""

LEARNING_RATE = 0.05
STARTS = 2
TUNING_IMAGES = 16
TUNING_SHARE = 3
"""The weights of the priors are tuned with 1 / TUNING_SHARE of the iterations."""

START_NOISE = 0.2


@dataclass(frozen=True, slots=True)
class MaximumLikelihood:
    """The attack.

    Attributes:
        priors: (TV, L2) weights to choose from.
        starts: per image.
    """

    revision: ClassVar[int] = 3
    iterated: ClassVar[bool] = True
    priors: tuple[tuple[float, float], ...] = PRIORS
    starts: int = STARTS
    name: str = "likelihood"
    threat: Threat = "white-box"
    per_image: bool = True

    def fit(self, view: AdversaryView, effort: Effort, generator: torch.Generator) -> Attacker:
        """Choose the priors' weights on held-out auxiliary images. Raises AttackFailed without a live gradient."""
        law = ReleaseLaw.of(view)
        practice = Practice.of(view, torch.arange(min(TUNING_IMAGES, len(view.held_out))), generator)

        def solver(prior: tuple[float, float], steps: int, starts: int = 1) -> _Optimiser:
            return _Optimiser(law, practice.mean, steps, starts, prior)

        def error(prior: tuple[float, float]) -> float:
            tried = solver(prior, max(effort.iterations // TUNING_SHARE, 50))
            return float((tried.reconstruct(practice.released, generator).images - practice.truth).square().mean())

        best = min(self.priors, key=error)
        steps = practice.enough_steps(
            effort, lambda count, draws: solver(best, count).reconstruct(practice.released, draws).images
        )
        return replace(solver(best, steps.count, self.starts), training=Training(steps.count, (), steps.converged))


@dataclass(frozen=True, eq=False)
class _Optimiser:
    law: ReleaseLaw
    mean: Tensor
    iterations: int
    starts: int
    prior: tuple[float, float]
    training: Training = field(default_factory=Training)

    def reconstruct(self, released: ObservedReleases, generator: torch.Generator) -> Reconstruction:
        return in_batches(self.law, released, lambda loss, batch: self._solve(loss, len(batch), generator))

    def _solve(self, loss: ReleaseLoss, count: int, generator: torch.Generator) -> Reconstruction:
        """Of several starts, image by image, the one with the least objective."""
        device = self.law.view.device
        mean = self.mean.to(device)
        best = mean.expand(count, *mean.shape)
        least = torch.full((count,), float("inf"), device=device)
        traces = []
        for start in range(self.starts):
            images = self.mean.expand(count, *self.mean.shape).clone()
            if start:
                images += torch.randn(images.shape, generator=generator) * START_NOISE
            images = images.clamp(0, 1).to(device)
            if not start:
                loss.require_live_gradient(images)
            objective, trace = self._descend(images.requires_grad_(True), loss, mean)
            best = torch.where(_like(objective < least, images), images.detach(), best)
            least = torch.minimum(least, objective)
            traces.append(trace)
        losses = torch.tensor(traces).min(dim=0).values.tolist()
        return Reconstruction(best.cpu(), Training(self.iterations, tuple(losses)))

    def _descend(self, images: Tensor, loss: ReleaseLoss, mean: Tensor) -> tuple[Tensor, list[float]]:
        def objective() -> Tensor:
            return loss(images) + self._penalty(images, mean)

        def project() -> None:
            images.clamp_(0, 1)

        return descend([images], objective, self.iterations, LEARNING_RATE, project=project)

    def _penalty(self, images: Tensor, mean: Tensor) -> Tensor:
        variation, size = self.prior
        total = size * (images - mean).square().flatten(1).mean(dim=1)
        return total + variation * total_variation(images) if variation else total


def total_variation(images: Tensor) -> Tensor:
    """Mean squared difference of neighbouring pixels, `[n, C, H, W]` -> `[n]`; 0 for inputs that are no images."""
    if images.ndim != 4:
        return images.new_zeros(len(images))
    down = (images[:, :, 1:] - images[:, :, :-1]).square().flatten(1).sum(dim=1)
    right = (images[:, :, :, 1:] - images[:, :, :, :-1]).square().flatten(1).sum(dim=1)
    return (down + right) / images[0].numel()


def _like(chosen: Tensor, images: Tensor) -> Tensor:
    """`[n]` brought to the dimensions of `images`."""
    return chosen.reshape(-1, *[1] * (images.ndim - 1))
