"""What an attack is given and what it gives back.

An attack is fitted on what its threat model allows: an `AdversaryView`, which refuses anything more. It then
reconstructs private inputs from released activations. It knows the defense, unless it is told to be naive.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, Protocol

import torch
from torch import Tensor

from ..records import CollabplanError, Threat

if TYPE_CHECKING:
    from .adversary_view import AdversaryView
    from .audit_target import ObservedReleases

MIN_OWN = 20
"""The fewest images that an attacker must own."""

OWN = "own"
"""Name of the attacker's images that are of the targets' kind."""

TIERS: tuple[Threat, ...] = ("query-free", "black-box", "white-box")
"""Weakest first. A tier's figure is the maximum over its own and all weaker tiers' attacks."""


class AttackFailed(CollabplanError):
    """The attack could not be carried out: it proves nothing about privacy."""


@dataclass(frozen=True, slots=True)
class Effort:
    """How much work an attack may spend.

    Attributes:
        name: *quick* is always reported as a lower bound.
        targets: images that are reconstructed.
        fit_samples: the attacker's own images that are used, the held-out ones among them.
        train_steps: the most steps of a trained attack.
        iterations: the most steps of an optimisation per image.
        optimised_targets: images that attacks which optimise each image reconstruct.
        width: channels of learned decoders and generators.
        until_converged: train until the held-out loss improves by less than 1 % over the last fifth of the steps.
    """

    name: Literal["quick", "standard", "thorough"]
    targets: int
    fit_samples: int
    train_steps: int
    iterations: int
    optimised_targets: int
    width: int
    until_converged: bool


EFFORTS = {
    "quick": Effort("quick", 500, 3000, 200, 200, 32, 32, False),
    "standard": Effort("standard", 1000, 10_000, 12_000, 2000, 100, 64, True),
    "thorough": Effort("thorough", 1000, 60_000, 60_000, 5000, 200, 96, True),
}


@dataclass(frozen=True, slots=True)
class Training:
    """How fitting or optimising went.

    Attributes:
        steps: that were made.
        losses: held-out losses (or objectives) on the way, evenly spaced.
        converged: the last fifth of the steps improved the loss by less than 1 %; True where nothing is iterated.
    """

    steps: int = 0
    losses: tuple[float, ...] = ()
    converged: bool = True


@dataclass(frozen=True, eq=False)
class Reconstruction:
    """Images in [0, 1], `[n, *shape]`, and how the optimisation went where there was one."""

    images: Tensor
    training: Training = field(default_factory=Training)


class Attacker(Protocol):
    """A fitted attack."""

    @property
    def training(self) -> Training:
        """How fitting went."""

    def reconstruct(self, released: ObservedReleases, generator: torch.Generator) -> Reconstruction:
        """The inputs behind what was released. Raises AttackFailed where it cannot be carried out."""


class Attack(Protocol):
    """One way to recover inputs.

    Attributes:
        name: as on the command line and in tables.
        revision: of the class, raised by whoever changes what it recovers. Results of another revision are not used.
        threat: the weakest tier that permits it.
        per_image: True where every image is optimised by itself, so that only `Effort.optimised_targets` are.
    """

    @property
    def name(self) -> str: ...

    @property
    def revision(self) -> int: ...

    @property
    def threat(self) -> Threat: ...

    @property
    def per_image(self) -> bool: ...

    def fit(self, scene: AdversaryView, effort: Effort, generator: torch.Generator) -> Attacker:
        """Learn what can be learned. Raises AttackFailed where the attack cannot be carried out."""
