"""An attack of somebody else's: answers with the attacker's own image whose release is nearest."""

from dataclasses import dataclass, field
from typing import ClassVar

import torch
from collabplan.attacks import AdversaryView, Effort, ObservedReleases, Reconstruction, Training
from collabplan.records import Threat
from torch import Tensor


@dataclass(frozen=True)
class NearestImage:
    revision: ClassVar[int] = 1
    neighbours: int = 5
    name: str = "nearest-image"
    threat: Threat = "black-box"
    per_image: bool = False

    def fit(self, view: AdversaryView, effort: Effort, generator: torch.Generator) -> "Fitted":
        view = view.limited(effort.fit_samples)
        released = view.query(view.training, generator)
        return Fitted(released.rows[0].flatten(1), view.pixels(view.training), self.neighbours)


@dataclass(frozen=True, eq=False)
class Fitted:
    rows: Tensor
    images: Tensor
    neighbours: int
    training: Training = field(default_factory=Training)

    def reconstruct(self, released: ObservedReleases, generator: torch.Generator) -> Reconstruction:  # noqa: ARG002
        apart = torch.cdist(released.rows[0].flatten(1), self.rows)
        nearest = apart.topk(self.neighbours, largest=False).indices
        return Reconstruction(self.images[nearest].mean(dim=1))
