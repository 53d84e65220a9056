"""How a workflow says what it is doing: progress, notes and warnings, to whoever runs it.

A workflow knows no terminal. The command line passes its own reporter, a notebook another; `Silent` says nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from ..targets.target import Finding


class Advance(Protocol):
    """Moves one progress display."""

    def __call__(self, done: float, total: float, what: str = "") -> None:
        """`done` of `total` units; `what` names the part at hand."""


class Reporter(Protocol):
    """Hears what a workflow does, while it does it."""

    def progress(self, what: str, *, counted: bool = False, timed: bool = False) -> AbstractContextManager[Advance]:
        """Show one step of work for as long as the context is open.

        Args:
            what: names the step, `loading model.py` for example.
            counted: the step calls `advance`.
            timed: it times something, so nothing may be drawn between the calls.
        """

    def note(self, text: str, findings: Sequence[Finding] = ()) -> None:
        """Say something that the user should know; with `findings`, `text` is their heading."""

    def warning(self, text: str) -> None:
        """Say something that may make a result wrong or expose data."""


class Silent:
    """Says nothing.

    Examples:
        >>> with Silent().progress("profiling", counted=True) as advance:
        ...     advance(1, 2)
    """

    @contextmanager
    def progress(self, what: str, *, counted: bool = False, timed: bool = False) -> Iterator[Advance]:  # noqa: ARG002
        """Show nothing."""
        yield lambda done, total, what="": None  # noqa: ARG005

    def note(self, text: str, findings: Sequence[Finding] = ()) -> None:
        """Drop it."""

    def warning(self, text: str) -> None:
        """Drop it."""
