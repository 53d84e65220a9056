"""Predicted beside measured, part by part."""

from __future__ import annotations

from rich.table import Table

from ..records import Interval, Measured, Plan, Timing
from ..report.wording import number, share
from .marks import SCATTERS, legend
from .tables import plain_table, spread


def against(measured: Measured) -> Table:
    """The latency of a request, part by part."""
    table = plain_table(f"One request after the other, {len(measured.total.samples_ms)} in all")
    table.add_column("part", no_wrap=True)
    for head in ("predicted\nms", "measured\np50 ms", "measured\np95 ms"):
        table.add_column(head, justify="right", no_wrap=True)
    table.add_column("off by", justify="right", no_wrap=True)
    for name, predicted_ms, timing in _rows(measured):
        _add(table, name, predicted_ms, timing)
    table.caption = (
        "measured p50: with half the interquartile range. Parts are medians and need not add up to the whole."
    )
    return table


def _rows(measured: Measured) -> list[tuple[str, float, Timing | None]]:
    """By part: what was predicted in ms, and what was measured; None where that is not possible."""
    parts = measured.predicted.parts
    hosts, link = parts.serialisation_ms, parts.transfer_ms + parts.download_ms
    way: list[tuple[str, float, Timing | None]] = [("serialisation, up and down", hosts + link, measured.way)]
    if measured.direct is not None:
        own = [max(each - measured.direct.p50_ms, 0.0) for each in measured.way.samples_ms]
        way = [
            ("serialisation", hosts, measured.direct),
            ("transfer and download", link, Timing.from_samples(own)),
        ]
    return [
        ("edge half", parts.edge_ms, measured.edge),
        ("defense and packing", parts.defense_ms, measured.defense),
        *way,
        ("  of it up (predicted)", parts.transfer_ms, None),
        ("  of it down (predicted)", parts.download_ms, None),
        ("cloud half", parts.cloud_ms, measured.cloud),
        ("all", measured.predicted.p50_ms.value, measured.total),
    ]


def findings(measured: Measured, plan: Plan) -> list[str]:
    """What was found, one line each."""
    wanted, planned = plan.chosen.accuracy.accuracy, measured.predicted
    lines = [
        f"latency p50 {number(measured.p50_ms.value)} ms, 90 % interval {_ends(measured.p50_ms)} ms; planned "
        f"{number(planned.p50_ms.value)} ms, {_ends(planned.p50_ms)} ms",
        f"latency p95 {number(measured.total.p95_ms)} ms; planned {number(planned.p95_ms)} ms",
        f"{measured.metric} over the wire {_shares(measured.accuracy)} on {measured.sample_count:,} samples; planned "
        f"{_shares(wanted)}",
    ]
    if measured.exact_samples is not None:
        lines.append(
            f"undefended, on this machine alone, {measured.exact_samples:,} samples came back bit for bit as the "
            "halves make them"
        )
    if measured.edge_slowdown != 1:
        lines.append(
            f"the device's times are multiplied by {measured.edge_slowdown:g}, as the plan declares; they are not "
            "measured on such a device"
        )
    lines += legend(SCATTERS if any(timing is not None and timing.scatters for *_, timing in _rows(measured)) else "")
    budget = plan.budgets.latency_p95_ms
    if budget is not None and measured.total.p95_ms > budget:
        lines.append(f"WARNING: the measured p95 is over the budget of {budget:g} ms")
    return lines


def _ends(value: Interval) -> str:
    return f"{number(value.low)} to {number(value.high)}"


def _shares(value: Interval) -> str:
    return f"{share(value.value)} ({share(value.low)} to {share(value.high)})"


def _add(table: Table, name: str, predicted_ms: float, measured: Timing | None) -> None:
    if measured is None:
        table.add_row(f"[dim]{name}[/dim]", f"[dim]{number(predicted_ms)}[/dim]", "", "", "")
        return
    off = measured.p50_ms - predicted_ms
    by = f"{off:+.2f}" if abs(off) < 1000 else f"{off:+,.0f}"
    table.add_row(name, number(predicted_ms), spread(measured), number(measured.p95_ms), by + _times(off, predicted_ms))


def _times(off: float, predicted_ms: float) -> str:
    """How far off that is: in percent, or as a factor from ten on."""
    if predicted_ms < 0.01:
        return ""
    relative = off / predicted_ms
    return f" ({100 * relative:+.0f} %)" if relative < 9 else f" (x{1 + relative:,.0f})"
