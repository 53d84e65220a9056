"""Black-box: of the attacker's own images, the one whose release is nearest to the release that was seen.

It is a real picture, in place of a blur. People and networks may take it for the original where squared error does not.
Distances are of standardised numbers, and of those alone that were seen.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import ClassVar

import torch
from torch import Tensor

from ..records import Threat
from .adversary_view import AdversaryView
from .descent import Practice
from .features import Standard, kept_shares
from .interface import Attacker, Effort, Reconstruction, Training
from .linkage import ASKED
from .metrics import Judge, squared_errors
from .releases import ObservedReleases
from .threat import AttackFailed

MOST_NUMBERS = 1e8
"""The most numbers that auxiliary images send together, so that 0.8 GB hold them and their squares."""

CHUNK, MOST_COMPARED = 500, 2e7
"""Releases that are compared at once: fewer where they have more numbers together."""

TELLING = 0.02
"""With an index of less than this on held-out images, the nearest images tell nothing, and the mean image is better."""

SURE = 1.0
"""Standard errors by which the index exceeds that: of few held-out images it may do so by chance."""


@dataclass(frozen=True, slots=True)
class Retrieval:
    """The attack."""

    revision: ClassVar[int] = 2
    iterated: ClassVar[bool] = False
    name: str = "retrieval"
    threat: Threat = "black-box"
    per_image: bool = False

    def fit(self, view: AdversaryView, effort: Effort, generator: torch.Generator) -> Attacker:  # noqa: ARG002
        """Query the device with as many auxiliary images as fit into memory."""
        width = sum(math.prod(shape) for shape in view.row_shapes)
        most = max(20, int(MOST_NUMBERS / max(width, 1)))
        images = view.training.take(torch.arange(min(len(view.training), most)))
        clean = tuple(row.float() for row in _mean(view, view.ask(images)))
        standard, pixels = Standard.of(clean), view.pixels(images)
        kept = tuple(row * share for row, share in zip(clean, kept_shares(view), strict=True))
        sent = standard.flat(ObservedReleases(kept, (None,) * len(kept), images))
        nearest = _Nearest(standard, sent, sent.square(), pixels)
        practice = Practice.of(view, torch.arange(len(view.held_out)), generator)
        if _tells(nearest.reconstruct(practice.released, generator).images, practice):
            return nearest
        return _Nearest(standard, sent[:1], sent[:1].square(), practice.mean[None])


@dataclass(frozen=True, eq=False)
class _Nearest:
    """Gives the picture whose numbers are nearest.

    Attributes:
        standard: standardises releases.
        sent, squared: `[n, features]`, what each picture sends on average, standardised, and its squares.
        pictures: `[n, *image_shape]`.
    """

    standard: Standard
    sent: Tensor
    squared: Tensor
    pictures: Tensor
    training: Training = field(default_factory=Training)

    def reconstruct(self, released: ObservedReleases, generator: torch.Generator) -> Reconstruction:  # noqa: ARG002
        found, at_once = [], max(1, min(CHUNK, int(MOST_COMPARED / max(self.sent.shape[1], 1))))
        for chunk in torch.split(torch.arange(len(released)), at_once):
            some = replace(released, first=None).take(chunk)
            # The square of what was seen is the same for every picture.
            apart = _seen(some) @ self.squared.T - 2 * self.standard.flat(some) @ self.sent.T
            found.append(self.pictures[apart.argmin(dim=1)])
        return Reconstruction(torch.cat(found))


def _mean(view: AdversaryView, rows: Sequence[Tensor]) -> tuple[Tensor, ...]:
    """What custom stages make of `rows` `[n, *sample_shape]` on average, or in some draws if they do not say."""
    try:
        return view.expected(rows)
    except AttackFailed:
        return view.averaged(rows, ASKED)


def _seen(released: ObservedReleases) -> Tensor:
    """`[n, features]`: 1 where a number was seen, else 0."""
    marks = [
        torch.ones_like(row) if seen is None else seen.to(row.dtype)
        for row, seen in zip(released.rows, released.seen, strict=True)
    ]
    return torch.cat([each.flatten(1) for each in marks], dim=1)


def _tells(images: Tensor, practice: Practice) -> bool:
    """Whether reconstructions `[n, *image_shape]` of held-out images surely tell something of them.

    How far the images of one half are pulled towards the mean, the other half decides: it has not seen them.
    """
    halves, gained = torch.arange(len(images)).chunk(2), []
    for half, other in zip(halves, reversed(halves), strict=True):
        judge = Judge(practice.mean, practice.truth[other], images[other], practice.mean)
        truth = practice.truth[half]
        blank = squared_errors(practice.mean.expand_as(truth), truth)
        gained.append((1 - TELLING) * blank - squared_errors(judge.pulled(images[half]), truth))
    gains = torch.cat(gained)
    return float(gains.mean()) > SURE * float(gains.std()) / math.sqrt(len(gains))
