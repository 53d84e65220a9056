"""The table of `collabplan cache list`."""

from __future__ import annotations

from collections.abc import Sequence

from rich.markup import escape
from rich.table import Table

from ..report.wording import number
from ..workflows.cache import Entry
from .tables import middle, narrowed, plain_table

NAMES = (28, 20, 14)
"""Widths of the entries' names to try."""


def cache_table(title: str, rows: Sequence[Entry]) -> Table:
    """What lies in a workspace: a row for each file or folder, and how much of it older code made."""
    return narrowed(lambda width: _table(title, rows, width), NAMES)


def _table(title: str, rows: Sequence[Entry], width: int) -> Table:
    table = plain_table(title)
    table.add_column("entry", no_wrap=True)
    for head in ("MB", "outdated\nfiles", "outdated\nMB"):
        table.add_column(head, justify="right", no_wrap=True)
    table.add_column("what it is", no_wrap=True)
    for row in rows:
        old = (f"{row.outdated:,}", number(row.outdated_bytes / 1e6)) if row.outdated else ("", "")
        table.add_row(escape(middle(row.name, width)), number(row.bytes / 1e6), *old, row.what)
    return table
