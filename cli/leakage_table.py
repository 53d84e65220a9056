"""The tables of `collabplan leakage`: cuts by depth with bars, and controls. Wide columns drop on narrow terminals."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import groupby

from rich.markup import escape
from rich.table import Table
from rich.text import Text

from ..records import ControlRow, Leakage, LeakageReport, LeakageRow
from ..report.wording import number, share, size
from ..workflows.defense_options import differ_by_rate, shown_defense
from .marks import SURROGATE
from .marks import legend as marks_legend
from .tables import MAX_CUTS, Column, fits, fitted, middle, plain_table

WIDTHS = ((28, 28, 10), (22, 24, 10), (18, 20, 10), (15, 20, 8), (13, 20, 8))
"""Of the cuts' names, the defenses and the bars: what to try before a column is dropped."""

ROUNDS_TO_ONE = 0.9995
"""A ceiling from here on prints as 1 and says nothing."""

_EIGHTHS = " ▏▎▍▌▋▊▉█"


def head(report: LeakageReport) -> list[str]:
    """What the table is about, in lines: samples, noise floor, what the index assumes."""
    floors = list(dict.fromkeys(row.leakage.noise_floor for row in report.rows if row.leakage.noise_floor))
    kinds = _kinds(_every(report))
    lines = [
        f"Leakage of {report.model.name} by depth: {report.sample_count:,} samples of {report.input_number_count:,} "
        "private numbers",
        f"noise floor: {'; '.join(floors) or 'none needed'}",
    ]
    if not _has_index(report):
        return [*lines, "index: not measured (--estimators without ridge)"]
    if "reconstruction" in kinds or not kinds:
        lines.append(
            "index: ESTIMATED, the greater of what ridge attackers recover, who know the mask and have samples of "
            "their own (the interval's low end), and of what inverting the edge half around a sample recovers; 0 no "
            "better than the prior, 1 the input itself"
        )
    if "token recovery" in kinds:
        lines.append(
            "token recovery: share of the tokens read exactly, ESTIMATED by attackers who know the mask and have "
            "samples of their own: a lower bound; 0 the commonest tokens, 1 every token"
        )
    return lines


def legend(report: LeakageReport, shown: Table | None = None) -> list[str]:
    """How to read the columns: of `shown`, which may be too narrow for some, or all."""
    rows = _every(report)
    high = (
        "bar: the index, ░ to its high end, which adds what more samples may do, what these cannot show and, where "
        "masks or noise are random, what ten releases tell"
    )
    lines = [high] if _has_index(report) else []
    meanings = {row.leakage.information_is for row in rows if row.leakage.saturated is not None}
    if meanings:
        surrogates = "surrogates, not bounds" if meanings == {"surrogate"} else "bounds, or surrogates where marked"
        lines.append(
            f"info: 95 % ends of the sandwich: {surrogates}; SATURATED: more than these samples resolve, ranks nothing"
        )
        if shown is None or any("3 nats" in str(column.header) for column in shown.columns):
            lines.append("3 nats: at how many times the floor's noise 3 nats would be left; it ranks saturated cuts")
    if any(_ceiling(row) for row in rows):
        lines.append("nobody above: no attacker picks the right one of these samples more often, from one release")
    return lines + marks_legend(SURROGATE if "surrogate" in meanings else "")


def leakage_table(report: LeakageReport, width: int) -> Table:
    """Cuts by depth, a row per defense, then the model's output, in at most `width` columns."""
    groups = [list(rows) for _, rows in groupby(report.rows, key=lambda row: row.cut_id)]
    shown = _thinned(groups)
    title = f"{len(shown)} of {len(groups)} cuts; -o FILE holds all" if len(shown) < len(groups) else ""
    return fitted(
        _columns(report),
        width,
        lambda columns: [_filled(columns, shown, report.output_floor, *widths, title) for widths in WIDTHS],
    )


def _filled(
    columns: Sequence[Column[LeakageRow]],
    groups: Sequence[Sequence[LeakageRow]],
    floor: LeakageRow | None,
    names: int,
    defenses: int,
    bars: int,
    title: str,
) -> Table:
    table = plain_table(title)
    kinds = _kinds([row for rows in groups for row in rows])
    figure = "token\nrecovery" if kinds == {"token recovery"} else "leakage\nindex"
    beside = [row.defense for rows in groups for row in rows]
    head = "drop" if differ_by_rate(beside) else "defense"
    for name, justify in (("cut", "left"), (head, "right"), (figure, "left")):
        table.add_column(name, justify=justify, no_wrap=True)  # type: ignore[arg-type]
    for column in columns:
        table.add_column(column.head, justify="right", no_wrap=True)
    for rows in groups:
        for position, row in enumerate(rows):
            name = middle(row.cut_name, names) if position == 0 else ""
            said = middle(shown_defense(row.defense, beside), defenses)
            table.add_row(escape(name), escape(said), _bar(row, bars), *(column.cell(row) for column in columns))
    if floor is not None:
        table.add_section()
        name = middle("output alone", names)
        table.add_row(name, "0", _bar(floor, bars), *(column.cell(floor) for column in columns))
    return table


def _columns(report: LeakageReport) -> list[Column[LeakageRow]]:
    """All columns behind the bar that have something to show."""
    rows, floors = _every(report), {row.leakage.noise_floor for row in report.rows}
    columns = [
        Column("", lambda row: _index(row.leakage)),
        Column("95 %\ninterval", lambda row: _interval(row.leakage)),
        Column("read\nbest by", lambda row: _attacker(row.leakage), drops=1),
        Column("index at\nN/4, N/2", lambda row: _slope(row.leakage), drops=7),
        Column("info\nnats", lambda row: _information(row.leakage)),
        Column("bits per\nnumber <", lambda row: _bits_per_number(row, report), drops=5),
        Column("3 nats\nx noise", lambda row: _noise(row, floors), drops=3),
        Column("nobody\nabove", _ceiling, drops=2),
        Column("dFIL", lambda row: _optional(row.leakage.dfil), drops=6),
        *(_estimates(name) for name in report.estimators if name not in ("sandwich", "ridge")),
        Column("payload\na sample", lambda row: size(row.payload_bytes), drops=4),
    ]
    return [column for column in columns if any(column.cell(row) for row in rows)]


def _estimates(name: str) -> Column[LeakageRow]:
    return Column(f"{name}\nnats", lambda row: _estimate(row, name), drops=8)


def bar(value: float, high: float, width: int) -> Text:
    """A bar of `value` between 0 and 1 in eighths of a cell; light up to `high`."""
    eighths = round(8 * width * min(max(value, 0.0), 1.0))
    full, rest = divmod(eighths, 8)
    drawn = "█" * full + (_EIGHTHS[rest] if rest else "")
    up_to = min(width, math.ceil(width * min(max(high, 0.0), 1.0) - 1e-9))
    text = Text(drawn, style="cyan")
    text.append("░" * max(0, up_to - len(drawn)), style="dim")
    text.append(" " * (width - max(up_to, len(drawn))))
    return text


def _bar(row: LeakageRow, width: int) -> Text:
    if row.leakage.status == "unmeasured":
        return Text("unmeasured"[:width], style="dim")
    return bar(row.leakage.index.value, row.leakage.index.high, width)


def _index(leakage: Leakage) -> str:
    return "" if leakage.status == "unmeasured" else f"[bold]{share(leakage.index.value)}[/bold]"


def _interval(leakage: Leakage) -> str:
    if leakage.status == "by-definition":
        return "[dim]definition[/dim]"
    if leakage.status == "unmeasured":
        return ""
    return f"[dim]{share(leakage.index.low)}-{share(leakage.index.high)}[/dim]"


def _slope(leakage: Leakage) -> str:
    return ", ".join(share(item.index) for item in leakage.index_by_samples[:-1])


def _attacker(leakage: Leakage) -> str:
    """Who recovered most tokens."""
    return leakage.token_attacker or ""


def _information(leakage: Leakage) -> str:
    if leakage.saturated is None or leakage.information_low_nats is None:
        return ""
    if leakage.saturated:
        return "[yellow]SATURATED[/yellow]"
    low, high = leakage.information_low_nats, leakage.information_high_nats
    mark = SURROGATE if leakage.information_is == "surrogate" else ""
    return f"{mark}{low:.2f}-{high:.2f}" if high is not None else f"{mark}>{low:.2f}"


def _noise(row: LeakageRow, floors: set[str | None]) -> str:
    """Not of the model's output: its floor is another, and the multiples are not to be compared."""
    return _optional(row.leakage.resolvable_noise) if row.leakage.noise_floor in floors else ""


def _bits_per_number(row: LeakageRow, report: LeakageReport) -> str:
    """Only where the upper end is a bound and the samples resolve it."""
    leakage = row.leakage
    if leakage.saturated is not False or leakage.information_is != "bound" or leakage.information_high_nats is None:
        return ""
    return compact(leakage.information_high_nats / math.log(2) / report.input_number_count)


def _ceiling(row: LeakageRow) -> str:
    ceiling = row.leakage.reidentification_ceiling
    return share(ceiling) if ceiling is not None and ceiling < ROUNDS_TO_ONE else ""


def _estimate(row: LeakageRow, name: str) -> str:
    for found in row.leakage.estimates:
        if found.estimator == name:
            return "[yellow]sat.[/yellow]" if found.saturated else compact(found.value_nats)
    return ""


def _optional(value: float | None) -> str:
    return "" if value is None else compact(value)


def compact(value: float) -> str:
    """Three figures in at most eight characters; a power of ten where it must be."""
    if value and not 0.001 <= abs(value) < 1e6:
        mantissa, _, exponent = f"{value:.1e}".partition("e")
        return f"{mantissa}e{int(exponent)}"
    return number(value)


def _has_index(report: LeakageReport) -> bool:
    return any(row.leakage.status != "unmeasured" for row in _every(report))


def _kinds(rows: Sequence[LeakageRow]) -> set[str]:
    """What the estimated indices count."""
    return {row.leakage.index_of for row in rows if row.leakage.status == "estimated"}


def _every(report: LeakageReport) -> list[LeakageRow]:
    return [*report.rows, *([] if report.output_floor is None else [report.output_floor])]


def _thinned(groups: Sequence[list[LeakageRow]]) -> list[list[LeakageRow]]:
    """At most `MAX_CUTS` cuts, both ends among them."""
    count = len(groups)
    if count <= MAX_CUTS:
        return list(groups)
    return [groups[round(i * (count - 1) / (MAX_CUTS - 1))] for i in range(MAX_CUTS)]


def control_table(rows: Sequence[ControlRow], width: int) -> Table:
    """Control x estimator, with notes where `width` has room for them."""
    table = _control_table(rows, notes=True)
    return table if fits(table, width) else _control_table(rows, notes=False)


def control_remarks(rows: Sequence[ControlRow]) -> list[str]:
    """What stands below the table: units, and why a control failed."""
    lines = ["truth and value in nats, of ridge an index; n/a: does not apply, or more than the samples resolve"]
    return lines + [f"{row.estimator} on {row.control}: {row.note}" for row in rows if row.passed is False and row.note]


def _control_table(rows: Sequence[ControlRow], *, notes: bool) -> Table:
    table = plain_table("Controls: the estimators on data whose answer is known")
    for name in ("control", "estimator"):
        table.add_column(name, no_wrap=True)
    for name in ("truth", "value", "interval"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("", no_wrap=True)
    if notes:
        table.add_column("", no_wrap=True, style="dim")
    verdicts = {True: "[green]pass[/green]", False: "[bold red]FAIL[/bold red]", None: "[dim]n/a[/dim]"}
    names = list(dict.fromkeys(row.control for row in rows))
    last = ""
    for row in sorted(rows, key=lambda row: names.index(row.control)):
        cells = [
            escape(row.control) if row.control != last else "",
            escape(row.estimator),
            _figure(row.truth),
            _figure(row.value),
            "" if row.lower is None and row.upper is None else f"{_figure(row.lower)} to {_figure(row.upper)}",
            verdicts[row.passed],
        ]
        table.add_row(*cells, *([escape(middle(row.note, 48))] if notes else []))
        last = row.control
    return table


def _figure(value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:.2f}" if abs(value) < 1000 else compact(value)
