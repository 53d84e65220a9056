"""Black-box: regressions in closed form, trained on queried pairs under the defense.

*ridge* is the best linear reconstruction. *kernel* is Gaussian kernel ridge, which follows what is not linear: of a few
numbers it reads more than a decoder that is stopped early, and of many it reads less than `ridge`.
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
from .audit_target import ObservedReleases
from .features import Standard
from .interface import Attacker, Effort, Reconstruction, Training
from .linear_paths import MOST_SAMPLES, Ridge, best_of, best_ridge, dual_ridge, kernel_ridge

MOST_NUMBERS = 2e8
"""Of training rows held at once: 0.8 GB. The kernel's images are as many at most, where `ridge` has not more."""

BLOCK = 10_000
"""Own images of one kernel at most: a matrix of 0.4 GB."""

CHOOSING = 2000
"""Own images that its width and penalty are chosen with."""

WIDTHS = (0.25, 0.5, 1.0, 2.0, 4.0, 16.0)
"""Relative to the mean squared distance of two rows."""

KERNEL_PENALTIES = (1e-3, 1e-2, 0.03, 0.1, 0.3, 1.0)

LIGHTER = (1.0, 0.2)
"""Penalties of several blocks, relative to the chosen one: what each adds to the variance, their average takes away."""

CHUNK = 500


@dataclass(frozen=True, eq=False)
class _Pairs:
    """Own releases and images that a regression is made of, both centred, and held-out ones.

    Attributes:
        rows: `[n, features]`, wanted `[n, pixels]`.
        held: `[m, features]`, truth `[m, pixels]`.
    """

    standard: Standard
    centre: Tensor
    mean: Tensor
    rows: Tensor
    wanted: Tensor
    held: Tensor
    truth: Tensor

    @classmethod
    def of(cls, scene: AdversaryView, most: int, generator: torch.Generator) -> _Pairs:
        """At most so many, and no more than fit into memory."""
        width = sum(row[0].numel() for row in scene.ask(scene.held_out.take(torch.arange(1))))
        most = min(most, max(20, int(MOST_NUMBERS / max(width, 1))), len(scene.training))
        data = scene.training.take(torch.arange(most))
        clean = scene.ask(data)
        standard = Standard.of(scene.typical(clean))
        rows = _flat(standard, scene.release(clean, data, generator))
        images = scene.pixels(data).flatten(1)
        centre, mean = rows.mean(dim=0), images.mean(dim=0)
        rows -= centre
        held, truth = scene.query(scene.held_out, generator), scene.pixels(scene.held_out).flatten(1)
        return cls(standard, centre, mean, rows, images - mean, _flat(standard, held) - centre, truth - mean)


@dataclass(frozen=True, slots=True)
class LinearRidge:
    """The best linear reconstruction, in dual form; the penalty is chosen on held-out images."""

    revision: ClassVar[int] = 1
    name: str = "ridge"
    threat: Threat = "black-box"
    per_image: bool = False

    def fit(self, scene: AdversaryView, effort: Effort, generator: torch.Generator) -> Attacker:  # noqa: ARG002
        """Solves for the attacker's own images."""
        own = _Pairs.of(scene, MOST_SAMPLES, generator)
        weights = dual_ridge(own.rows, own.wanted, own.held, own.truth)
        return _Fitted(own.standard, own.rows, own.centre, own.mean, weights, scene.image_shape)


@dataclass(frozen=True, slots=True)
class KernelRidge:
    """Gaussian kernel ridge; width and penalty are chosen on held-out images, with some of the own ones.

    Of more own images than one kernel holds there are several, whose answers are averaged (Zhang, Duchi & Wainwright,
    Divide and Conquer Kernel Ridge Regression, JMLR 2015).
    """

    revision: ClassVar[int] = 1
    name: str = "kernel"
    threat: Threat = "black-box"
    per_image: bool = False

    def fit(self, scene: AdversaryView, effort: Effort, generator: torch.Generator) -> Attacker:  # noqa: ARG002
        """Solves for the attacker's own images."""
        own = _Pairs.of(scene, max(MOST_SAMPLES, int(MOST_NUMBERS / math.prod(scene.image_shape))), generator)
        rows, wanted = own.rows[:CHOOSING], own.wanted[:CHOOSING]
        apart, away = _apart(rows, rows), _apart(own.held, rows)
        typical = float(apart.mean()) or 1.0
        best, width = Ridge(torch.zeros_like(wanted), math.inf), typical
        for tried in (typical * each for each in WIDTHS):
            kernel, across = _gaussian(apart, tried), _gaussian(away, tried)
            found = best_ridge(kernel, wanted, across, own.truth, KERNEL_PENALTIES)
            if found.loss < best.loss:
                best, width = found, tried
        weights = best.weights
        if best.penalty is not None:
            lighter = LIGHTER if len(own.rows) > BLOCK else LIGHTER[:1]
            whole = best_of(
                partial(_averaged, own, width),
                _gaussian(_apart(own.held, own.rows), width),
                own.truth,
                [best.penalty * each for each in lighter],
            )
            if whole.penalty is not None:  # else the regression on some of the images is what there is
                rows, weights = own.rows, whole.weights
        return _Fitted(own.standard, rows, own.centre, own.mean, weights, scene.image_shape, width)


@dataclass(frozen=True, eq=False)
class _Fitted:
    """`width` is the Gaussian kernel's; None for the linear one."""

    standard: Standard
    rows: Tensor
    centre: Tensor
    mean: Tensor
    weights: Tensor
    shape: tuple[int, ...]
    width: float | None = None
    training: Training = field(default_factory=Training)

    def reconstruct(self, released: ObservedReleases, generator: torch.Generator) -> Reconstruction:  # noqa: ARG002
        parts = []
        for chunk in torch.split(torch.arange(len(released)), CHUNK):
            rows = _flat(self.standard, released.take(chunk)) - self.centre
            across = rows @ self.rows.T if self.width is None else _gaussian(_apart(rows, self.rows), self.width)
            parts.append((self.mean + across @ self.weights).clamp(0, 1).reshape(-1, *self.shape))
        return Reconstruction(torch.cat(parts))


def _averaged(own: _Pairs, width: float, penalty: float) -> Tensor | None:
    """Weights `[n, k]` of regressions on equal blocks of the own images, so that they sum up to their average.

    None where rounding outweighs the penalty.
    """
    found = []
    for block in torch.arange(len(own.rows)).tensor_split(math.ceil(len(own.rows) / BLOCK)):
        rows = own.rows[block]
        weights = kernel_ridge(_gaussian(_apart(rows, rows), width), own.wanted[block], penalty)
        if weights is None:
            return None
        found.append(weights)
    return torch.cat(found) / len(found)


def _gaussian(apart: Tensor, width: float) -> Tensor:
    """exp(-distance^2 / width) of squared distances."""
    return apart.div(-width).exp_()


def _apart(left: Tensor, right: Tensor) -> Tensor:
    """Squared distances of rows, `[n, m]`."""
    return torch.cdist(left, right).square_()


def _flat(standard: Standard, released: ObservedReleases) -> Tensor:
    return torch.cat([rows.flatten(1) for rows in standard(released, torch.device("cpu"))], dim=1)
