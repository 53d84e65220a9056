"""Black-box: a residual network that maps releases back to inputs, trained on queried pairs under the defense.

He, Zhang & Lee (ACSAC 2019), section 4.2, with three changes: the architecture follows from the shapes at the cut, it
has residual blocks and a direct linear path, and it is trained on releases as they leave, with fresh masks and noise
at every step, knowing what was dropped. A part of the queries is moved away from their reconstructions and asked anew
(where the inverse does worst): that takes no gradient through the device.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate, mse_loss, pixel_unshuffle

from ..records import Threat
from ..targets.data import Data
from .adversary_view import AdversaryView, RowBank
from .audit_target import ObservedReleases
from .features import Standard
from .interface import Attacker, Effort, Reconstruction, Training
from .linear_paths import Free, linear_path, resized, silence, start_paths
from .training import BATCH, LEARNING_RATE, seeded, train

BLOCKS = 2
LARGEST_GRID = 16
"""Residual blocks work on grids of at most so many rows: larger ones are folded into channels."""

SMALLEST_GRID = 4

MOVED = 8
"""One in so many queries of a batch is moved to where the inverse does worst..."""

MOVED_FROM = 8
"""...once it has made one in so many of its steps."""

MOVE = 8 / 255

GENTLE = 0.01
"""Linear paths begin at a good place, and move at this share of the learning rate."""


class Residual(nn.Module):
    """Two 3x3 convolutions beside a skip connection."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(width, width, 3, padding=1), nn.Conv2d(width, width, 3, padding=1)
        nn.init.zeros_(self.second.weight)

    def forward(self, x: Tensor) -> Tensor:
        """The same shape."""
        h: Tensor = self.second(torch.relu(self.first(torch.relu(x))))
        return x + h


class ImageDecoder(nn.Module):
    """From crossings (each beside a plane that says what was seen) to an image; starts at the mean image."""

    def __init__(self, row_shapes: Sequence[tuple[int, ...]], mean: Tensor, width: int, marked: bool) -> None:
        super().__init__()
        channels, height, rows = mean.shape[0], mean.shape[1], mean.shape[2]
        self.size = (height, rows)
        self.shapes = [_grid_shape(shape) for shape in row_shapes]
        self.grid = self._grid()
        self.fold = [self._fold(shape) for shape in self.shapes]
        copies = 2 if marked else 1
        self.entries = nn.ModuleList(
            nn.Conv2d(copies * shape[0] * fold * fold, width, 3, padding=1)
            if len(shape) == 3
            else nn.Linear(copies * shape[0], width * self.grid**2)
            for shape, fold in zip(self.shapes, self.fold, strict=True)
        )
        self.direct = nn.ModuleList(
            linear_path(shape, copies, tuple(mean.shape)) or nn.Identity() for shape in self.shapes
        )
        doublings = max(0, round(math.log2(max(height, rows) / self.grid)))
        stages: list[nn.Module] = [Residual(width) for _ in range(BLOCKS)]
        for _ in range(doublings):
            narrower = max(width // 2, 16)
            stages += [nn.Conv2d(width, 4 * narrower, 3, padding=1), nn.PixelShuffle(2)]
            if narrower >= 32:
                stages.append(Residual(narrower))
            width = narrower
        self.stages = nn.Sequential(*stages)
        self.exit = nn.Conv2d(width, channels, 3, padding=1)
        silence(self.exit)
        self.mean = nn.Parameter(mean.clone())

    def _grid(self) -> int:
        """Side of the grid that residual blocks work on: the largest crossing's, halved until it is small enough."""
        height = self.size[0]
        largest = max(LARGEST_GRID, height // 8)
        side = max((min(shape[1], height) for shape in self.shapes if len(shape) == 3), default=0)
        while side > largest and side % 2 == 0:
            side //= 2
        return max(min(side, largest), SMALLEST_GRID)

    def _fold(self, shape: tuple[int, ...]) -> int:
        if len(shape) != 3:
            return 1
        fold = 1
        while min(shape[1:]) // (2 * fold) >= self.grid and not any(side % (2 * fold) for side in shape[1:]):
            fold *= 2
        return fold

    def forward(self, rows: Sequence[Tensor]) -> Tensor:
        """Standardised rows, with their marks side by side where there are any -> `[n, C, H, W]`."""
        total: Tensor | None = None
        image = self.mean.expand(len(rows[0]), *self.mean.shape)
        for row, shape, fold, entry, direct in zip(
            rows, self.shapes, self.fold, self.entries, self.direct, strict=True
        ):
            if len(shape) == 3:
                found = torch.relu(entry(pixel_unshuffle(row, fold)))
                if found.shape[2:] != (self.grid, self.grid):
                    found = interpolate(found, size=(self.grid, self.grid), mode="bilinear", align_corners=False)
            else:
                found = entry(row.flatten(1)).reshape(len(row), -1, self.grid, self.grid)
            if not isinstance(direct, nn.Identity):
                image = image + direct(row)
            total = found if total is None else total + found
        detail: Tensor = self.stages(total)
        made: Tensor = image + self.exit(torch.relu(resized(detail, self.size)))
        return made


class VectorDecoder(nn.Module):
    """The same for inputs that are no images: a residual multilayer perceptron."""

    def __init__(self, row_shapes: Sequence[tuple[int, ...]], mean: Tensor, width: int, marked: bool) -> None:
        super().__init__()
        features = sum(math.prod(shape) for shape in row_shapes) * (2 if marked else 1)
        self.shape = tuple(mean.shape)
        self.direct = Free(features, self.shape)
        self.hidden = nn.Sequential(
            nn.Linear(features, 8 * width), nn.ReLU(), nn.Linear(8 * width, 8 * width), nn.ReLU(),
            nn.Linear(8 * width, mean.numel()),
        )  # fmt: skip
        silence(self.hidden[-1])
        self.mean = nn.Parameter(mean.clone())

    def forward(self, rows: Sequence[Tensor]) -> Tensor:
        """Standardised rows -> `[n, *shape]`."""
        flat = torch.cat([row.flatten(1) for row in rows], dim=1)
        made: Tensor = self.mean + self.direct(flat) + self.hidden(flat).reshape(-1, *self.shape)
        return made


def decoder_for(
    row_shapes: Sequence[tuple[int, ...]], mean: Tensor, generator: torch.Generator, *, marked: bool, width: int
) -> ImageDecoder | VectorDecoder:
    """A decoder from rows of `row_shapes` to images of the shape of `mean`, weights drawn from `generator`.

    Args:
        marked: each row comes beside a plane of equal shape that says what was seen (see `DecoderInput`).
    """
    kind = ImageDecoder if _is_image(mean.shape) else VectorDecoder
    return seeded(lambda: kind(row_shapes, mean, width, marked), generator)


def _is_image(shape: Sequence[int]) -> bool:
    return len(shape) == 3 and min(shape[1:]) >= SMALLEST_GRID


def shapes_read(scene: AdversaryView) -> list[tuple[int, ...]]:
    """The crossings' shapes for `DecoderInput`: flat where inputs are no images, where no tokens fill a square."""
    return [shape if _is_image(scene.image_shape) else (math.prod(shape),) for shape in scene.row_shapes]


@dataclass(frozen=True, eq=False)
class DecoderInput:
    """Turns releases into what a decoder reads."""

    standard: Standard
    shapes: Sequence[tuple[int, ...]]
    marked: bool
    device: torch.device

    def __call__(self, released: ObservedReleases) -> list[Tensor]:
        """Per crossing standardised rows, as grids where they are grids, with the marks as further channels."""
        made = []
        for values, seen, shape in zip(self.standard(released, self.device), released.seen, self.shapes, strict=True):
            rows = _as_grid(values, shape)
            if self.marked:
                marks = torch.ones_like(rows) if seen is None else _as_grid(seen.to(self.device, rows.dtype), shape)
                rows = torch.cat([rows, marks], dim=1)
            made.append(rows)
        return made


def _grid_shape(shape: tuple[int, ...]) -> tuple[int, ...]:
    """`[C, H, W]` stays; tokens `[T, E]` (with or without a class token) that fill a square become `[E, s, s]`."""
    if len(shape) == 3:
        return shape
    if len(shape) == 2:
        side = math.isqrt(shape[0])
        if side >= 2 and shape[0] - side * side in (0, 1):
            return (shape[1], side, side)
    return (math.prod(shape),)


def _as_grid(rows: Tensor, shape: tuple[int, ...]) -> Tensor:
    wanted = _grid_shape(shape)
    if len(shape) == 3 or len(wanted) == 1:
        return rows if len(shape) == 3 else rows.flatten(1)
    patches = rows[:, shape[0] - wanted[1] * wanted[2] :]
    return patches.transpose(1, 2).reshape(len(rows), *wanted)


Pairs = Callable[[Tensor, torch.Generator], tuple[ObservedReleases, Tensor]]
"""From positions `[b]` to releases and the images behind them, `[b, *image_shape]` on the CPU."""

Move = Callable[[Tensor, Tensor, torch.Generator], tuple[ObservedReleases, Tensor]]
"""From positions `[m]` and reconstructions of their images to releases of moved images, and these."""


@dataclass(frozen=True, eq=False)
class TrainedDecoder:
    """A fitted decoder."""

    decoder: nn.Module
    prepare: DecoderInput
    training: Training

    @torch.no_grad()
    def reconstruct(self, released: ObservedReleases, generator: torch.Generator) -> Reconstruction:  # noqa: ARG002
        """Images clamped to [0, 1]."""
        parts = [
            self.decoder(self.prepare(released.take(chunk))).clamp(0, 1).cpu()
            for chunk in torch.split(torch.arange(len(released)), 4 * BATCH)
        ]
        return Reconstruction(torch.cat(parts))


def train_decoder(
    decoder: ImageDecoder | VectorDecoder,
    prepare: DecoderInput,
    pairs: Pairs,
    count: int,
    held: tuple[ObservedReleases, Tensor],
    effort: Effort,
    generator: torch.Generator,
    *,
    move: Move | None = None,
) -> TrainedDecoder:
    """Minimise the mean squared error of `decoder` on pairs.

    Args:
        pairs: gives releases and images for positions below `count`.
        held: releases and images that it is stopped and judged by.
        move: asks about images that are moved away from their reconstructions.

    Raises:
        AttackFailed: the loss is not finite.
    """
    device = prepare.device
    start_at_least_squares(decoder.to(device), prepare, pairs, count, held, generator)

    def step_loss(network: nn.Module, positions: Tensor, step: int) -> Iterator[Tensor]:
        released, images = pairs(positions, generator)
        yield mse_loss(network(prepare(released)), images.to(device))
        if move is not None and step >= effort.train_steps // MOVED_FROM:
            few = torch.arange(len(positions) // MOVED)
            with torch.no_grad():
                guessed = network(prepare(released.take(few))).clamp(0, 1).cpu()
            moved, wanted = move(positions[few], guessed, generator)
            yield mse_loss(network(prepare(moved)), wanted.to(device))

    gentle = set(decoder.direct.parameters())
    average, training = train(
        decoder, step_loss, lambda network: held_loss(network, prepare, held), count, effort, generator,
        rate=lambda parameter: LEARNING_RATE * (GENTLE if parameter in gentle else 1),
    )  # fmt: skip
    return TrainedDecoder(average, prepare, training)


@torch.no_grad()
def start_at_least_squares(
    decoder: ImageDecoder | VectorDecoder, prepare: DecoderInput, pairs: Pairs, count: int,
    held: tuple[ObservedReleases, Tensor], generator: torch.Generator,
) -> None:  # fmt: skip
    """Set the decoder's linear paths, so that training goes on from the best linear reconstruction."""
    flat = isinstance(decoder, VectorDecoder)

    def read(released: ObservedReleases) -> list[Tensor]:
        inputs = [rows.cpu() for rows in prepare(released)]
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
    """Mean squared error of clamped reconstructions on `held`."""
    released, images = held
    total = 0.0
    for chunk in torch.split(torch.arange(len(images)), 4 * BATCH):
        made = decoder(prepare(released.take(chunk))).clamp(0, 1).cpu()
        total += float((made - images[chunk]).square().sum())
    return total / images.numel()


@dataclass(frozen=True, slots=True)
class InverseNetwork:
    """The attack."""

    revision: ClassVar[int] = 1
    name: str = "inverse"
    threat: Threat = "black-box"
    per_image: bool = False

    def fit(self, scene: AdversaryView, effort: Effort, generator: torch.Generator) -> Attacker:
        """Trains on releases of the attacker's own images. Raises AttackFailed where it diverges."""
        data = scene.training
        images = scene.pixels(data)
        bank = RowBank(lambda positions: scene.ask(data.take(positions)), len(data))
        held = scene.query(scene.held_out, generator), scene.pixels(scene.held_out)
        defense = scene.believed.tail
        marked = any(defense.drops(crossing) and not defense.noises(crossing) for crossing in defense.crossing)
        prepare = DecoderInput(Standard.of(scene.typical(bank.some)), shapes_read(scene), marked, scene.device)

        def pairs(positions: Tensor, draws: torch.Generator) -> tuple[ObservedReleases, Tensor]:
            return scene.release(bank.at(positions), data.take(positions), draws), images[positions]

        def move(positions: Tensor, guessed: Tensor, draws: torch.Generator) -> tuple[ObservedReleases, Tensor]:
            away = (images[positions] + MOVE * (images[positions] - guessed).sign()).clamp(0, 1)
            moved: Data = scene.victim.with_pixels(data.take(positions), away)
            return scene.query(moved, draws), away

        decoder = decoder_for(scene.row_shapes, images.mean(dim=0), generator, marked=marked, width=effort.width)
        return train_decoder(decoder, prepare, pairs, len(data), held, effort, generator, move=move)
