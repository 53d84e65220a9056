"""The attacker who ignores the release and answers with the mean auxiliary image. Figures are measured against it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

import torch
from torch import Tensor

from ..records import Threat
from .adversary_view import AdversaryView
from .interface import Attacker, Effort, Reconstruction, Training
from .releases import ObservedReleases


@dataclass(frozen=True, slots=True)
class PriorOnly:
    """The mean image."""

    revision: ClassVar[int] = 1
    iterated: ClassVar[bool] = False
    name: str = "prior"
    threat: Threat = "query-free"
    per_image: bool = False

    def fit(self, view: AdversaryView, effort: Effort, generator: torch.Generator) -> Attacker:  # noqa: ARG002
        """The mean of the auxiliary images for training."""
        return _Mean(view.pixels(view.training).mean(dim=0))


@dataclass(frozen=True, eq=False)
class _Mean:
    image: Tensor
    training: Training = field(default_factory=Training)

    def reconstruct(self, released: ObservedReleases, generator: torch.Generator) -> Reconstruction:  # noqa: ARG002
        return Reconstruction(self.image.expand(len(released), *self.image.shape).clone())
