"""Trains a decoder on releases and the images behind them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn
from torch.nn.functional import mse_loss

from ..graph.batch_size import BatchSize
from .decoders import Decoder, DecoderInput, VectorDecoder
from .interface import Effort, Reconstruction, Training
from .linear_paths import start_paths
from .releases import ObservedReleases
from .training import BATCH, train

LEARNING_RATE = 1e-3
"""At twice this rate, some decoders of late cuts do not leave their linear start for hundreds of steps."""

GENTLE = 0.01
"""Linear paths start at their optimum, and learn at this share of the learning rate."""

Pairs = Callable[[Tensor, torch.Generator], tuple[ObservedReleases, Tensor]]
"""From positions `[b]` to releases and the images behind them, `[b, *image_shape]` on the CPU."""


@dataclass(frozen=True, eq=False)
class TrainedDecoder:
    """A fitted decoder: an `Attacker`."""

    decoder: nn.Module
    prepare: DecoderInput
    training: Training

    @torch.no_grad()
    def reconstruct(self, released: ObservedReleases, generator: torch.Generator) -> Reconstruction:  # noqa: ARG002
        """Images clamped to [0, 1]."""
        return Reconstruction(torch.cat(list(decoded(self.decoder, self.prepare, released))))


def train_decoder(
    decoder: Decoder,
    prepare: DecoderInput,
    pairs: Pairs,
    count: int,
    held: tuple[ObservedReleases, Tensor],
    effort: Effort,
    generator: torch.Generator,
) -> TrainedDecoder:
    """Minimise the mean squared error of `decoder`.

    Args:
        decoder: changed in place.
        prepare: turns releases into what it reads.
        pairs: gives releases and images for positions below `count`.
        count: training images.
        held: releases and images `[n, *image_shape]` for early stopping, which nothing is trained on.
        effort: the most steps, and whether to stop early.
        generator: of every draw; on the CPU.

    Raises:
        AttackFailed: the loss is not finite.
    """
    device = prepare.device
    start_at_least_squares(decoder.to(device), prepare, pairs, count, held, generator)

    def step_loss(network: nn.Module, positions: Tensor, step: int) -> Tensor:  # noqa: ARG001
        released, images = pairs(positions, generator)
        return mse_loss(network(prepare(released)), images.to(device))

    gentle = set(decoder.direct.parameters())
    blank = float((decoder.mean.detach().cpu() - held[1]).square().mean())
    trained, training = train(
        decoder, step_loss, lambda network: held_loss(network, prepare, held), count, effort, generator,
        rate=lambda parameter: LEARNING_RATE * (GENTLE if parameter in gentle else 1), unit=blank,
    )  # fmt: skip
    return TrainedDecoder(trained, prepare, training)


@torch.no_grad()
def start_at_least_squares(
    decoder: Decoder, prepare: DecoderInput, pairs: Pairs, count: int,
    held: tuple[ObservedReleases, Tensor], generator: torch.Generator,
) -> None:  # fmt: skip
    """Set the decoder's linear paths, so that training continues from the best linear reconstruction."""
    flat, here = isinstance(decoder, VectorDecoder), replace(prepare, device=torch.device("cpu"))

    def read(released: ObservedReleases) -> list[Tensor]:
        inputs = here(released)
        return [torch.cat([rows.flatten(1) for rows in inputs], dim=1)] if flat else inputs

    def draw(wanted: int) -> tuple[list[Tensor], Tensor]:
        released, images = pairs(torch.arange(min(wanted, count)), generator)
        return read(released), images

    def draw_held(wanted: int) -> tuple[list[Tensor], Tensor]:
        few = torch.arange(min(wanted, len(held[1])))
        return read(held[0].take(few)), held[1][few]

    paths = [decoder.direct] if isinstance(decoder, VectorDecoder) else list(decoder.direct)
    start_paths(paths, decoder.mean.detach().cpu(), draw, draw_held)


@torch.no_grad()
def held_loss(decoder: nn.Module, prepare: DecoderInput, held: tuple[ObservedReleases, Tensor]) -> float:
    """Mean squared error, per number, of clamped reconstructions on `held`."""
    released, images = held
    total, start = 0.0, 0
    for made in decoded(decoder, prepare, released):
        total += float((made - images[start : start + len(made)]).square().sum())
        start += len(made)
    return total / images.numel()


def decoded(decoder: nn.Module, prepare: DecoderInput, released: ObservedReleases) -> Iterator[Tensor]:
    """Images of successive releases, clamped to [0, 1], on the CPU."""

    @torch.no_grad()
    def run(some: slice) -> Tensor:
        made: Tensor = decoder(prepare(released.take(torch.arange(some.start, some.stop))))
        return made.clamp(0, 1).cpu()

    return BatchSize(4 * BATCH).over(len(released), run)
