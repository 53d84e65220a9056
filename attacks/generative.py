"""White-box with a prior: images are sought among those that a generator makes.

*latent*: the generator is trained on the attacker's own images, and its latent vector is optimised until the edge half
explains the release (GLASS, NeurIPS 2023). *untrained*: the weights of a small convolutional generator are optimised
image by image, its architecture being the prior (Ulyanov, Vedaldi & Lempitsky, CVPR 2018; LM, NeurIPS 2023); all images
of a batch at once, a network each.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.func import functional_call, stack_module_state, vmap
from torch.nn.functional import interpolate, mse_loss

from ..records import Threat, hash_json
from .adversary_view import AdversaryView
from .audit_target import ObservedReleases
from .descent import descend, in_batches, settled
from .interface import Attacker, Effort, Reconstruction, Training
from .inverse import Residual
from .linear_paths import silence
from .release_law import ReleaseLaw, ReleaseLoss
from .training import seeded, train

LATENT = 64
EDGE = 0.05
BASE = 4
"""Rows of the smallest grid of a generator."""

DIVERGENCE = 1e-4
"""Weight of the latent's Kullback-Leibler divergence from the standard normal, beside the mean squared error."""

LATENT_RATE = 0.05
LATENT_PRIOR = 1e-4
"""Weight of the latent's mean square, beside a likelihood that counts about 1 at the mean image."""

SEED_CHANNELS = 16
UNTRAINED_WIDTH = 24
UNTRAINED_RATE = 0.01

RESTARTS = 3
"""How often a network begins anew whose image explains the release worse than the mean image does: it has died."""


class Generator(nn.Module):
    """From a latent vector to an image, or to a flat input. With `mean` `[*shape]` given, it starts at that image."""

    def __init__(self, latent: int, shape: Sequence[int], width: int, mean: Tensor | None = None) -> None:
        super().__init__()
        self.shape, self.width = tuple(shape), width
        self.image = len(shape) == 3
        # Far from 0 and 1, where the sigmoid's gradient dies: an all-black start never leaves black.
        base = torch.zeros(self.shape) if mean is None else mean.clamp(EDGE, 1 - EDGE).logit()
        self.base = nn.Parameter(base)
        if not self.image:
            self.body: nn.Module = nn.Sequential(
                nn.Linear(latent, 8 * width), nn.ReLU(), nn.Linear(8 * width, math.prod(shape))
            )
            return
        self.entry = nn.Linear(latent, width * BASE**2)
        doublings = max(0, math.ceil(math.log2(max(shape[1:]) / BASE)))
        stages: list[nn.Module] = []
        for _ in range(doublings):
            stages += [Residual(width), nn.Upsample(scale_factor=2, mode="bilinear", align_corners=False)]
        self.body = nn.Sequential(*stages, nn.ReLU(), nn.Conv2d(width, shape[0], 3, padding=1))
        if mean is not None:
            silence(self.body[-1])

    def forward(self, latent: Tensor) -> Tensor:
        """`[n, latent]` -> `[n, *shape]` in [0, 1]."""
        if not self.image:
            return torch.sigmoid(self.base + self.body(latent).reshape(-1, *self.shape))
        made = self.body(self.entry(latent).reshape(-1, self.width, BASE, BASE))
        if made.shape[2:] != self.shape[1:]:
            made = interpolate(made, size=self.shape[1:], mode="bilinear", align_corners=False)
        return torch.sigmoid(self.base + made)


class Autoencoder(nn.Module):
    """A variational one (Kingma & Welling, ICLR 2014): the encoder is needed for training the generator alone."""

    def __init__(self, mean: Tensor, width: int) -> None:
        super().__init__()
        shape = tuple(mean.shape)
        self.generator = Generator(LATENT, shape, width, mean)
        if len(shape) == 3:
            halvings = max(0, math.ceil(math.log2(max(shape[1:]) / BASE)))
            layers: list[nn.Module] = [nn.Conv2d(shape[0], width, 3, padding=1), nn.ReLU()]
            for _ in range(halvings):
                layers += [nn.Conv2d(width, width, 3, 2, padding=1), nn.ReLU()]
            layers += [nn.AdaptiveAvgPool2d(BASE), nn.Flatten(), nn.Linear(width * BASE**2, 2 * LATENT)]
        else:
            layers = [nn.Flatten(), nn.Linear(math.prod(shape), 8 * width), nn.ReLU()]
            layers += [nn.Linear(8 * width, 2 * LATENT)]
        self.encoder = nn.Sequential(*layers)

    def loss(self, images: Tensor, draws: Tensor) -> Tensor:
        """Of `images` `[n, *shape]` with standard normal `draws` `[n, LATENT]`: a scalar."""
        mean, log_variance = self.encoder(images).chunk(2, dim=1)
        log_variance = log_variance.clamp(-10, 10)
        made = self.generator(mean + draws * (log_variance / 2).exp())
        divergence = (mean.square() + log_variance.exp() - 1 - log_variance).mean() / 2
        total: Tensor = mse_loss(made, images) + DIVERGENCE * divergence
        return total


@dataclass(frozen=True, slots=True)
class LatentPrior:
    """Optimises the latent vector of a generator that was trained on the attacker's images."""

    revision: ClassVar[int] = 1
    name: str = "latent"
    threat: Threat = "white-box"
    per_image: bool = True

    def fit(self, scene: AdversaryView, effort: Effort, generator: torch.Generator) -> Attacker:  # noqa: ARG002
        """Trains the generator. Raises AttackFailed where that diverges, or nothing varies at the cut."""
        law = ReleaseLaw.of(scene)
        made, training = scene.shared.once(
            hash_json(["generator", self.revision, asdict(effort), scene.device.type, scene.own.content_hash]),
            lambda draws: _trained_generator(scene, effort, draws),
            draws_as=f"generator {effort} {scene.device.type} {scene.own.content_hash}",
        )
        return _LatentAttacker(law, made, effort.iterations, training)


def _trained_generator(scene: AdversaryView, effort: Effort, generator: torch.Generator) -> tuple[Generator, Training]:
    """It knows images alone, neither cut nor defense."""
    images, held, device = scene.pixels(scene.training), scene.pixels(scene.held_out), scene.device
    network = seeded(lambda: Autoencoder(images.mean(dim=0), effort.width), generator).to(device)

    def step_loss(net: nn.Module, positions: Tensor, step: int) -> Iterator[Tensor]:  # noqa: ARG001
        draws = torch.randn(len(positions), LATENT, generator=generator).to(device)
        yield _loss(net, images[positions].to(device), draws)

    @torch.no_grad()
    def held_loss(net: nn.Module) -> float:
        return float(_loss(net, held.to(device), torch.zeros(len(held), LATENT, device=device)))

    trained, training = train(network, step_loss, held_loss, len(images), effort, generator)
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
            latent = start.to(self.law.scene.device).requires_grad_(True)
            loss.require_live_gradient(self.generator(latent))

            def objective() -> Tensor:
                return loss(self.generator(latent)) + LATENT_PRIOR * latent.square().mean(dim=1)

            _, trace = descend([latent], objective, self.iterations, LATENT_RATE)
            with torch.no_grad():
                images = self.generator(latent).cpu()
            return Reconstruction(images, Training(self.iterations, tuple(trace), settled(trace)))

        return in_batches(self.law, released, solve)


@dataclass(frozen=True, slots=True)
class UntrainedPrior:
    """Optimises the weights of an untrained generator, one per image."""

    revision: ClassVar[int] = 1
    name: str = "untrained"
    threat: Threat = "white-box"
    per_image: bool = True

    def fit(self, scene: AdversaryView, effort: Effort, generator: torch.Generator) -> Attacker:  # noqa: ARG002
        """Learns what the likelihood needs. Raises AttackFailed where nothing varies at the cut."""
        return _UntrainedAttacker(ReleaseLaw.of(scene), effort.iterations, Training())


@dataclass(frozen=True, eq=False)
class _UntrainedAttacker:
    law: ReleaseLaw
    iterations: int
    training: Training

    def reconstruct(self, released: ObservedReleases, generator: torch.Generator) -> Reconstruction:
        scene = self.law.scene
        mean = scene.pixels(scene.training).mean(dim=0).to(scene.device)

        def solve(loss: ReleaseLoss, batch: ObservedReleases) -> Reconstruction:
            with torch.no_grad():
                blank = loss(mean.expand(len(batch), *mean.shape))
            images, losses, trace = self._descended(loss, generator)
            for _ in range(RESTARTS):
                dead = (losses > blank).nonzero()[:, 0]
                if not len(dead):
                    break
                again, found, _ = self._descended(self.law.against(batch.take(dead.cpu())), generator)
                better = found < losses[dead]
                images[dead[better]], losses[dead[better]] = again[better], found[better]
            return Reconstruction(images.cpu(), Training(self.iterations, tuple(trace), settled(trace)))

        return in_batches(self.law, released, solve)

    def _descended(self, loss: ReleaseLoss, generator: torch.Generator) -> tuple[Tensor, Tensor, list[float]]:
        """Images `[n, *image_shape]` of fresh networks, their losses `[n]`, and how the mean of these fell."""
        scene, count = self.law.scene, len(loss.released)
        made = [
            seeded(lambda: Generator(SEED_CHANNELS, scene.image_shape, UNTRAINED_WIDTH), generator).to(scene.device)
            for _ in range(count)
        ]
        parameters, _ = stack_module_state(made)
        leaves = {name: value.detach().clone().requires_grad_(True) for name, value in parameters.items()}
        seeds = torch.randn(count, 1, SEED_CHANNELS, generator=generator).to(scene.device)
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
