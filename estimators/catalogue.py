"""The estimators of mutual information by the names that the command line knows."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from ..records import CollabplanError
from ..records.revisions import Revised, revisions_of
from .combined import COMBINED_INDEX
from .controls import CONTROLS
from .fisher import FISHER
from .interface import Estimator
from .inversion import INVERSION
from .kde import Kde
from .ksg import Ksg
from .logdet import LogDet
from .mine import Mine
from .ridge import RIDGE_INDEX
from .sandwich import SANDWICH_BOUNDS, Sandwich
from .token_recovery import TOKEN_RECOVERY

ESTIMATORS: dict[str, Callable[[], Estimator]] = {
    "kde": Kde,
    "sandwich": Sandwich,
    "logdet": LogDet,
    "ksg": Ksg,
    "mine": Mine,
}

PARTS = (RIDGE_INDEX, INVERSION, COMBINED_INDEX, TOKEN_RECOVERY, SANDWICH_BOUNDS, FISHER, CONTROLS)
"""What a leakage result is computed by beside the estimators."""


def estimator_named(name: str) -> Estimator:
    """The estimator of this name, with its defaults.

    Raises:
        CollabplanError: no estimator has this name; the message lists those that exist.

    Examples:
        >>> estimator_named("kde").revision
        1
    """
    if name not in ESTIMATORS:
        raise CollabplanError(
            f"there is no estimator {name!r}; known are {', '.join(ESTIMATORS)}. In Python, pass an instance of your "
            "own (see collabplan.estimators.Estimator)"
        )
    return ESTIMATORS[name]()


def current_revisions(others: Iterable[Revised] = ()) -> dict[str, int]:
    """The revision of every estimator, and of everything else that a leakage result is computed by.

    Args:
        others: estimators that are not in the catalogue.

    Examples:
        >>> [name for name in current_revisions() if name.startswith("leakage:")][0]
        'leakage:combined-index'
    """
    return {
        **revisions_of("estimator", [*(make() for make in ESTIMATORS.values()), *others]),
        **revisions_of("leakage", PARTS),
    }
