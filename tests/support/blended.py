"""An attack of known strength on the toy device of the conformance suite, whose release determines the input."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import ClassVar

import torch
from collabplan.attacks import (
    AdversaryView,
    Attacker,
    AttackFailed,
    Effort,
    ObservedReleases,
    Reconstruction,
    Training,
    attack_named,
)
from collabplan.records import Threat
from torch import Tensor

EFFORT = Effort("standard", 24, 80, 6400, 3200, 8, 8, until_converged=True)


@dataclass(frozen=True)
class Blend:
    """The linear reconstruction, as far from the mean image as `strength` says of the steps."""

    name: str
    strength: Callable[[int], float] = field(repr=False)
    fits: list[int] = field(default_factory=list, repr=False)
    breaks: bool = False
    on_targets: float | None = None
    threat: Threat = "black-box"
    revision: ClassVar[int] = 1
    iterated: ClassVar[bool] = True
    per_image: bool = False

    def fit(self, view: AdversaryView, effort: Effort, generator: torch.Generator) -> Attacker:
        self.fits.append(effort.train_steps)
        if self.breaks and effort.train_steps == EFFORT.train_steps:
            raise AttackFailed("the loss is nan")
        inner = attack_named("ridge").fit(view, effort, generator)
        mean = view.pixels(view.training).mean(dim=0)
        return Blended(inner, mean, self.strength(effort.train_steps), self.on_targets)


@dataclass(frozen=True, eq=False)
class Blended:
    inner: Attacker
    mean: Tensor
    factor: float
    on_targets: float | None
    training: Training = field(default_factory=lambda: Training(10))

    def reconstruct(self, released: ObservedReleases, generator: torch.Generator) -> Reconstruction:
        images = self.inner.reconstruct(released, generator).images
        factor = self.on_targets if self.on_targets is not None and len(released) == EFFORT.targets else self.factor
        return Reconstruction((self.mean + factor * (images - self.mean)).clamp(0, 1))


def growing(start: float, gain: float) -> Callable[[int], float]:
    """What is added with every fourfold number of steps."""
    return lambda steps: start + gain * {100: 0, 400: 1, 1600: 2, 6400: 3, 12_800: 3}[steps]
