"""Reporters for Python: progress that a notebook shows, and log records elsewhere."""

from __future__ import annotations

import html
import logging
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Protocol

from ..targets.target import Finding
from .reporter import Advance, Reporter, Silent

REDRAW_S = 0.2
"""Shortest time between two drawings of a bar."""

_LOG = logging.getLogger("collabplan")


class Shown(Protocol):
    """An output of a notebook that can be replaced; see `IPython.display.DisplayHandle`."""

    def update(self, shown: Any) -> None:
        """Show something else in its place."""


Display = Callable[[str], Shown]
"""Shows HTML in the notebook."""


class Logged(Silent):
    """Writes notes and warnings to the logger `collabplan`; notes show if its level is INFO."""

    def note(self, text: str, findings: Sequence[Finding] = ()) -> None:
        """Log at level INFO."""
        _LOG.info("%s", _plain(text, findings))

    def warning(self, text: str) -> None:
        """Log at level WARNING."""
        _LOG.warning("%s", text)


class Notebook:
    """Shows progress bars, notes and warnings in the notebook's output.

    Args:
        display: shows HTML; default: IPython's.
    """

    def __init__(self, display: Display | None = None) -> None:
        self._display = display or _ipython_display

    @contextmanager
    def progress(self, what: str, *, counted: bool = False, timed: bool = False) -> Iterator[Advance]:  # noqa: ARG002
        """A bar that goes away when the step ends; a step that does not count has a bar without length."""
        step, shown = what, self._display(_bar(what, None))
        drawn = time.monotonic()

        def advance(done: float, total: float, what: str = "") -> None:
            nonlocal drawn
            if time.monotonic() - drawn >= REDRAW_S or done >= total:
                drawn = time.monotonic()
                shown.update(_bar(f"{step} {what}".strip(), done / total if total else 0.0))

        try:
            yield advance if counted else _unmoved
        finally:
            shown.update("")

    def note(self, text: str, findings: Sequence[Finding] = ()) -> None:
        """Show a note; findings as a list under it."""
        items = "".join(f"<li>{html.escape(each.what)} {html.escape(each.how)}</li>" for each in findings)
        self._display(f"<div>{html.escape(text)}</div>" + (f"<ul>{items}</ul>" if items else ""))

    def warning(self, text: str) -> None:
        """Show a warning."""
        self._display(f"<div><b>WARNING</b>: {html.escape(text)}</div>")


def usual_reporter() -> Reporter:
    """`Notebook` within a notebook, else `Logged`."""
    shell = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
    return Notebook() if type(shell).__name__ == "ZMQInteractiveShell" else Logged()


def _unmoved(done: float, total: float, what: str = "") -> None:
    """A step that does not count."""


def _bar(text: str, share: float | None) -> str:
    filled = "" if share is None else f' value="{share:.4f}" max="1"'
    return f"<div><progress{filled}></progress> {html.escape(text)}</div>"


def _plain(text: str, findings: Sequence[Finding]) -> str:
    return "; ".join([text, *(f"{each.what}: {each.how}" for each in findings)])


def _ipython_display(shown: str) -> Shown:
    from IPython.display import HTML, display  # type: ignore[import-not-found]

    handle = display(HTML(shown), display_id=True)

    class Handle:
        def update(self, shown: Any) -> None:
            handle.update(HTML(shown))

    return Handle()
