"""How released rows are distributed: each number by itself, and how neighbours vary together.

The outputs of a convolution lie in a subspace that determines its filters up to a mixture of input channels (subspace
identification: Moulines et al., IEEE Trans. Signal Processing 1995). The directions in which the releases hardly vary
are the informative ones. Covariances are therefore compared in coordinates in which those of the releases are white, by
the Kullback-Leibler divergence of normal distributions.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import mse_loss, unfold

from .training import BATCH

PLACES = 8
"""Neighbourhoods along a side of a grid that covariances are taken of."""

DIRECTIONS = 256
SAMPLES = 4
"""The fewest samples per direction in which a covariance is taken."""

MOST_WHITENED = 1200
"""Numbers of a sample; wider ones are projected on random directions."""

LEAST = 1e-3


@dataclass(frozen=True, eq=False)
class ReleaseStatistics:
    """Statistics of releases, per private crossing.

    Attributes:
        means: `[features]`.
        deviations: `[features]`.
        sketches: `[neighbourhood, k]`, from a neighbourhood to the numbers whose covariance is taken.
        covariances: `[k, k]`.
    """

    means: tuple[Tensor, ...]
    deviations: tuple[Tensor, ...]
    sketches: tuple[Tensor, ...]
    covariances: tuple[Tensor, ...]

    @classmethod
    def of(cls, rows: Sequence[Tensor], generator: torch.Generator) -> ReleaseStatistics:
        """Of releases `[n, *sample_shape]` each; the generator draws sketches."""
        flat = [row.flatten(1).float() for row in rows]
        means = tuple(row.mean(dim=0) for row in flat)
        deviations = tuple(row.std(dim=0) for row in flat)
        sketches = tuple(_sketch(neighbourhoods(row[:1]).shape[1], generator) for row in rows)
        covariances = tuple(_covariance(row, sketch) for row, sketch in zip(rows, sketches, strict=True))
        return cls(means, deviations, sketches, covariances)

    def to(self, device: torch.device) -> ReleaseStatistics:
        """The same on another device."""
        kinds = (self.means, self.deviations, self.sketches, self.covariances)
        return ReleaseStatistics(*(tuple(each.to(device) for each in kind) for kind in kinds))

    def distance(self, rows: Sequence[Tensor], generator: torch.Generator, quiet: float) -> Tensor:
        """How far the statistics of `rows` `[n, *sample_shape]` are from these: a scalar with gradients.

        Args:
            rows: per private crossing.
            generator: of the directions that are compared; on the CPU.
            quiet: variance below this share of the typical one counts little.
        """
        total = rows[0].new_zeros(())
        for row, mean, deviation, sketch, covariance in zip(
            rows, self.means, self.deviations, self.sketches, self.covariances, strict=True
        ):
            flat, near = row.flatten(1), neighbourhoods(row)
            typical = deviation.square().mean().clamp(min=LEAST**2)
            total = total + mse_loss(flat.mean(dim=0), mean) / typical
            total = total + mse_loss(flat.std(dim=0), deviation) / typical
            least = quiet * covariance.diagonal().mean().clamp(min=LEAST**2)
            some = _orthogonal(len(covariance), len(near) // SAMPLES, generator).to(row.device)
            mixing = _whitening(covariance, least) @ some
            floor = least * mixing.T @ mixing
            found = torch.cov((near @ (sketch @ mixing)).T)
            ratio = torch.linalg.solve(mixing.T @ covariance @ mixing + floor, found + floor)
            total = total + (ratio.diagonal().sum() - torch.linalg.slogdet(ratio).logabsdet) / len(ratio) - 1
        return total


def neighbourhoods(row: Tensor) -> Tensor:
    """The samples whose covariance is taken.

    Of a grid `[n, C, H, W]` the 3x3 neighbourhoods, `[n * places, 9 C]`; of tokens `[n, T, E]` each token,
    `[n * T, E]`. Their statistics hardly depend on the place, so a batch has many samples. Other rows are flat.
    """
    if row.ndim == 4 and min(row.shape[2:]) >= 3:
        return unfold(row, 3, stride=max(1, row.shape[2] // PLACES)).transpose(1, 2).flatten(0, 1)
    return row.flatten(0, 1) if row.ndim == 3 else row.flatten(1)


def _sketch(size: int, generator: torch.Generator) -> Tensor:
    """The identity `[size, size]`; for a sample that is too large to be whitened, random directions `[size, k]`."""
    return torch.eye(size) if size <= MOST_WHITENED else torch.randn(size, DIRECTIONS, generator=generator) / size**0.5


def _covariance(row: Tensor, sketch: Tensor) -> Tensor:
    """Of all sketched neighbourhoods of `[n, *sample_shape]`: `[k, k]`."""
    count = 0
    total, squares = torch.zeros(sketch.shape[1]).double(), torch.zeros(sketch.shape[1], sketch.shape[1]).double()
    for part in torch.split(row, BATCH):
        near = (neighbourhoods(part.float()) @ sketch).double()
        count, total, squares = count + len(near), total + near.sum(dim=0), squares + near.T @ near
    return (squares / count - torch.outer(total / count, total / count)).float()


def _whitening(covariance: Tensor, least: Tensor) -> Tensor:
    """Directions `[k, k]` in which a covariance is white, except where it is next to 0.

    They are found on the CPU: an Apple GPU has no float64.
    """
    wide = covariance.cpu().double() + least.cpu().double() * torch.eye(len(covariance))
    made: Tensor = torch.linalg.inv(torch.linalg.cholesky(wide))
    return made.T.float().to(covariance.device)


def _orthogonal(size: int, most: int, generator: torch.Generator) -> Tensor:
    """At most `most` random orthonormal columns, `[size, k]`."""
    drawn = torch.randn(size, max(1, min(DIRECTIONS, most, size)), generator=generator)
    made: Tensor = torch.linalg.qr(drawn).Q
    return made
