"""How long the steps of a search take on this machine, by what earlier runs of the same model took.

Durations are kept in a small file for each model. They depend on the machine and on what else runs there, so they
are said with "about", and no result depends on them.
"""

from __future__ import annotations

import json
import statistics
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ..attacks.interface import Effort
from ..attacks.time_limit import Clock
from ..records import write_text

KEPT = 20
"""Durations of one step that are kept, the latest ones."""

TRAININGS = 4.0
"""What the first attack on a winner costs, in trainings of `inverse` with as many steps: a rough figure, until it has
been run here once."""


class Pace:
    """Durations of steps, by the step's name.

    Args:
        folder: where they are kept; None: nowhere.
        model: names the file there.
        clock: tells the seconds.

    Examples:
        >>> now = [0.0]
        >>> pace = Pace(None, "net", clock=lambda: now[0])
        >>> with pace.timed("trial"):
        ...     now[0] += 2.0
        >>> pace.expected("trial"), pace.expected("quick")
        (2.0, None)
    """

    def __init__(self, folder: Path | None, model: str, clock: Clock) -> None:
        self._file = None if folder is None else folder / f"{model[:16]}.json"
        self._clock = clock
        self._known = self._read()

    @contextmanager
    def timed(self, step: str) -> Iterator[None]:
        """Remember how long the step inside takes; a step that is cut off does not count."""
        started = self._clock()
        yield
        self.note(step, self._clock() - started)

    def note(self, step: str, seconds: float) -> None:
        """Remember that a step took so long."""
        self._known[step] = [*self._known.get(step, ()), round(seconds, 3)][-KEPT:]

    def keep(self) -> None:
        """Write what is known into the folder. Raises CollabplanError if that is not possible."""
        if self._file is not None:
            write_text(self._file, json.dumps(self._known) + "\n")

    def expected(self, step: str) -> float | None:
        """The median of a step's durations; None if it was never run here."""
        known = self._known.get(step)
        return statistics.median(known) if known else None

    def _read(self) -> dict[str, list[float]]:
        try:
            found = json.loads((self._file or Path()).read_text(encoding="utf-8"))
            return {str(step): [float(each) for each in durations] for step, durations in found.items()}
        except (OSError, ValueError, TypeError, AttributeError):
            return {}


def suite_s(step_s: float, effort: Effort) -> float:
    """About how long the suite takes from one seed.

    Args:
        step_s: seconds of one training step of `inverse` at the cut.
        effort: of the suite.
    """
    return TRAININGS * effort.train_steps * step_s


def rescaled(seconds: float, measured: Effort, effort: Effort) -> float:
    """How long the suite takes at an effort, by what it took at another: most of the time goes into training steps."""
    return seconds * effort.train_steps / measured.train_steps


def about(seconds: float) -> str:
    """A duration as one says it: `about 40 s`, `about 12 min`, `about 3 h`.

    Examples:
        >>> about(42.3), about(700), about(10_000)
        ('about 42 s', 'about 12 min', 'about 3 h')
    """
    if seconds < 90:
        return f"about {max(1, round(seconds))} s"
    return f"about {round(seconds / 60)} min" if seconds < 5400 else f"about {round(seconds / 3600)} h"
