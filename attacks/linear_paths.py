"""Linear paths from a crossing to an image, which start at least squares, in closed form.

*Free*: every number to every pixel, by ridge in dual form. *Filter*: the same small filter at every place, by the
normal equations over a great many places. Training continues from there; it would take thousands of steps to reach the
same precision.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate, pad, pixel_shuffle, pixel_unshuffle, unfold

from ..graph.batch_size import BatchSize

Draw = Callable[[int], tuple[list[Tensor], Tensor]]
"""From a number of images to what a decoder reads of their releases, and these images `[n, *shape]`, on the CPU."""

PENALTIES = (1e-4, 1e-3, 1e-2, 1e-1, 1.0, 10.0)
"""Of a ridge, relative to the kernel's mean eigenvalue."""

FILTER_PENALTIES = (1e-7, 1e-5, 1e-3, 1e-1)
"""Relative to the mean square of the numbers under the filter."""

MOST_SAMPLES = 4000
MOST_WEIGHTS = 2_000_000
LARGEST_STRIDE = 4
FILTER = 5
MOST_UNKNOWNS = 4096
"""Numbers under a filter; with more, the equations take too long."""

EQUATIONS = 10
"""Places per unknown of a filter."""

FEW_HELD = 32
"""Held-out images that a filter's penalty is chosen on: each has many places."""

CHUNK_NUMBERS = 3e7
"""Numbers under the filter at all places of one chunk of images: 120 MB."""


class Free(nn.Module):
    """Every number of a crossing to every pixel.

    Args:
        features: numbers in one sample of the crossing.
        shape: of one image.
    """

    def __init__(self, features: int, shape: tuple[int, ...]) -> None:
        super().__init__()
        self.linear, self.shape = nn.Linear(features, math.prod(shape)), shape
        silence(self.linear)

    def forward(self, rows: Tensor) -> Tensor:
        """`[n, ...]` -> `[n, *shape]`."""
        made: Tensor = self.linear(rows.flatten(1))
        return made.reshape(len(rows), *self.shape)

    @torch.no_grad()
    def start(self, rows: Tensor, wanted: Tensor, held_rows: Tensor, held_wanted: Tensor) -> None:
        """Set the weights to the ridge regression of `wanted` on `rows`.

        Args:
            rows: `[n, ...]`.
            wanted: `[n, *shape]`.
            held_rows: `[m, ...]`, on which the penalty is chosen.
            held_wanted: `[m, *shape]`.
        """
        rows, wanted = rows.flatten(1), wanted.flatten(1)
        centre, mean = rows.mean(dim=0), wanted.mean(dim=0)
        rows, held = rows - centre, held_rows.flatten(1) - centre
        weights = dual_ridge(rows, wanted - mean, held, held_wanted.flatten(1) - mean)
        self.linear.weight.copy_(weights.T @ rows)
        self.linear.bias.copy_(mean - self.linear.weight.cpu() @ centre)


class Filter(nn.Module):
    """The same small filter at every place of a grid.

    Args:
        channels: of the crossing.
        shape: of one image.
        stride: by which factor the image is larger than the grid.
    """

    def __init__(self, channels: int, shape: tuple[int, ...], stride: int) -> None:
        super().__init__()
        self.stride, self.size = stride, shape[1:]
        self.filter = nn.Conv2d(channels, shape[0] * stride**2, FILTER, padding=FILTER // 2)
        silence(self.filter)

    def forward(self, grids: Tensor) -> Tensor:
        """`[n, channels, h, w]` -> `[n, *shape]`."""
        return resized(pixel_shuffle(self.filter(grids), self.stride), self.size)

    @property
    def unknowns(self) -> int:
        """Unknowns per number of the output."""
        return self.filter.in_channels * FILTER**2 + 1

    @torch.no_grad()
    def start(self, rows: Tensor, wanted: Tensor, held_rows: Tensor, held_wanted: Tensor) -> None:
        """Set the filter to the one that maps `rows` to `wanted` best.

        The penalty is the best one on held-out images. Where none beats an answer of 0, the filter is 0.

        Args:
            rows: `[n, channels, h, w]`.
            wanted: `[n, *shape]`.
            held_rows: `[m, channels, h, w]`.
            held_wanted: `[m, *shape]`.
        """
        left = torch.zeros(self.unknowns, self.unknowns, dtype=torch.float64)
        right = torch.zeros(self.unknowns, self.filter.out_channels, dtype=torch.float64)
        for patches, answers in self._equations(rows, wanted):
            left += patches.T @ patches
            right += patches.T @ answers
        device, scale = self.filter.weight.device, float(left.diagonal().mean())
        best, least = None, float(held_wanted.square().mean())
        for penalty in FILTER_PENALTIES:
            factor, wrong = torch.linalg.cholesky_ex(left + penalty * scale * torch.eye(self.unknowns).double())
            if int(wrong):
                continue
            found = torch.cholesky_solve(right, factor).float().T.to(device)
            self._set(found)
            loss = float((_answer(self, held_rows) - held_wanted).square().mean())
            if loss < least:
                best, least = found, loss
        self._set(torch.zeros(self.filter.out_channels, self.unknowns, device=device) if best is None else best)

    def _set(self, found: Tensor) -> None:
        self.filter.weight.copy_(found[:, :-1].reshape(self.filter.weight.shape))
        assert self.filter.bias is not None
        self.filter.bias.copy_(found[:, -1])

    def _equations(self, rows: Tensor, wanted: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
        """Numbers under the filter `[places, unknowns]` and the wanted outputs `[places, outputs]`, in chunks."""
        covered = (rows.shape[2] * self.stride, rows.shape[3] * self.stride)
        each = self.unknowns * rows.shape[2] * rows.shape[3]
        for chunk in torch.split(torch.arange(len(rows)), max(1, int(CHUNK_NUMBERS / each))):
            patches = unfold(rows[chunk], FILTER, padding=FILTER // 2).movedim(1, 2).flatten(0, 1)
            answers = pixel_unshuffle(resized(wanted[chunk], covered), self.stride).flatten(2).movedim(1, 2)
            yield torch.cat([patches, patches.new_ones(len(patches), 1)], dim=1), answers.flatten(0, 1)


def linear_path(shape: tuple[int, ...], copies: int, image_shape: tuple[int, ...]) -> Free | Filter | None:
    """The affordable path from a crossing to an image: free if possible, else a filter, else None.

    Args:
        shape: of one sample of the crossing.
        copies: 2 if each number comes with a mark, else 1.
        image_shape: of one image.
    """
    features = copies * math.prod(shape)
    if features * math.prod(image_shape) <= MOST_WEIGHTS:
        return Free(features, image_shape)
    if len(shape) != 3 or len(image_shape) != 3:
        return None
    stride = 2 ** max(0, round(math.log2(image_shape[1] / shape[1])))
    if stride > LARGEST_STRIDE or copies * shape[0] * FILTER**2 >= MOST_UNKNOWNS:
        return None
    return Filter(copies * shape[0], image_shape, stride)


def start_paths(paths: Sequence[nn.Module], mean: Tensor, draw: Draw, draw_held: Draw) -> None:
    """Fit each path to what the mean image and the earlier paths leave to explain.

    Args:
        paths: one per crossing; those that are neither free nor filters are left alone.
        mean: `[*shape]`, the mean image.
        draw: gives releases of auxiliary images.
        draw_held: gives releases of images that nothing is trained on.
    """
    for at, path in enumerate(paths):
        if not isinstance(path, Free | Filter):
            continue
        count = held_count = MOST_SAMPLES
        if isinstance(path, Filter):
            held_count = FEW_HELD
            places = math.prod(draw_held(1)[0][at].shape[2:])
            count = min(count, max(FEW_HELD, EQUATIONS * path.unknowns // places))
        (inputs, images), (held, held_images) = draw(count), draw_held(held_count)
        rest, held_rest = images - mean, held_images - mean
        for before, earlier in enumerate(paths[:at]):
            if isinstance(earlier, Free | Filter):
                rest, held_rest = rest - _answer(earlier, inputs[before]), held_rest - _answer(earlier, held[before])
        path.start(inputs[at], rest, held[at], held_rest)


@torch.no_grad()
def _answer(path: Free | Filter, rows: Tensor) -> Tensor:
    device = next(path.parameters()).device

    def run(some: slice) -> Tensor:
        made: Tensor = path(rows[some].to(device))
        return made.cpu()

    return torch.cat(list(BatchSize(len(rows)).over(len(rows), run)))


def dual_ridge(rows: Tensor, wanted: Tensor, held_rows: Tensor, held_wanted: Tensor) -> Tensor:
    """Weights `[n, k]` so that x `rows`^T weights predicts best; 0 if nothing beats a prediction of 0.

    Args:
        rows: `[n, features]`, centred.
        wanted: `[n, k]`, centred.
        held_rows: `[m, features]`, less the same centre; the penalty is chosen on them.
        held_wanted: `[m, k]`, less the same centre.
    """
    return best_ridge(rows @ rows.T, wanted, held_rows @ rows.T, held_wanted, PENALTIES).weights


@dataclass(frozen=True, eq=False)
class Ridge:
    """A regression in dual form.

    Attributes:
        weights: `[n, k]`.
        loss: mean squared error on held-out samples.
        penalty: None where an answer of 0 does best.
    """

    weights: Tensor
    loss: float
    penalty: float | None = None


def best_ridge(
    kernel: Tensor, wanted: Tensor, across: Tensor, held_wanted: Tensor, penalties: Sequence[float]
) -> Ridge:
    """Kernel ridge with the penalty that does best on held-out samples; weights 0 if none beats a prediction of 0.

    Args:
        kernel: `[n, n]` among training samples.
        wanted: `[n, k]`.
        across: `[m, n]` from held-out to training samples.
        held_wanted: `[m, k]`.
        penalties: to choose from.
    """
    return best_of(lambda penalty: kernel_ridge(kernel, wanted, penalty), across, held_wanted, penalties)


def best_of(
    solve: Callable[[float], Tensor | None], across: Tensor, held_wanted: Tensor, penalties: Sequence[float]
) -> Ridge:
    """The same with weights from `solve`, which returns None for a penalty that it cannot solve for."""
    best = Ridge(torch.zeros(across.shape[1], held_wanted.shape[1]), float(held_wanted.square().mean()))
    for penalty in penalties:
        weights = solve(penalty)
        if weights is None:
            continue
        loss = float((across @ weights - held_wanted).square().mean())
        if loss < best.loss:
            best = Ridge(weights, loss, penalty)
    return best


def kernel_ridge(kernel: Tensor, wanted: Tensor, penalty: float) -> Tensor | None:
    """Weights `[n, k]` of kernel ridge regression on `wanted` `[n, k]`, the penalty relative to the mean eigenvalue.

    None if so small a penalty is below rounding: few features and many rows.
    """
    scale = float(kernel.diagonal().mean()) or 1.0
    factor, wrong = torch.linalg.cholesky_ex(kernel + penalty * scale * torch.eye(len(kernel)))
    return None if int(wrong) else torch.cholesky_solve(wanted, factor)


def resized(images: Tensor, size: Sequence[int]) -> Tensor:
    """`[n, c, h, w]` -> `[n, c, *size]`, padded or cropped evenly, as convolutions without padding require.

    A large difference in size is bridged by interpolation.
    """
    sides = list(zip(size, images.shape[2:], strict=True))
    missing = [wanted - side for wanted, side in sides]
    if all(gap == 0 for gap in missing):
        return images
    if any(abs(wanted - side) > max(wanted, side) / 4 for wanted, side in sides):
        return interpolate(images, size=tuple(size), mode="bilinear", align_corners=False)
    down, right = missing
    above, before = int(down / 2), int(right / 2)  # towards 0, so that a crop undoes a padding
    return pad(images, (before, right - before, above, down - above))


def silence(layer: nn.Module) -> None:
    """Set all parameters to 0, so that the layer answers 0 until it is trained."""
    for parameter in layer.parameters():
        nn.init.zeros_(parameter)
