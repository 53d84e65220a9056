"""Networks from releases to inputs. Their architecture follows from the shapes at the cut."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate, pixel_unshuffle, silu

from .adversary_view import AdversaryView
from .features import Standard
from .linear_paths import Free, linear_path, resized, silence
from .mixed_precision import quick_products
from .releases import ObservedReleases
from .training import seeded

BLOCKS = 2
LARGEST_GRID = 16
"""The most rows of the grid that residual blocks work on: larger grids are folded into channels."""

SMALLEST_GRID = 4


class Residual(nn.Module):
    """Two 3x3 convolutions beside a skip connection.

    SiLU, since ReLU units die at the linear start: at 1,600 steps of 32 images a rate of 2e-3 left ReLU decoders there.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(width, width, 3, padding=1), nn.Conv2d(width, width, 3, padding=1)
        nn.init.zeros_(self.second.weight)

    def forward(self, x: Tensor) -> Tensor:
        """The same shape."""
        h: Tensor = self.second(silu(self.first(silu(x))))
        return x + h


class ImageDecoder(nn.Module):
    """From crossings to an image; starts at the mean image.

    Args:
        row_shapes: of one sample of each crossing.
        mean: `[C, H, W]`, the mean image.
        width: channels of the residual blocks.
        marked: beside each crossing comes a plane that marks what was seen (see `DecoderInput`).
    """

    def __init__(self, row_shapes: Sequence[tuple[int, ...]], mean: Tensor, width: int, marked: bool) -> None:
        super().__init__()
        channels, height, rows = mean.shape[0], mean.shape[1], mean.shape[2]
        self.size = (height, rows)
        self.shapes = [grid_shape(shape) for shape in row_shapes]
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
        """By which factor a crossing's grid is folded into channels."""
        if len(shape) != 3:
            return 1
        fold = 1
        while min(shape[1:]) // (2 * fold) >= self.grid and not any(side % (2 * fold) for side in shape[1:]):
            fold *= 2
        return fold

    def forward(self, rows: Sequence[Tensor]) -> Tensor:
        """What `DecoderInput` gives -> `[n, C, H, W]`."""
        image = self.mean.expand(len(rows[0]), *self.mean.shape)
        for row, direct in zip(rows, self.direct, strict=True):
            if not isinstance(direct, nn.Identity):
                image = image + direct(row)
        with quick_products(image.device, learning=self.training):
            detail = self.stages(self._entered(rows).contiguous(memory_format=torch.channels_last))
            detail = self.exit(silu(resized(detail, self.size)))
        made: Tensor = image + detail.float()
        return made

    def _entered(self, rows: Sequence[Tensor]) -> Tensor:
        """`[n, width, grid, grid]`: all crossings on one grid."""
        total: Tensor | None = None
        for row, shape, fold, entry in zip(rows, self.shapes, self.fold, self.entries, strict=True):
            if len(shape) == 3:
                found = torch.relu(entry(pixel_unshuffle(row, fold)))
                if found.shape[2:] != (self.grid, self.grid):
                    found = interpolate(found, size=(self.grid, self.grid), mode="bilinear", align_corners=False)
            else:
                found = entry(row.flatten(1)).reshape(len(row), -1, self.grid, self.grid)
            total = found if total is None else total + found
        assert total is not None  # something crosses
        return total


class VectorDecoder(nn.Module):
    """The same for inputs that are no images: a residual multilayer perceptron. Arguments as `ImageDecoder`."""

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
        """What `DecoderInput` gives -> `[n, *shape]`."""
        flat = torch.cat([row.flatten(1) for row in rows], dim=1)
        made: Tensor = self.mean + self.direct(flat) + self.hidden(flat).reshape(-1, *self.shape)
        return made


Decoder = ImageDecoder | VectorDecoder


def decoder_for(
    row_shapes: Sequence[tuple[int, ...]], mean: Tensor, generator: torch.Generator, *, marked: bool, width: int
) -> Decoder:
    """A decoder from rows of `row_shapes` to inputs of the shape of `mean`.

    Args:
        row_shapes: of one sample of each crossing.
        mean: the mean input, where the decoder starts.
        generator: of its weights; on the CPU.
        marked: each crossing comes with a plane that marks what was seen (see `DecoderInput`).
        width: channels.
    """
    kind = ImageDecoder if _is_image(mean.shape) else VectorDecoder
    return seeded(lambda: kind(row_shapes, mean, width, marked), generator)


def _is_image(shape: Sequence[int]) -> bool:
    return len(shape) == 3 and min(shape[1:]) >= SMALLEST_GRID


@dataclass(frozen=True, eq=False)
class DecoderInput:
    """Turns releases into what a decoder reads.

    Attributes:
        standard: standardises them.
        shapes: per crossing, the shape of one sample; flat where the input is no image, and no tokens fill a square.
        marked: whether marks of what was seen are added.
        device: where the decoder is.
    """

    standard: Standard
    shapes: Sequence[tuple[int, ...]]
    marked: bool
    device: torch.device

    @classmethod
    def of(cls, view: AdversaryView, rows: Sequence[Tensor]) -> DecoderInput:
        """For the releases of `view`, standardised by clean rows `[n, *sample_shape]`."""
        image = _is_image(view.image_shape)
        shapes = [shape if image else (math.prod(shape),) for shape in view.read_shapes]
        return cls(Standard.of(view.typical(rows)), shapes, view.marks_dropped, view.device)

    def __call__(self, released: ObservedReleases) -> list[Tensor]:
        """Per crossing standardised rows, as grids where they form grids, with the marks as further channels."""
        made = []
        marks_of = [seen for part in released.parts for seen in part.seen]
        for values, seen, shape in zip(self.standard(released, self.device), marks_of, self.shapes, strict=True):
            rows = _as_grid(values, shape)
            if self.marked:
                marks = torch.ones_like(rows) if seen is None else _as_grid(seen.to(self.device, rows.dtype), shape)
                rows = torch.cat([rows, marks], dim=1)
            made.append(rows)
        return made


def grid_shape(shape: tuple[int, ...]) -> tuple[int, ...]:
    """`[C, H, W]` stays; tokens `[T, E]` that fill a square, class token aside, become `[E, s, s]`; else flat."""
    if len(shape) == 3:
        return shape
    if len(shape) == 2:
        side = math.isqrt(shape[0])
        if side >= 2 and shape[0] - side * side in (0, 1):
            return (shape[1], side, side)
    return (math.prod(shape),)


def _as_grid(rows: Tensor, shape: tuple[int, ...]) -> Tensor:
    wanted = grid_shape(shape)
    if len(shape) == 3 or len(wanted) == 1:
        return rows if len(shape) == 3 else rows.flatten(1)
    patches = rows[:, shape[0] - wanted[1] * wanted[2] :]
    return patches.transpose(1, 2).reshape(len(rows), *wanted)
