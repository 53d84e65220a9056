"""The attacks by the names that the command line knows."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from ..records import CollabplanError
from ..records.revisions import Revised, revisions_of
from .audit_keys import PARTS
from .generative import LatentPrior, UntrainedPrior
from .interface import Attack
from .inverse import InverseNetwork
from .likelihood import MaximumLikelihood
from .prior import PriorOnly
from .recognition import Recognition
from .refined import Refined
from .retrieval import Retrieval
from .ridge import KernelRidge, LinearRidge
from .shadow import ShadowModel

ATTACKS: dict[str, Callable[[], Attack]] = {
    "prior": PriorOnly,
    "ridge": LinearRidge,
    "kernel": KernelRidge,
    "retrieval": Retrieval,
    "inverse": InverseNetwork,
    "recognition": Recognition,
    "likelihood": MaximumLikelihood,
    "refined": Refined,
    "latent": LatentPrior,
    "untrained": UntrainedPrior,
    "shadow-same": lambda: ShadowModel(same_architecture=True),
    "shadow-other": lambda: ShadowModel(same_architecture=False),
}

ALWAYS = ("prior", "ridge")
"""Attacks that every set includes: they are cheap, and the leakage index is defined beside them."""


def attack_named(name: str) -> Attack:
    """The attack of this name, with its defaults.

    Raises:
        CollabplanError: no attack has this name; the message lists those that exist.

    Examples:
        >>> attack_named("ridge").threat
        'black-box'
    """
    if name not in ATTACKS:
        raise CollabplanError(
            f"there is no attack {name!r}; known are {', '.join(ATTACKS)}. In Python, pass an instance of your own "
            "(see collabplan.attacks.Attack)"
        )
    return ATTACKS[name]()


def current_revisions(others: Iterable[Revised] = ()) -> dict[str, int]:
    """The revision of every attack, and of everything else that an audit computes.

    Args:
        others: attacks that are not in the catalogue.

    Examples:
        >>> sorted(current_revisions())[:2]
        ['attack:inverse', 'attack:kernel']
    """
    return {
        **revisions_of("attack", [*(make() for make in ATTACKS.values()), *others]),
        **revisions_of("audit", PARTS),
    }
