"""The attacks by name."""

from __future__ import annotations

from collections.abc import Callable

from ..records import CollabplanError
from .generative import LatentPrior, UntrainedPrior
from .interface import Attack
from .inverse import InverseNetwork
from .likelihood import MaximumLikelihood
from .prior import PriorOnly
from .ridge import KernelRidge, LinearRidge
from .shadow import ShadowModel

ATTACKS: dict[str, Callable[[], Attack]] = {
    "prior": PriorOnly,
    "ridge": LinearRidge,
    "kernel": KernelRidge,
    "inverse": InverseNetwork,
    "likelihood": MaximumLikelihood,
    "latent": LatentPrior,
    "untrained": UntrainedPrior,
    "shadow-same": lambda: ShadowModel(same_architecture=True),
    "shadow-other": lambda: ShadowModel(same_architecture=False),
}

ALWAYS = ("prior", "ridge")
"""Attacks that belong to every set: cheap, and the index is defined beside them."""


def attack_named(name: str) -> Attack:
    """The attack of that name. Raises CollabplanError with the names that there are."""
    if name not in ATTACKS:
        raise CollabplanError(
            f"there is no attack {name!r}; there are {', '.join(ATTACKS)} (in Python, pass any instance of Attack)"
        )
    return ATTACKS[name]()
