"""What the tables share. Tables fit a terminal of 80 columns; every head names its unit.

A figure stands with its interval. Names of nodes and cuts are shortened in the middle: their ends tell them apart.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from ..records import Interval, Timing
from ..report.wording import number
from .marks import SCATTERS

MAX_CUTS = 20
COLUMNS = 80
"""What a table fits, with its title, which is not wrapped however narrow the table is."""

_WIDE = 10_000
Row = TypeVar("Row")


@dataclass(frozen=True, slots=True)
class Column(Generic[Row]):
    """A column, and how soon it is left out on a narrow terminal: 0 never, the highest first."""

    head: str
    cell: Callable[[Row], str]
    drops: int = 0


def fitted(
    columns: Sequence[Column[Row]], width: int, filled: Callable[[Sequence[Column[Row]]], Sequence[Table]]
) -> Table:
    """The first table that fits `width`: with all columns, else without those that drop first.

    Args:
        columns: of the table, behind those that always stay.
        width: of the terminal, in characters.
        filled: makes the tables to try with these columns, the widest first.
    """
    left = list(columns)
    while True:
        for table in filled(left):
            if fits(table, width):
                return table
        worst = max(left, key=lambda column: column.drops, default=None)
        if worst is None or worst.drops == 0:
            return table
        left.remove(worst)


def narrowed(made: Callable[[int], Table], widths: Sequence[int]) -> Table:
    """The first table that fits 80 columns, its names cut to one of these widths; the last where none does.

    Args:
        made: makes the table with names of at most so many characters.
        widths: to try, the widest first.
    """
    tables = (made(width) for width in widths)
    return next((table for table in tables if fits(table, COLUMNS)), made(widths[-1]))


def fits(table: Table, width: int) -> bool:
    """True where no line of `table` needs more than `width` characters."""
    return Console(width=_WIDE).measure(table).maximum <= width


def plain_table(title: str) -> Table:
    """A table without frame; no title where it is empty."""
    return Table(
        title=Text(title, "bold", no_wrap=True, overflow="ignore") if title else None,
        title_justify="left",
        caption_justify="left",
        box=box.SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
        pad_edge=False,
        show_edge=False,
    )


def counted(what: str, count: str, rest: str = "") -> str:
    """A title that says how many rows there are and how to see the rest: on one line, or on two where that is too long.

    Examples:
        >>> counted("Front", "16 of 30", "all: --json")
        'Front (16 of 30); all: --json'
    """
    tail = f"({count})" + (f"; {rest}" if rest else "")
    return f"{what}{' ' if len(what) + len(tail) < COLUMNS else chr(10)}{tail}"


def interval(value: Interval, form: Callable[[float], str] = number) -> str:
    """`[low, high]`, with markup escaped."""
    return rf"\[{form(value.low)}, {form(value.high)}]"


def spread(timing: Timing) -> str:
    """Median ± half the interquartile range; marked where it scatters."""
    return f"{number(timing.p50_ms)} ±{number(timing.iqr_ms / 2)}{SCATTERS if timing.scatters else ' '}"


def with_interval(value: Interval, form: Callable[[float], str] = number) -> str:
    """The value above its interval."""
    ends = f"{value.low:.2f} to {value.high:.2f}" if value.low < 0 else f"{form(value.low)}-{form(value.high)}"
    return f"{form(value.value)}\n[dim]{ends}[/dim]"


def middle(text: str, width: int) -> str:
    """`text` in at most `width` characters, cut in the middle."""
    if len(text) <= width:
        return text
    left = (width - 1) // 2
    return f"{text[:left]}…{text[len(text) - (width - 1 - left) :]}"
