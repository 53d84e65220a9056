"""How far attackers are in a race: their figures on images that are no targets."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from .metrics import LEAST_ERROR, Judge, recognised, reidentified, squared_errors
from .similarity import ssim
from .views import View, within

UPPER = 3.0
"""Standard errors from a figure to its upper end, where a dozen attackers share the level."""


@dataclass(frozen=True)
class Standing:
    """How an attacker does on images of the targets' kind that are no targets.

    Attributes:
        figures: by name, what each image adds to a figure, which is their mean. An index is 1 - error / the mean error
            of the mean image; of a share each image is 0 or 1.
        targets: how many targets the attacker will be judged on.

    Examples:
        >>> Standing({"index": (0.5, 0.7)}, targets=100).reached("index", 2)
        0.6
    """

    figures: Mapping[str, tuple[float, ...]]
    targets: int

    def reached(self, figure: str, count: int) -> float:
        """A figure of the first `count` images."""
        return sum(self.figures[figure][:count]) / count

    def leeway(self, figure: str) -> float:
        """How far above a figure its upper end will lie, about."""
        values = torch.tensor(self.figures[figure], dtype=torch.float64)
        return UPPER * float(values.std(unbiased=False)) / math.sqrt(self.targets)


@dataclass(frozen=True, eq=False)
class Course:
    """The images that a race is run on.

    Attributes:
        images: `[m, *image_shape]`.
        gallery: `[g, *image_shape]`: it begins with these, and has as many more as an audit's gallery.
        mean: `[*image_shape]`, the mean of the attacker's images.
        region: as an audit's.
        kept: from reconstructions `[k, *image_shape]` of the first k images to `[k]`, 1 where the network keeps its
            answer; None where it gives no class scores.
    """

    images: Tensor
    gallery: Tensor
    mean: Tensor
    region: Tensor | None = None
    kept: Callable[[Tensor], Tensor | None] = lambda _: None

    def standing(self, made: Tensor, targets: int) -> Standing | None:
        """Of reconstructions `[k, *image_shape]` of the first k images; None if they are not finite."""
        if not bool(torch.isfinite(made).all()):
            return None
        truth = self.images[: len(made)]
        figures = {"index": self._indices(made)}
        similar = ssim(made, truth)
        if similar is None:
            figures["reidentified"] = reidentified(made, self.gallery)
        else:
            figures["ssim"] = similar
            figures["reconstructed"] = recognised(made, truth, self.gallery)
        if self.region is not None and truth.ndim == 4:
            figures["region"] = self._indices(made, within(self.region))
        answers = self.kept(made)
        if answers is not None:
            figures["consistency"] = answers
        return Standing({name: tuple(values.tolist()) for name, values in figures.items()}, targets)

    def _indices(self, made: Tensor, view: View = lambda images: images) -> Tensor:
        """What each image adds to the index of what `view` shows, after the pull towards the mean."""
        made, every, mean = view(made), view(self.images), view(self.mean[None])[0]
        truth = every[: len(made)]
        pulled = Judge(mean, truth, made, mean).pulled(made)
        # The same for all attackers, however many of the images each of them tries.
        blank = squared_errors(mean.expand_as(every), every).mean().clamp(min=LEAST_ERROR)
        return 1 - squared_errors(pulled, truth) / blank
