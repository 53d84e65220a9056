"""White-box with a prior: images are sought among those that a generator makes.

*latent*: a generator is trained on auxiliary images, and its latent vector is optimised until the edge half explains
the release (GLASS, NeurIPS 2023). *untrained*: the weights of a small convolutional generator are optimised image by
image; its architecture is the prior (Ulyanov, Vedaldi & Lempitsky, CVPR 2018; LM, NeurIPS 2023). All images of a batch
are optimised at once, with a network each.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import ClassVar, TypeVar

import torch
from torch import Tensor, nn
from torch.func import functional_call, stack_module_state, vmap

from ..records import Threat, hash_json
from .adversary_view import AdversaryView
from .descent import Practice, descend, in_batches
from .generators import LATENT, Autoencoder, Generator
from .interface import Attacker, Effort, Reconstruction, Training
from .release_law import ReleaseLaw, ReleaseLoss
from .releases import ObservedReleases
from .training import mean_over, seeded, train

LATENT_RATE = 0.05
LATENT_PRIOR = 1e-4
"""Weight of the latent's mean square, beside a likelihood of about 1 at the mean image."""

SEED_CHANNELS = 16
UNTRAINED_WIDTH = 24
UNTRAINED_RATE = 0.01

PRACTICE_IMAGES = 8
"""Held-out images that tell how many steps are enough: each costs as much as a target, several times."""

RESTARTS = 3
"""How often a network that died is replaced: one whose image explains the release worse than the mean image does."""

STUCK = 10.0
"""One that misses this many times what the median of its batch does has died, too, unless that is little."""

LITTLE = 0.01
"""Of what the mean image misses."""

CONVERGING_SHARE, QUICK_SHARE = 2, 4
"""The generator's steps are the effort's over this, at standard effort or more and at quick effort."""

FEWEST_STEPS = 200
"""Its least steps, if the effort has as many."""


@dataclass(frozen=True, slots=True)
class LatentPrior:
    """Optimises the latent vector of a generator that was trained on auxiliary images."""

    revision: ClassVar[int] = 7
    iterated: ClassVar[bool] = True
    name: str = "latent"
    threat: Threat = "white-box"
    per_image: bool = True

    def fit(self, view: AdversaryView, effort: Effort, generator: torch.Generator) -> Attacker:
        """Train the generator. Raises AttackFailed if that diverges, or if nothing varies at the cut."""
        law = ReleaseLaw.of(view)
        device, content = view.device.type, view.auxiliary.content_hash
        made, training = view.artifacts.once(
            hash_json(["generator", self.revision, asdict(effort), device, content]),
            lambda draws: _trained_generator(view, effort, draws),
            draws_as=f"generator {device} {content}",  # the same weights at every rung of a race
        )
        return _with_enough_steps(_LatentAttacker(law, made, effort.iterations, training), effort, generator)


def _trained_generator(view: AdversaryView, effort: Effort, generator: torch.Generator) -> tuple[Generator, Training]:
    """A generator of images like the auxiliary ones. It knows neither the cut nor the defense."""
    images, held, device = view.pixels(view.training), view.pixels(view.held_out), view.device
    # Half as wide as a decoder: in the same time it comes closer to the images.
    network = seeded(lambda: Autoencoder(images.mean(dim=0), max(effort.width // 2, 1)), generator).to(device)

    def step_loss(net: nn.Module, positions: Tensor, step: int) -> Tensor:  # noqa: ARG001
        draws = torch.randn(len(positions), LATENT, generator=generator).to(device)
        return _loss(net, images[positions].to(device), draws)

    @torch.no_grad()
    def held_loss(net: nn.Module) -> float:
        def loss(some: slice) -> Tensor:
            images = held[some].to(device)
            return _loss(net, images, torch.zeros(len(images), LATENT, device=device))

        return mean_over(len(held), len(held), loss)

    blank = float((images.mean(dim=0) - held).square().mean())
    # It costs the most of all networks and seldom wins: at quick effort it is given little time.
    share = QUICK_SHARE if effort.name == "quick" else CONVERGING_SHARE
    fewer = replace(effort, train_steps=max(effort.train_steps // share, min(effort.train_steps, FEWEST_STEPS)))
    trained, training = train(network, step_loss, held_loss, len(images), fewer, generator, unit=blank)
    assert isinstance(trained, Autoencoder)
    return trained.generator.requires_grad_(False), training


def _loss(network: nn.Module, images: Tensor, draws: Tensor) -> Tensor:
    assert isinstance(network, Autoencoder)
    return network.loss(images, draws)


@dataclass(frozen=True, eq=False)
class _LatentAttacker:
    law: ReleaseLaw
    generator: Generator
    iterations: int
    training: Training

    def reconstruct(self, released: ObservedReleases, generator: torch.Generator) -> Reconstruction:
        def solve(loss: ReleaseLoss, batch: ObservedReleases) -> Reconstruction:
            start = torch.randn(len(batch), LATENT, generator=generator) * 0.1
            latent = start.to(self.law.view.device).requires_grad_(True)
            loss.require_live_gradient(self.generator(latent))

            def objective() -> Tensor:
                return loss(self.generator(latent)) + LATENT_PRIOR * latent.square().mean(dim=1)

            _, trace = descend([latent], objective, self.iterations, LATENT_RATE)
            with torch.no_grad():
                images = self.generator(latent).cpu()
            return Reconstruction(images, Training(self.iterations, tuple(trace)))

        return in_batches(self.law, released, solve)


@dataclass(frozen=True, slots=True)
class UntrainedPrior:
    """Optimises the weights of an untrained generator, one per image."""

    revision: ClassVar[int] = 5
    iterated: ClassVar[bool] = True
    name: str = "untrained"
    threat: Threat = "white-box"
    per_image: bool = True

    def fit(self, view: AdversaryView, effort: Effort, generator: torch.Generator) -> Attacker:
        """Learn what the likelihood needs. Raises AttackFailed if nothing varies at the cut."""
        law = ReleaseLaw.of(view)
        return _with_enough_steps(_UntrainedAttacker(law, effort.iterations, Training()), effort, generator)


@dataclass(frozen=True, eq=False)
class _UntrainedAttacker:
    law: ReleaseLaw
    iterations: int
    training: Training

    def reconstruct(self, released: ObservedReleases, generator: torch.Generator) -> Reconstruction:
        view = self.law.view
        mean = view.pixels(view.training).mean(dim=0).to(view.device)

        def solve(loss: ReleaseLoss, batch: ObservedReleases) -> Reconstruction:
            with torch.no_grad():
                blank = loss(mean.expand(len(batch), *mean.shape))
            images, losses, trace = self._descended(loss, generator)
            for _ in range(RESTARTS):
                most = (LITTLE * blank).clamp(min=STUCK * float(losses.median()))
                dead = (losses > torch.minimum(most, blank)).nonzero()[:, 0]
                if not len(dead):
                    break
                again, found, _ = self._descended(self.law.against(batch.take(dead.cpu())), generator)
                better = found < losses[dead]
                images[dead[better]], losses[dead[better]] = again[better], found[better]
            return Reconstruction(images.cpu(), Training(self.iterations, tuple(trace)))

        return in_batches(self.law, released, solve)

    def _descended(self, loss: ReleaseLoss, generator: torch.Generator) -> tuple[Tensor, Tensor, list[float]]:
        """Images `[n, *image_shape]` of fresh networks, their losses `[n]`, and how the mean of these fell."""
        view, count = self.law.view, len(loss.released)
        made = [
            seeded(lambda: Generator(SEED_CHANNELS, view.image_shape, UNTRAINED_WIDTH), generator).to(view.device)
            for _ in range(count)
        ]
        parameters, _ = stack_module_state(made)
        leaves = {name: value.detach().clone().requires_grad_(True) for name, value in parameters.items()}
        seeds = torch.randn(count, 1, SEED_CHANNELS, generator=generator).to(view.device)
        base = made[0]

        def one(weights: dict[str, Tensor], seed: Tensor) -> Tensor:
            image: Tensor = functional_call(base, weights, (seed,))
            return image[0]

        def images() -> Tensor:
            found: Tensor = vmap(one)(leaves, seeds)
            return found

        loss.require_live_gradient(images())
        losses, trace = descend(list(leaves.values()), lambda: loss(images()), self.iterations, UNTRAINED_RATE)
        with torch.no_grad():
            return images(), losses, trace


A = TypeVar("A", _LatentAttacker, _UntrainedAttacker)


def _with_enough_steps(attacker: A, effort: Effort, generator: torch.Generator) -> A:
    """The attacker with as many steps as held-out images ask for, converged if its own training is, too."""
    view, fitted = attacker.law.view, attacker.training
    if not effort.until_converged:
        return replace(attacker, training=replace(fitted, converged=False))
    practice = Practice.of(view, torch.arange(min(PRACTICE_IMAGES, len(view.held_out))), generator)
    steps = practice.enough_steps(
        effort,
        lambda count, draws: replace(attacker, iterations=count).reconstruct(practice.released, draws).images,
    )
    training = replace(fitted, converged=fitted.converged and steps.converged)
    return replace(attacker, iterations=steps.count, training=training)
