"""The likelihood of a release under the actual defense: what white-box attacks fit images to.

Numbers that were seen count in full, zeros that dropout may have made by how probably they are true ones; under noise
the release's expectation is compared.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from .adversary_view import AdversaryView
from .audit_target import ObservedReleases
from .features import ZERO_IMAGES, zero_weights
from .interface import AttackFailed


@dataclass(frozen=True, eq=False)
class ReleaseLaw:
    """What a white-box attacker knows of releases at one (cut, defense).

    Attributes:
        scene: the device.
        clean: undefended rows of some of its own images.
        scales: per private crossing, the variance that deviations are counted in.
    """

    scene: AdversaryView
    clean: tuple[Tensor, ...]
    scales: tuple[float, ...]

    @classmethod
    def of(cls, scene: AdversaryView) -> ReleaseLaw:
        """Asks the device about own images.

        Raises:
            AttackFailed: the scene does not permit it, nothing varies, or gradients do not tell how.
        """
        scene.require("white-box", "use the likelihood of a release")
        images = scene.training.take(torch.arange(min(ZERO_IMAGES, len(scene.training))))
        clean = scene.ask(images)
        scales = [float(row.float().var(dim=0, unbiased=False).mean()) for row in scene.typical(clean)]
        if not any(scales):
            raise AttackFailed("what crosses is the same for every input, so no gradient leads back to it")
        scene.require_gradients()
        scene.expected(clean)
        return cls(scene, clean, tuple(scale or 1.0 for scale in scales))

    def against(self, released: ObservedReleases) -> ReleaseLoss:
        """The loss of images given these releases."""
        defense, device = self.scene.believed.tail, self.scene.device
        keep = [
            1 - defense.rate if defense.drops(crossing) and defense.noises(crossing) else 1.0
            for crossing in defense.crossing
        ]
        weights = [None if w is None else w.to(device) for w in zero_weights(self.scene, self.clean, released)]
        return ReleaseLoss(self.scene, released, tuple(row.to(device) for row in released.rows), weights,
                           self.scales, keep)  # fmt: skip


@dataclass(frozen=True, eq=False)
class ReleaseLoss:
    """How badly images explain what was released. Made by `ReleaseLaw.against`."""

    scene: AdversaryView
    released: ObservedReleases
    rows: tuple[Tensor, ...]
    weights: Sequence[Tensor | None]
    scales: Sequence[float]
    keep: Sequence[float]

    def __call__(self, pixels: Tensor) -> Tensor:
        """`[n, *image_shape]` in [0, 1], n at most a batch -> `[n]`: mean squared deviation over the variance."""
        crossed = self.scene.expected(self.scene.edge(pixels, self.released.public))
        total: Tensor | None = None
        for row, wanted, weight, scale, keep in zip(
            crossed, self.rows, self.weights, self.scales, self.keep, strict=True
        ):
            deviation = (row * keep - wanted).square() / scale
            if weight is not None:
                deviation = deviation * weight
            found = deviation.flatten(1).sum(dim=1)
            total = found if total is None else total + found
        assert total is not None  # a scene has at least one private crossing
        return total / sum(row[0].numel() for row in self.rows)

    def require_live_gradient(self, pixels: Tensor) -> None:
        """Refuse a cut that no gradient crosses. Raises AttackFailed."""
        probe = pixels.detach().clone().requires_grad_(True)
        loss = self(probe).sum()
        gradient = torch.autograd.grad(loss, probe, allow_unused=True)[0] if loss.requires_grad else None
        if gradient is None or not bool(torch.isfinite(gradient).all()) or not bool(gradient.any()):
            raise AttackFailed("no gradient reaches the input from the cut: a dead gradient is no privacy")
