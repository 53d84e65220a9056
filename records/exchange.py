"""Finished files that several machines may share: what is expensive is made once."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol


class Exchange(Protocol):
    """Shares files that are named by their content's origin, so that equal names hold equal results."""

    def fetch(self, place: Path) -> None:
        """Bring a file here, if another machine has finished it. `place` is left alone if it exists."""

    def offer(self, place: Path) -> None:
        """Let other machines have a file that was finished here."""


class Alone:
    """Shares nothing."""

    def fetch(self, place: Path) -> None:
        """Nothing comes."""

    def offer(self, place: Path) -> None:
        """Nothing goes."""


ALONE: Exchange = Alone()
