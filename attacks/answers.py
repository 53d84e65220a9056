"""What the undefended network answers: whether it takes a reconstruction for the original, and what a label tells.

Classes are the network's own answers, not the true labels. They are what a service gives away, and need no labels.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from ..estimators.activations import graph_arguments
from ..targets.data import Data
from .audit_target import AuditTarget


@dataclass(frozen=True, eq=False)
class Answers:
    """The network's answers on the targets, and the mean image of each class.

    Attributes:
        targets: `[n]`, the classes that it takes the targets for.
        held: `[m]`, those of the attacker's held-out images.
        means: `[classes, *image_shape]`, the attacker's mean image of each class; of all where it has none of a class.
        ask: from reconstructions `[k, *image_shape]` of the first k targets to the classes `[k]` that these are taken
            for.
    """

    targets: Tensor
    held: Tensor
    means: Tensor
    ask: Callable[[Tensor], Tensor]

    def consistent(self, images: Tensor) -> Tensor:
        """`[k, *image_shape]` -> `[k]` float64: 1 where a reconstruction is taken for its original's class."""
        return (self.ask(images) == self.targets[: len(images)]).double()


@torch.no_grad()
def answers(target: AuditTarget, data: Data) -> Tensor | None:
    """The classes `[n]` that the undefended network takes `data` for; None if its first output is no class scores."""
    size = 1 if target.traced.mixed_at is not None else target.batch_size
    found = []
    for batch in data.batches(size):
        arguments = graph_arguments(target.traced, batch, batch_size=target.batch_size, device=target.device)
        scores = target.traced.flat(*arguments)[0]
        if not isinstance(scores, Tensor) or not scores.is_floating_point():
            return None
        if scores.ndim != 2 or scores.shape[1] < 2 or len(scores) < len(batch):
            return None
        found.append(scores[: len(batch)].argmax(dim=1).cpu())
    return torch.cat(found)


def class_means(images: Tensor, classes: Tensor) -> Tensor:
    """The mean image of each class.

    Args:
        images: `[n, *image_shape]`.
        classes: `[n]`, from 0.

    Returns:
        `[classes, *image_shape]`; of a class without images, the mean of all.
    """
    count = int(classes.max()) + 1
    found = images.mean(dim=0, keepdim=True).repeat(count, *[1] * (images.ndim - 1))
    for each in sorted(set(classes.tolist())):
        found[each] = images[classes == each].mean(dim=0)
    return found


def of_classes(means: Tensor, classes: Tensor, otherwise: Tensor) -> Tensor:
    """The mean image of each of `classes` `[n]`, `[n, *image_shape]`; `otherwise` for classes that `means` lacks."""
    known = classes < len(means)
    found = means[classes.clamp(max=len(means) - 1)].clone()
    found[~known] = otherwise
    return found


def of_the_same_class(images: Tensor, classes: Tensor, wanted: Tensor, generator: torch.Generator) -> Tensor:
    """For each of `wanted` `[n]` a random one of `images` `[m, *image_shape]` whose class in `classes` `[m]` it is.

    Any image where there is none of the class.
    """
    scores = torch.rand(len(wanted), len(images), generator=generator)
    scores += (wanted[:, None] == classes[None, :]).float()
    return images[scores.argmax(dim=1)]
