"""An attacker without any linear path: a small convolutional decoder, trained for a fixed short schedule.

The product's own decoder starts at the best linear reconstruction, and so do `ridge` and, nearly, `kernel`; the leakage
index is a ridge regression as well. This one shares nothing with it: every number passes a rectifier. It is weaker than
what an attacker with time would train, and is there to be different.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar

import torch
from collabplan.attacks import AdversaryView, Attacker, Effort, ObservedReleases, Reconstruction, Training
from collabplan.attacks.decoders import DecoderInput, grid_shape
from collabplan.records import Threat
from torch import Tensor, nn
from torch.nn.functional import interpolate, mse_loss

BATCH, GREATEST_RATE, WIDTH = 64, 4e-3, 32
SMALLEST_GRID, LARGEST_GRID = 7, 16


class PlainDecoder(nn.Module):
    """From crossings to an image in [0, 1].

    Args:
        shapes: of one sample of each crossing: `[C, H, W]`, or flat.
        copies: 2 if each number comes with a mark, else 1.
        image_shape: `[C, H, W]` of one image.
    """

    def __init__(self, shapes: Sequence[tuple[int, ...]], copies: int, image_shape: tuple[int, ...]) -> None:
        super().__init__()
        self.size = image_shape[1:]
        sides = [shape[1] // self.stride(shape) for shape in shapes if len(shape) == 3]
        self.grid = min(max([SMALLEST_GRID, *sides]), LARGEST_GRID)
        self.entries = nn.ModuleList(self.entry(shape, copies) for shape in shapes)
        factor = math.ceil(self.size[0] / self.grid)
        self.body = nn.Sequential(
            nn.BatchNorm2d(WIDTH), nn.ReLU(),
            nn.Conv2d(WIDTH, WIDTH, 3, padding=1), nn.BatchNorm2d(WIDTH), nn.ReLU(),
            nn.Conv2d(WIDTH, WIDTH, 3, padding=1), nn.BatchNorm2d(WIDTH), nn.ReLU(),
            nn.Conv2d(WIDTH, image_shape[0] * factor**2, 3, padding=1), nn.PixelShuffle(factor),
        )  # fmt: skip

    def stride(self, shape: tuple[int, ...]) -> int:
        """By which the entry of a crossing strides: grids that are too large are halved."""
        return 2 if shape[1] > LARGEST_GRID else 1

    def entry(self, shape: tuple[int, ...], copies: int) -> nn.Module:
        """Brings one crossing to `[WIDTH, h, w]`."""
        if len(shape) == 3:
            return nn.Conv2d(copies * shape[0], WIDTH, 3, self.stride(shape), padding=1)
        grid = (WIDTH, self.grid, self.grid)
        return nn.Sequential(nn.Flatten(), nn.Linear(copies * math.prod(shape), math.prod(grid)), nn.Unflatten(1, grid))

    def forward(self, rows: Sequence[Tensor]) -> Tensor:
        """What `DecoderInput` gives -> `[n, C, H, W]`."""
        entered = []
        for row, entry in zip(rows, self.entries, strict=True):
            made = entry(row)
            if made.shape[2] != self.grid:
                made = interpolate(made, size=(self.grid, self.grid), mode="bilinear", align_corners=False)
            entered.append(made)
        image: Tensor = self.body(torch.stack(entered).sum(dim=0))
        if image.shape[2:] != self.size:
            image = interpolate(image, size=self.size, mode="bilinear", align_corners=False)
        return image.sigmoid()


@dataclass(frozen=True, slots=True)
class PlainAttack:
    """Trains a `PlainDecoder` on queried pairs, with fresh masks and noise at every step."""

    revision: ClassVar[int] = 1
    name: str = "plain"
    threat: Threat = "black-box"
    per_image: bool = False

    def fit(self, view: AdversaryView, effort: Effort, generator: torch.Generator) -> Attacker:
        """Adam with a one-cycle rate for `effort.train_steps` steps, on squared error."""
        bank, images = view.bank(view.training), view.pixels(view.training)
        prepare = DecoderInput.of(view, bank.clean)
        shapes = [grid_shape(shape) for shape in view.read_shapes]
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(int(torch.randint(2**62, (1,), generator=generator)))
            decoder = PlainDecoder(shapes, 2 if prepare.marked else 1, view.image_shape)
        optimiser = torch.optim.Adam(decoder.parameters(), fused=True)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, GREATEST_RATE, total_steps=effort.train_steps)
        losses = []
        for _ in range(effort.train_steps):
            positions = torch.randint(0, len(images), (BATCH,), generator=generator)
            loss = mse_loss(decoder(prepare(bank.at(positions, generator))), images[positions])
            optimiser.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimiser.step()
            schedule.step()
            losses.append(float(loss.detach()))
        return PlainAttacker(decoder.eval(), prepare, Training(effort.train_steps, tuple(losses[-20:]), False))


@dataclass(frozen=True, eq=False)
class PlainAttacker:
    """A fitted decoder."""

    decoder: PlainDecoder
    prepare: DecoderInput
    training: Training = field(default_factory=Training)

    @torch.no_grad()
    def reconstruct(self, released: ObservedReleases, generator: torch.Generator) -> Reconstruction:  # noqa: ARG002
        """Images in [0, 1]."""
        parts = torch.split(torch.arange(len(released)), 256)
        return Reconstruction(torch.cat([self.decoder(self.prepare(released.take(part))) for part in parts]))
