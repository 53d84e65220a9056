"""Black-box: regressions in closed form, trained on queried pairs under the defense.

*ridge* is the best linear reconstruction. *kernel* is Gaussian kernel ridge, which follows what is not linear: it reads
more of few numbers than a decoder that is stopped early, and less of many numbers than `ridge`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from functools import partial
from typing import ClassVar

import torch
from torch import Tensor

from ..records import Threat
from .adversary_view import AdversaryView
from .features import Standard
from .interface import Attacker, Effort, Reconstruction, Training
from .linear_paths import MOST_SAMPLES, PENALTIES, Ridge, best_of, best_ridge, dual_ridge, kernel_ridge
from .releases import ObservedReleases

MOST_NUMBERS = 2e8
"""The most numbers of training rows held at once: 0.8 GB. `kernel` also holds images of at most this size."""

BLOCK = 10_000
"""The most auxiliary images of one kernel: a matrix of 0.4 GB."""

CHOOSING = 2000
"""Auxiliary images that width and penalty are chosen with."""

WIDTHS = (0.25, 0.5, 1.0, 2.0, 4.0, 16.0)
"""Relative to the mean squared distance of two rows."""

KERNEL_PENALTIES = (1e-3, 1e-2, 0.03, 0.1, 0.3, 1.0)

LIGHTER = (1.0, 0.2)
"""Penalties with several blocks, relative to the chosen one: averaging removes the variance that a lighter one adds."""

CHUNK = 500

MOST_FEATURES = 4000
"""The most numbers of a release for which the normal equations are solved; with more, not all images are read."""

BATCH = 1000
"""Images whose releases are added to the normal equations at once."""


@dataclass(frozen=True, eq=False)
class _Pairs:
    """Releases and auxiliary images of a regression, both centred, and held-out ones.

    Attributes:
        standard: standardises releases.
        centre: `[features]`, the mean standardised release.
        mean: `[pixels]`, the mean image.
        rows: `[n, features]`.
        wanted: `[n, pixels]`.
        held: `[m, features]`, releases of held-out images.
        truth: `[m, pixels]`, these images.
    """

    standard: Standard
    centre: Tensor
    mean: Tensor
    rows: Tensor
    wanted: Tensor
    held: Tensor
    truth: Tensor

    @classmethod
    def of(cls, view: AdversaryView, most: int, generator: torch.Generator) -> _Pairs:
        """At most `most` pairs, and no more than fit into memory."""
        width = sum(math.prod(shape) for shape in view.read_shapes)
        most = min(most, max(20, int(MOST_NUMBERS / max(width, 1))), len(view.learned))
        # Near-duplicates take many queries, which all attackers share; otherwise no more is asked than is read.
        positions = torch.arange(most)
        bank = view.bank(view.learned.take(positions) if view.copies is None else view.learned)
        standard = Standard.of(view.typical(bank.clean))
        rows = standard.flat(bank.at(positions, generator))
        images = view.pixels(view.learned.take(positions)).flatten(1)
        centre, mean = rows.mean(dim=0), images.mean(dim=0)
        rows -= centre
        held, truth = view.query(view.held_out, generator), view.pixels(view.held_out).flatten(1)
        return cls(standard, centre, mean, rows, images - mean, standard.flat(held) - centre, truth - mean)


@dataclass(frozen=True, slots=True)
class LinearRidge:
    """The best linear reconstruction; the penalty is chosen on held-out images.

    Where a release has fewer numbers than there are auxiliary images, all images are read, by the normal equations;
    else `MOST_SAMPLES` of them, in dual form.
    """

    revision: ClassVar[int] = 4
    iterated: ClassVar[bool] = False
    name: str = "ridge"
    threat: Threat = "black-box"
    per_image: bool = False

    def fit(self, view: AdversaryView, effort: Effort, generator: torch.Generator) -> Attacker:  # noqa: ARG002
        """Solve for the auxiliary images."""
        features = sum(math.prod(shape) for shape in view.read_shapes)
        if features <= min(MOST_FEATURES, len(view.learned)):
            return _primal(view, features, generator)
        pairs = _Pairs.of(view, MOST_SAMPLES, generator)
        weights = dual_ridge(pairs.rows, pairs.wanted, pairs.held, pairs.truth)
        return _Fitted(pairs.standard, pairs.rows, pairs.centre, pairs.mean, weights, view.image_shape)


@dataclass(frozen=True, slots=True)
class KernelRidge:
    """Gaussian kernel ridge; width and penalty are chosen on held-out images, with some of the auxiliary ones.

    With more auxiliary images than one kernel holds, there are several kernels whose answers are averaged (Zhang, Duchi
    & Wainwright, Divide and Conquer Kernel Ridge Regression, JMLR 2015).
    """

    revision: ClassVar[int] = 3
    iterated: ClassVar[bool] = False
    name: str = "kernel"
    threat: Threat = "black-box"
    per_image: bool = False

    def fit(self, view: AdversaryView, effort: Effort, generator: torch.Generator) -> Attacker:  # noqa: ARG002
        """Solve for the auxiliary images."""
        pairs = _Pairs.of(view, max(MOST_SAMPLES, int(MOST_NUMBERS / math.prod(view.image_shape))), generator)
        chosen, width = _choose_kernel(pairs)
        rows, weights = pairs.rows[:CHOOSING], chosen.weights
        if chosen.penalty is not None:
            lighter = LIGHTER if len(pairs.rows) > BLOCK else LIGHTER[:1]
            whole = best_of(
                partial(_block_average, pairs, width),
                _gaussian(_squared_distances(pairs.held, pairs.rows), width),
                pairs.truth,
                [chosen.penalty * each for each in lighter],
            )
            if whole.penalty is not None:  # else the regression on some of the images stands
                rows, weights = pairs.rows, whole.weights
        return _Fitted(pairs.standard, rows, pairs.centre, pairs.mean, weights, view.image_shape, width)


def _primal(view: AdversaryView, features: int, generator: torch.Generator) -> _Fitted:
    """The best linear reconstruction from all auxiliary images, by the normal equations, a batch at a time."""
    bank, images = view.bank(view.learned), view.pixels(view.learned).flatten(1)
    standard, mean = Standard.of(view.typical(bank.clean)), images.mean(dim=0)
    left = torch.zeros(features, features, dtype=torch.float64)
    right, total = torch.zeros(features, len(mean), dtype=torch.float64), torch.zeros(features, dtype=torch.float64)
    for part in torch.split(torch.arange(len(images)), BATCH):
        rows = standard.flat(bank.at(part, generator))
        left += rows.T @ rows
        right += rows.T @ (images[part] - mean)
        total += rows.sum(dim=0)
    left -= torch.outer(total, total) / len(images)
    centre, scale = (total / len(images)).float(), float(left.diagonal().sum()) / len(images) or 1.0
    held = standard.flat(view.query(view.held_out, generator)) - centre
    truth = view.pixels(view.held_out).flatten(1) - mean

    def solve(penalty: float) -> Tensor | None:
        factor, wrong = torch.linalg.cholesky_ex(left + penalty * scale * torch.eye(features, dtype=torch.float64))
        return None if int(wrong) else torch.cholesky_solve(right, factor).float()

    weights = best_of(solve, held, truth, PENALTIES).weights
    return _Fitted(standard, None, centre, mean, weights, view.image_shape)


def linear_index(view: AdversaryView, generator: torch.Generator) -> float:
    """1 - MSE / MSE of the mean image on held-out auxiliary images, of the best linear reconstruction."""
    pairs = _Pairs.of(view, MOST_SAMPLES, generator)
    fitted = best_ridge(pairs.rows @ pairs.rows.T, pairs.wanted, pairs.held @ pairs.rows.T, pairs.truth, PENALTIES)
    nothing = float(pairs.truth.square().mean())
    return max(0.0, 1 - fitted.loss / nothing) if nothing else 0.0


def _choose_kernel(pairs: _Pairs) -> tuple[Ridge, float]:
    """The best regression on the first auxiliary images, and the width of its kernel."""
    rows, wanted = pairs.rows[:CHOOSING], pairs.wanted[:CHOOSING]
    among, across = _squared_distances(rows, rows), _squared_distances(pairs.held, rows)
    typical = float(among.mean()) or 1.0
    best, width = Ridge(torch.zeros_like(wanted), math.inf), typical
    for tried in (typical * each for each in WIDTHS):
        found = best_ridge(_gaussian(among, tried), wanted, _gaussian(across, tried), pairs.truth, KERNEL_PENALTIES)
        if found.loss < best.loss:
            best, width = found, tried
    return best, width


@dataclass(frozen=True, eq=False)
class _Fitted:
    """A regression; `width` is that of the Gaussian kernel, None for a linear one.

    Weights are of the training `rows`, or of the numbers of a release where no rows are kept.
    """

    standard: Standard
    rows: Tensor | None
    centre: Tensor
    mean: Tensor
    weights: Tensor
    shape: tuple[int, ...]
    width: float | None = None
    training: Training = field(default_factory=Training)

    def reconstruct(self, released: ObservedReleases, generator: torch.Generator) -> Reconstruction:  # noqa: ARG002
        parts = []
        for chunk in torch.split(torch.arange(len(released)), CHUNK):
            across = self.standard.flat(released.take(chunk)) - self.centre
            if self.rows is not None and self.width is None:
                across = across @ self.rows.T
            elif self.rows is not None:
                across = _gaussian(_squared_distances(across, self.rows), self.width or 1.0)
            parts.append((self.mean + across @ self.weights).clamp(0, 1).reshape(-1, *self.shape))
        return Reconstruction(torch.cat(parts))


def _block_average(pairs: _Pairs, width: float, penalty: float) -> Tensor | None:
    """Weights `[n, k]` of regressions on equal blocks of the images, which sum up to the average of their answers.

    None if the penalty is below rounding.
    """
    found = []
    for block in torch.arange(len(pairs.rows)).tensor_split(math.ceil(len(pairs.rows) / BLOCK)):
        rows = pairs.rows[block]
        weights = kernel_ridge(_gaussian(_squared_distances(rows, rows), width), pairs.wanted[block], penalty)
        if weights is None:
            return None
        found.append(weights)
    return torch.cat(found) / len(found)


def _gaussian(distances: Tensor, width: float) -> Tensor:
    """exp(-distance / width) of squared distances."""
    return distances.div(-width).exp_()


def _squared_distances(left: Tensor, right: Tensor) -> Tensor:
    """Of rows, `[n, m]`."""
    return torch.cdist(left, right).square_()
