"""What the undefended network answers, and what its answer alone tells of an image: the mean of its class.

Classes are the network's own answers, not the true labels. They are what a service gives away, and need no labels.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, eq=False)
class Answers:
    """The network's answers on the targets, and the mean image of each class.

    Attributes:
        targets: `[n]`, the classes that it takes the targets for.
        held: `[m]`, those of the attacker's held-out images.
        means: `[classes, *image_shape]`, the attacker's mean image of each class; of all where it has none of a class.
    """

    targets: Tensor
    held: Tensor
    means: Tensor


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
