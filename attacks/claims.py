"""How machines that audit the same plan divide the attacks: each claims one before it begins.

A machine takes the next attack that nobody else is at. Where others are at all that is left, it waits for one of them:
until it can fetch the result, or, if that machine has died, runs the attack itself.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from ..records import Exchange
from .time_limit import check_time

J = TypeVar("J")

POLL_S = 2.0
"""Between two looks whether another machine has finished."""


@contextmanager
def turn(place: Path | None, exchange: Exchange, sleep: Callable[[float], None] = time.sleep) -> Iterator[None]:
    """Lets one machine at a time make a file; the others wait here, and then find it finished.

    Look inside whether the file can be fetched, and offer it there: a file is complete before the next machine looks.

    Args:
        place: the file; None: nothing is kept, and so nothing shared. A file that is here needs no claim.
        exchange: where machines claim.
        sleep: waits so many seconds.

    Raises:
        TimeUp: a deadline has passed while another machine made it.

    Examples:
        >>> from collabplan.records import ALONE
        >>> with turn(None, ALONE):
        ...     print("nobody else")
        nobody else
    """
    if place is None or place.is_file():
        yield
        return
    while not exchange.reserve(place):
        check_time()
        sleep(POLL_S)
    try:
        yield
    finally:
        exchange.release(place)


def free_first(jobs: Sequence[J], place: Callable[[J], Path | None], exchange: Exchange) -> Iterator[J]:
    """Each job once: the first that no other machine is at, as long as there is one. It is claimed when it is given.

    Args:
        jobs: what several machines do, in the order in which one alone would.
        place: the file that a job makes; None: nothing is kept.
        exchange: where machines claim.
    """
    left = list(jobs)
    while left:
        at, claimed = next(
            ((at, where) for at, job in enumerate(left) if _is_free(where := place(job), exchange)), (0, None)
        )
        try:
            yield left.pop(at)
        finally:
            if claimed is not None:
                exchange.release(claimed)


def _is_free(place: Path | None, exchange: Exchange) -> bool:
    """Whether the file is here, or is ours to make from now on."""
    return place is None or place.is_file() or exchange.reserve(place)
