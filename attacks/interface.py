"""What an attack is given, and what it returns.

An attack is fitted on what its threat model permits: an `AdversaryView`, which refuses anything more. It then
reconstructs private inputs from released activations. It knows the defense unless it is run as naive.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal, Protocol

import torch
from torch import Tensor

from ..records import Threat
from .adversary_view import AdversaryView
from .release_law import ReleaseLaw
from .releases import ObservedReleases


@dataclass(frozen=True, slots=True)
class Effort:
    """How much work an attack may spend.

    Attributes:
        name: figures of *quick* are always reported as lower bounds.
        targets: images to reconstruct.
        fit_samples: auxiliary images in use, held-out ones included.
        train_steps: the most steps of a trained attack.
        iterations: the most steps of an optimisation per image.
        optimised_targets: images to reconstruct for attacks that optimise each image.
        width: channels of learned decoders and generators.
        until_converged: go on until twice the steps gain less than 0.01 of the index, or the most steps are made.
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
    "quick": Effort("quick", 500, 10_000, 1600, 200, 32, 64, False),
    "standard": Effort("standard", 1000, 10_000, 12_000, 2000, 100, 64, True),
    "thorough": Effort("thorough", 1000, 60_000, 60_000, 5000, 200, 96, True),
}


SEARCHING = Effort("quick", 500, 3000, 200, 200, 32, 32, False)
"""Of each attack that steers a search: an eighth of the quick effort's steps, enough to tell candidates apart."""


@dataclass(frozen=True, slots=True)
class Training:
    """How fitting or optimising went.

    Attributes:
        steps: how many were made.
        losses: held-out losses (or objectives) along the way, evenly spaced.
        converged: twice the steps would gain less than 0.01 of the index on held-out images; True where nothing is
            iterated, False where it was not tried.
    """

    steps: int = 0
    losses: tuple[float, ...] = ()
    converged: bool = True


@dataclass(frozen=True, eq=False)
class Reconstruction:
    """Images in [0, 1], `[n, *image_shape]`, and how their optimisation went, if there was one."""

    images: Tensor
    training: Training = field(default_factory=Training)


class Attacker(Protocol):
    """A fitted attack.

    One that seeks images by the likelihood of the release may keep the `ReleaseLaw` that it goes by as `law`. Where it
    ends below the prior, the judge asks this law whether what it found explains the releases: if it does, the attack
    is not broken, and the release does not determine the image. Without a law an attack below the prior has failed.
    """

    @property
    def training(self) -> Training:
        """How fitting went."""

    def reconstruct(self, released: ObservedReleases, generator: torch.Generator) -> Reconstruction:
        """The inputs behind what was released.

        Args:
            released: of n inputs.
            generator: of every random draw; on the CPU.

        Raises:
            AttackFailed: the reconstruction cannot be carried out.
        """


class Attack(Protocol):
    """One way to recover inputs. `check_attack` tests an implementation.

    Attributes:
        name: as on the command line and in tables.
        revision: of the class, raised by whoever changes what it recovers. Results of another revision are not used.
        threat: the weakest tier that permits it.
        per_image: True where every image is optimised by itself, so only `Effort.optimised_targets` images are.

    To take part in a race (`race.py`), a class also declares `iterated`: True if it makes the effort's steps, so that a
    few of them show how it does; False if it makes none. Without it the attack is always run whole. A class may declare
    `weaker_form_of = "inverse"`, say: it does the same as that attack and sees less, so at equal steps it gets no
    further. Where it fails and that attack ends, only the tiers without that attack are inconclusive.
    """

    @property
    def name(self) -> str: ...

    @property
    def revision(self) -> int: ...

    @property
    def threat(self) -> Threat: ...

    @property
    def per_image(self) -> bool: ...

    def fit(self, view: AdversaryView, effort: Effort, generator: torch.Generator) -> Attacker:
        """Learn what can be learned of the device.

        Args:
            view: all that the attacker may do.
            effort: how much work it may spend.
            generator: of every random draw; on the CPU.

        Raises:
            AttackFailed: the attack cannot be carried out.
        """


def iterated(attack: Attack) -> bool | None:
    """Whether an attack makes steps, of which a race may give it fewer; None if its class does not say."""
    declared = getattr(attack, "iterated", None)
    return None if declared is None else bool(declared)


def law_of(attacker: Attacker) -> ReleaseLaw | None:
    """The likelihood of the release that an attacker goes by; None if it goes by none."""
    law = getattr(attacker, "law", None)
    return law if isinstance(law, ReleaseLaw) else None


def weaker_form_of(attack: Attack) -> str:
    """The name of an attack that does the same and sees more; "" unless its class names one."""
    return str(getattr(attack, "weaker_form_of", ""))
