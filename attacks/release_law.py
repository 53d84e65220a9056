"""The likelihood of a release under the actual defense: what white-box attacks fit images to.

A number that was seen counts in full. A zero that dropout may have made counts by the probability that it is a true
one. Under noise the release's expectation is compared.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import Tensor

from .adversary_view import AdversaryView
from .features import ZERO_IMAGES, kept_shares, zero_weights
from .releases import ObservedReleases
from .threat import AttackFailed

T = TypeVar("T")


@dataclass(frozen=True, eq=False)
class ReleaseLaw:
    """What a white-box attacker knows of releases at one (cut, defense).

    Attributes:
        view: the attacker's.
        clean: undefended rows of some auxiliary images.
        scales: per private crossing, the variance that squared deviations are divided by.
        first_alone: of near-duplicates' releases, the first one alone is to be explained.

    Examples:
        >>> from collabplan.attacks import AdversaryView
        >>> from collabplan.attacks.conformance import toy_data, toy_device
        >>> view = AdversaryView(toy_device(), toy_data()[-1], "white-box")
        >>> released = view.query(view.held_out, torch.Generator().manual_seed(0))
        >>> float(ReleaseLaw.of(view).misfits(released, view.pixels(view.held_out)).max()) < 1e-6
        True
    """

    view: AdversaryView
    clean: tuple[Tensor, ...]
    scales: tuple[float, ...]
    first_alone: bool = False

    @classmethod
    def of(cls, view: AdversaryView) -> ReleaseLaw:
        """Query the device with auxiliary images.

        Raises:
            AttackFailed: the attacker is not white-box, nothing varies at the cut, or no gradient tells how it varies.
        """
        view.require("white-box", "use the likelihood of a release")
        images = view.training.take(torch.arange(min(ZERO_IMAGES, len(view.training))))
        clean = view.ask(images)
        scales = [float(row.float().var(dim=0, unbiased=False).mean()) for row in view.typical(clean)]
        if not any(scales):
            raise AttackFailed("what crosses is the same for every input, so no gradient leads back to it")
        view.require_gradients()
        view.expected(clean)
        return cls(view, clean, tuple(scale or 1.0 for scale in scales))

    def against(self, released: ObservedReleases) -> ReleaseLoss:
        """The loss of images given these releases."""
        if self.first_alone:
            assert released.first is not None  # these are of near-duplicates
            released = released.first
        device = self.view.device
        weights = [None if w is None else w.to(device) for w in zero_weights(self.view, self.clean, released)]
        rows = tuple(row.to(device) for row in released.rows)
        return ReleaseLoss(self.view, released, rows, weights, self.scales, kept_shares(self.view))

    def by_batch(self, released: ObservedReleases, run: Callable[[ReleaseLoss, slice], T]) -> list[T]:
        """What `run` gives for each batch: its loss and its place, with as many inputs as the device takes at once."""

        def batch(some: slice) -> T:
            return run(self.against(released.take(torch.arange(some.start, some.stop))), some)

        return list(self.view.target.batch.over(len(released), batch))

    @torch.no_grad()
    def misfits(self, released: ObservedReleases, images: Tensor) -> Tensor:
        """How badly each image explains its release.

        Args:
            released: of n inputs, as the attacker reads it.
            images: `[n, *image_shape]` in [0, 1].

        Returns:
            `[n]` on the CPU: mean squared deviation over the variance, about 1 at the mean image.
        """
        device = self.view.device
        return torch.cat(self.by_batch(released, lambda loss, some: loss(images[some].to(device)).cpu()))


@dataclass(frozen=True, eq=False)
class ReleaseLoss:
    """How badly images explain what was released. Made by `ReleaseLaw.against`."""

    view: AdversaryView
    released: ObservedReleases
    rows: tuple[Tensor, ...]
    weights: Sequence[Tensor | None]
    scales: Sequence[float]
    keep: Sequence[float]

    def __call__(self, pixels: Tensor) -> Tensor:
        """`[n, *image_shape]` in [0, 1], at most one batch -> `[n]`: mean squared deviation over the variance."""
        crossed = self.view.expected(self.view.edge(pixels, self.released.public))
        total: Tensor | None = None
        for row, wanted, weight, scale, keep in zip(
            crossed, self.rows, self.weights, self.scales, self.keep, strict=True
        ):
            deviation = (row * keep - wanted).square() / scale
            if weight is not None:
                deviation = deviation * weight
            found = deviation.flatten(1).sum(dim=1)
            total = found if total is None else total + found
        assert total is not None  # every target has a private crossing
        return total / sum(row[0].numel() for row in self.rows)

    def require_live_gradient(self, pixels: Tensor) -> None:
        """Refuse a cut that no gradient crosses. Raises AttackFailed."""
        probe = pixels.detach().clone().requires_grad_(True)
        loss = self(probe).sum()
        gradient = torch.autograd.grad(loss, probe, allow_unused=True)[0] if loss.requires_grad else None
        if gradient is None or not bool(torch.isfinite(gradient).all()) or not bool(gradient.any()):
            raise AttackFailed("no gradient reaches the input from the cut: a dead gradient is no privacy")
