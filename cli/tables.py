"""What the tables share. Tables fit a terminal of 80 columns; every head names its unit.

A figure stands with its interval. Names of nodes and cuts are shortened in the middle: their ends tell them apart.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from ..records import Interval, Timing
from ..report.wording import number

MAX_CUTS = 20
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


def fits(table: Table, width: int) -> bool:
    """True where no line of `table` needs more than `width` characters."""
    return Console(width=_WIDE).measure(table).maximum <= width


def plain_table(title: str) -> Table:
    """A table without frame; no title where it is empty."""
    return Table(
        title=escape(title) or None,
        title_justify="left",
        title_style="bold",
        caption_justify="left",
        box=box.SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
        pad_edge=False,
        show_edge=False,
    )


def interval(value: Interval, form: Callable[[float], str] = number) -> str:
    """`[low, high]`, with markup escaped."""
    return rf"\[{form(value.low)}, {form(value.high)}]"


def spread(timing: Timing) -> str:
    """Median ± half the interquartile range; marked where it scatters."""
    return f"{number(timing.p50_ms)} ±{number(timing.iqr_ms / 2)}{'!' if timing.scatters else ' '}"


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
