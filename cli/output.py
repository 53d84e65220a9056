"""Where output goes: tables and findings, one JSON document, progress bars.

Without `--json`, results go to stdout and progress to stderr. With it, stdout holds the one document and
everything else goes to stderr. Progress shows on terminals only, once a step has taken a second.

Sentences wrap at the terminal's width. Without a terminal each is one line, for `grep`, unless `COLUMNS` says how wide
lines may be. Tables fit 80 columns.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from threading import Event, RLock, Thread
from typing import TYPE_CHECKING, Any

from rich.console import Console, RenderableType
from rich.markup import escape
from rich.progress import (
    BarColumn,
    Progress,
    SpinnerColumn,
    Task,
    TaskProgressColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Table
from rich.text import Text

from ..records.printable import without_escapes
from ..workflows.reporter import Advance
from .tables import middle

if TYPE_CHECKING:
    from ..records import Record
    from ..targets.target import Finding

PATIENCE_S = 1.0
"""How long a step may take before its progress bar appears."""

REDRAW_S = 0.2

BEAT_S = 1.0
"""On a terminal, how often a bar is drawn whose step counts nothing for minutes, as while an attack trains."""

BAR_WIDTH, SHORTEST_NAME = 52, 20
"""Columns that a bar takes with its times, and what is left at least for the name of the part at hand."""

LINE_S = 60.0
"""Without a terminal (nohup, a log file) a step says every so often how far it is, also while it counts nothing."""


class _Results(Console):
    """Prints text without the escapes that may be in it: names and notes come out of files and from servers.

    It goes on in silence where the reader has left (`| head`): what a command makes is wanted all the same.
    """

    def render_str(self, text: str, **options: Any) -> Text:
        """Text out of a string, as the console prints it and tables hold it."""
        return super().render_str(without_escapes(text), **options)

    def on_broken_pipe(self) -> None:
        self.quiet = True
        os.dup2(os.open(os.devnull, os.O_WRONLY), self.file.fileno())


class _TimeLeft(TimeRemainingColumn):
    """`0:12:30 left`; nothing as long as it is unknown, since a time alone is the one elapsed."""

    def render(self, task: Task) -> Text:
        if task.time_remaining is None or task.finished:
            return Text("")
        return Text.assemble(super().render(task), " left")


class Output:
    """The two streams of one command."""

    def __init__(self, *, as_json: bool = False) -> None:
        self.as_json = as_json
        self._stdout = sys.stdout
        self.results = _Results(file=sys.stderr if as_json else sys.stdout, highlight=False)
        self.stderr = Console(file=sys.stderr, highlight=False)
        self._wraps = self.results.is_terminal or "COLUMNS" in os.environ
        self._drawing = RLock()
        self._shown: Progress | None = None

    def show(self, *renderables: RenderableType) -> None:
        """Print tables or prepared text among the results."""
        for renderable in renderables:
            self._print(renderable)

    def say(self, text: str) -> None:
        """Print plain text among the results; brackets in it are not markup."""
        self._print(escape(text), soft_wrap=not self._wraps)

    def note(self, text: str, findings: Sequence[Finding] = ()) -> None:
        """Print what a workflow found; with `findings`, `text` is their heading."""
        if not findings:
            self.say(text)
            return
        table = Table.grid(padding=(0, 2))
        table.add_column(style="dim", no_wrap=True)
        table.add_column(overflow="fold")
        for finding in findings:
            table.add_row(escape(finding.what), escape(finding.how))
        self.show(f"[bold]{escape(text)}[/bold]", table)

    def warning(self, text: str) -> None:
        """Print what may make a result wrong or expose data."""
        self.say(f"WARNING: {text}")

    def document(self, value: Record | dict[str, Any]) -> None:
        """Print the one JSON document, where `--json` asked for it."""
        if not self.as_json:
            return
        text = (
            json.dumps(value, indent=1, allow_nan=False) if isinstance(value, dict) else value.model_dump_json(indent=1)
        )
        if (self._stdout.encoding or "").lower().replace("-", "") != "utf8":
            text = "".join(letter if letter.isascii() else json.dumps(letter)[1:-1] for letter in text)
        self._stdout.write(text + "\n")
        self._stdout.flush()

    def wrote(self, what: str, path: Path) -> None:
        """Say where a file lies."""
        self.say(f"{what}: {path}")

    def next(self, command: str, why: str = "") -> None:
        """The last line of a command for people: what to run now. With `why` it should fit 80 columns."""
        if not self.as_json:
            self.say(f"next: {command}" + (f"  ({why})" if why else ""))

    def progress(self, what: str, *, counted: bool = False, timed: bool = False) -> AbstractContextManager[Advance]:
        """A spinner with the time elapsed; for a step that counts, a bar with the time left too."""
        return self._bar(what, timed=timed) if counted else self._spinner(what)

    def _print(self, renderable: RenderableType, *, soft_wrap: bool = False) -> None:
        """Print among the results. A bar makes room for it, and comes back when it is next drawn."""
        with self._drawing:
            if self._shown is not None:
                self._shown.live.stop()
            self.results.print(renderable, soft_wrap=soft_wrap)

    @contextmanager
    def _spinner(self, description: str) -> Iterator[Advance]:
        columns = (SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
        started = time.monotonic()

        def beat() -> None:
            self._line(description, 0.0, "", time.monotonic() - started, None)

        with (
            self._beating(None if self.stderr.is_terminal else beat, LINE_S),
            self._live(Progress(*columns, console=self.stderr, transient=True)) as progress,
        ):
            progress.add_task(description, total=None)
            yield lambda done, total, what="": None  # noqa: ARG005

    @contextmanager
    def _bar(self, description: str, *, timed: bool) -> Iterator[Advance]:
        """It is drawn when it is advanced, and every `BEAT_S` unless that would disturb what is `timed`.

        Without a terminal it is a line a minute, also where a part takes longer and advances nothing.
        """
        progress = Progress(
            TextColumn("{task.description}"), BarColumn(12), TaskProgressColumn(), TimeElapsedColumn(), _TimeLeft(),
            TextColumn("[dim]{task.fields[what]}"), console=self.stderr, transient=True, auto_refresh=False,
            speed_estimate_period=60.0,
        )  # fmt: skip
        task = progress.add_task(description, total=None, what="")
        started = said = time.monotonic()
        drawn = started + PATIENCE_S - REDRAW_S
        share, doing, advanced = 0.0, "", started

        def say(now: float) -> None:
            nonlocal said
            said = now
            left_s = (advanced - started) * (1 - share) / share - (now - advanced) if 0 < share < 1 else None
            self._line(description, share, doing, now - started, left_s)

        def beat() -> None:
            now = time.monotonic()
            if now - said >= LINE_S:
                say(now)

        def draw() -> None:
            with self._drawing:
                self._shown = progress
                progress.start()
                progress.refresh()

        def advance(done: float, total: float, what: str = "") -> None:
            nonlocal drawn, share, doing, advanced
            now = time.monotonic()
            if not self.stderr.is_terminal:
                share, doing, advanced = done / total if total else 0.0, what, now
                if now - said >= LINE_S:
                    say(now)
                return
            named = middle(what, max(self.stderr.width - BAR_WIDTH, SHORTEST_NAME))
            progress.update(task, completed=done, total=total, what=escape(named))
            if now - drawn < REDRAW_S:
                return
            drawn = now
            draw()

        beats, every = (None if timed else draw, BEAT_S) if self.stderr.is_terminal else (beat, LINE_S)
        try:
            with self._beating(beats, every):
                yield advance
        finally:
            self._shown = None
            progress.live.stop()

    @contextmanager
    def _beating(self, beat: Callable[[], None] | None, every_s: float) -> Iterator[None]:
        """Call `beat`, if there is one, every so many seconds from a thread that otherwise sleeps."""
        if beat is None:
            yield
            return
        ended = Event()

        def watch() -> None:
            while not ended.wait(every_s):
                beat()

        thread = Thread(target=watch, name="progress", daemon=True)
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join()

    def _line(self, description: str, share: float, what: str, seconds: float, left_s: float | None) -> None:
        """`searching: 42 % after 12 min, about 17 min left (layer2.0)`. A share of 0 tells nothing and is not said."""
        left = "" if left_s is None else f", about {max(1, round(left_s / 60))} min left"
        doing = f" ({what})" if what else ""
        far = f"{100 * share:.0f} % " if share else ""
        text = f"{description}: {far}after {max(1, round(seconds / 60))} min{left}{doing}"
        self.stderr.print(without_escapes(text), markup=False, soft_wrap=True)

    @contextmanager
    def _live(self, progress: Progress) -> Iterator[Progress]:
        if not self.stderr.is_terminal:
            yield progress
            return
        with progress:
            yield progress
