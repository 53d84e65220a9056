"""Finished files that several machines share, so that expensive results are computed once."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol


class Exchange(Protocol):
    """Shares files whose names are derived from all that their content depends on: equal names, equal content."""

    def fetch(self, place: Path) -> None:
        """Copy a file to `place` if another machine has finished it. An existing file stays."""

    def offer(self, place: Path) -> None:
        """Make a file that was finished here available to other machines."""


class Alone:
    """The exchange of a single machine: it shares nothing."""

    def fetch(self, place: Path) -> None:
        """No other machine has a file."""

    def offer(self, place: Path) -> None:
        """No other machine wants a file."""


ALONE: Exchange = Alone()
