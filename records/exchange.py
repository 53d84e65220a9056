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

    def reserve(self, place: Path) -> bool:
        """Claim that the file is made here. False while another machine has claimed it and shows that it lives."""

    def release(self, place: Path) -> None:
        """Give a claim up, once the file was offered or will not be made. Nothing where there is no claim."""


class Alone:
    """The exchange of a single machine: it shares nothing."""

    def fetch(self, place: Path) -> None:
        """No other machine has a file."""

    def offer(self, place: Path) -> None:
        """No other machine wants a file."""

    def reserve(self, place: Path) -> bool:  # noqa: ARG002
        """No other machine makes one."""
        return True

    def release(self, place: Path) -> None:
        """No other machine waits."""


ALONE: Exchange = Alone()
