"""Black-box: the best linear reconstruction, in dual form, trained on queried pairs under the defense."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

from ...records import Threat
from .features import Standard
from .interface import Attacker, Effort, Reconstruction, Training
from .linear_paths import MOST_SAMPLES, dual_ridge
from .scene import Scene
from .victim import Released

MOST_NUMBERS = 2e8
"""Of training rows held at once: 0.8 GB."""

CHUNK = 500


@dataclass(frozen=True, slots=True)
class LinearRidge:
    """The attack."""

    name: str = "ridge"
    threat: Threat = "black-box"
    per_image: bool = False

    def fit(self, scene: Scene, effort: Effort, generator: torch.Generator) -> Attacker:  # noqa: ARG002
        """Solves for the attacker's own images; the penalty is chosen on held-out ones."""
        width = sum(row[0].numel() for row in scene.ask(scene.held_out.take(torch.arange(1))))
        most = min(MOST_SAMPLES, max(20, int(MOST_NUMBERS / max(width, 1))), len(scene.training))
        data = scene.training.take(torch.arange(most))
        clean = scene.ask(data)
        standard = Standard.of(clean)
        rows = _flat(standard, scene.release(clean, data, generator))
        images = scene.pixels(data).flatten(1)
        centre, mean = rows.mean(dim=0), images.mean(dim=0)
        rows -= centre
        held, truth = scene.query(scene.held_out, generator), scene.pixels(scene.held_out).flatten(1)
        weights = dual_ridge(rows, images - mean, _flat(standard, held) - centre, truth - mean)
        return _Fitted(standard, rows, centre, mean, weights, scene.image_shape)


@dataclass(frozen=True, eq=False)
class _Fitted:
    standard: Standard
    rows: Tensor
    centre: Tensor
    mean: Tensor
    weights: Tensor
    shape: tuple[int, ...]
    training: Training = field(default_factory=Training)

    def reconstruct(self, released: Released, generator: torch.Generator) -> Reconstruction:  # noqa: ARG002
        parts = []
        for chunk in torch.split(torch.arange(len(released)), CHUNK):
            across = (_flat(self.standard, released.take(chunk)) - self.centre) @ self.rows.T
            parts.append((self.mean + across @ self.weights).clamp(0, 1).reshape(-1, *self.shape))
        return Reconstruction(torch.cat(parts))


def _flat(standard: Standard, released: Released) -> Tensor:
    return torch.cat([rows.flatten(1) for rows in standard(released, torch.device("cpu"))], dim=1)
