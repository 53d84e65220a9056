"""The estimators of mutual information by the names that the command line knows."""

from __future__ import annotations

from collections.abc import Callable

from ..records import CollabplanError
from .interface import Estimator
from .kde import Kde
from .ksg import Ksg
from .logdet import LogDet
from .mine import Mine
from .sandwich import Sandwich

ESTIMATORS: dict[str, Callable[[], Estimator]] = {
    "kde": Kde,
    "sandwich": Sandwich,
    "logdet": LogDet,
    "ksg": Ksg,
    "mine": Mine,
}


def estimator_named(name: str) -> Estimator:
    """The estimator of this name with its defaults.

    Raises:
        CollabplanError: no such name; it lists those there are.
    """
    if name not in ESTIMATORS:
        raise CollabplanError(
            f"there is no estimator {name!r}; known are {', '.join(ESTIMATORS)}. Your own is passed as an instance "
            "(see collabplan.estimators.interface.Estimator)"
        )
    return ESTIMATORS[name]()
