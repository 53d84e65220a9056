"""The Pareto front as points of a hand-written SVG: leakage against accuracy lost, and against latency."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

from .decision import is_share
from .document import Agreement, CandidateRow, Report

WIDTH, HEIGHT = 440, 330
LEFT, RIGHT, TOP, BOTTOM = 64, 14, 14, 46


@dataclass(frozen=True, slots=True)
class Point:
    """One candidate in the plane of a chart."""

    row: CandidateRow
    x: float
    y: float
    kind: str
    label: str


@dataclass(frozen=True, slots=True)
class Compared:
    """One pair of estimate and attack, with the ends of the attack's interval, in pixels."""

    x: float
    y: float
    y_low: float
    y_high: float


@dataclass(frozen=True, slots=True)
class Tick:
    """A mark on an axis: its place in pixels, and its text."""

    at: float
    text: str


@dataclass(frozen=True, slots=True)
class Chart:
    """One chart: points and axes, in pixels of the SVG."""

    name: str
    x_title: str
    y_title: str
    points: tuple[Point, ...]
    x_ticks: tuple[Tick, ...]
    y_ticks: tuple[Tick, ...]
    compared: tuple[Compared, ...] = ()
    width: int = WIDTH
    height: int = HEIGHT
    left: int = LEFT
    right: int = WIDTH - RIGHT
    top: int = TOP
    bottom: int = HEIGHT - BOTTOM


def front_charts(report: Report) -> tuple[Chart, ...]:
    """Both charts. Leakage is the upper end, accuracy lost is the upper end, latency is p95: what budgets see."""
    rows = report.candidates
    metric = report.decision.figures[1].name
    factor = 100 if is_share(metric) else 1
    lost = "Accuracy lost, points (upper end)" if factor == 100 else f"{metric} lost (upper end)"
    return (
        _chart(rows, "accuracy", lost, [max(0.0, factor * row.accuracy_drop.high) for row in rows]),
        _chart(rows, "latency", "Latency, ms (p95)", [row.latency_p95_ms for row in rows]),
    )


def _chart(rows: tuple[CandidateRow, ...], name: str, title: str, values: list[float]) -> Chart:
    top = scale_of(values)
    across, upwards = WIDTH - LEFT - RIGHT, HEIGHT - TOP - BOTTOM
    points = [
        Point(row, LEFT + across * value / top, TOP + upwards * (1 - min(1.0, row.index.high)), _kind(row), _label(row))
        for row, value in zip(rows, values, strict=True)
    ]
    # The plan is drawn last, over the others.
    points.sort(key=lambda point: (point.row.role == "the plan", point.row.role != "front"))
    return Chart(
        name=name,
        x_title=title,
        y_title="Leakage index (upper end)",
        points=tuple(points),
        x_ticks=tuple(Tick(LEFT + across * value / top, f"{value:g}") for value in ticks(top)),
        y_ticks=tuple(Tick(TOP + upwards * (1 - value), f"{value:g}") for value in (0, 0.25, 0.5, 0.75, 1)),
    )


def agreement_chart(found: Agreement) -> Chart:
    """Estimate against attack, both from 0 to 1; on the diagonal they agree."""
    across, upwards = WIDTH - LEFT - RIGHT, HEIGHT - TOP - BOTTOM

    def place(value: float) -> float:
        return TOP + upwards * (1 - max(0.0, min(1.0, value)))

    points = tuple(
        Compared(
            LEFT + across * max(0.0, min(1.0, pair.estimated)),
            place(pair.attacked.value),
            place(pair.attacked.low),
            place(pair.attacked.high),
        )
        for pair in found.pairs
    )
    marks = (0, 0.25, 0.5, 0.75, 1)
    return Chart(
        name="agreement",
        x_title="Estimated leakage index",
        y_title="Attacked leakage index",
        points=(),
        compared=points,
        x_ticks=tuple(Tick(LEFT + across * value, f"{value:g}") for value in marks),
        y_ticks=tuple(Tick(place(value), f"{value:g}") for value in marks),
    )


def _kind(row: CandidateRow) -> str:
    if row.role == "the plan":
        return "plan"
    if row.role != "front":
        return "baseline"
    return "front" if row.meets_budgets else "missed"


def _label(row: CandidateRow) -> str:
    role = "" if row.role == "front" else f"{row.role}: "
    misses = "" if row.meets_budgets else "; misses a budget"
    return (
        f"{role}{row.cut} with {row.defense}; leakage up to {row.index.high:.2f} ({row.index_is}), "
        f"accuracy {row.accuracy.value:.3f}, {row.latency_p95_ms:.1f} ms{misses}"
    )


def scale_of(values: Iterable[float | None]) -> float:
    """The end of an axis from 0 that holds all values: a round number.

    Examples:
        >>> scale_of([3.0, 41.0])
        50.0
    """
    most = max((value for value in values if value is not None), default=0.0)
    if most <= 0:
        return 1.0
    unit = 10.0 ** math.floor(math.log10(most))
    return next(step * unit for step in (1, 1.5, 2, 3, 4, 5, 6, 8, 10) if step * unit >= most * 0.999)


def ticks(top: float) -> list[float]:
    """Round numbers from 0 to `top`.

    Examples:
        >>> ticks(50.0)
        [0.0, 10.0, 20.0, 30.0, 40.0, 50.0]
    """
    rough = top / 5
    unit = 10.0 ** math.floor(math.log10(rough))
    step = next(each * unit for each in (1, 2, 2.5, 5, 10) if each * unit >= rough * 0.999)
    return [round(at * step, 10) for at in range(math.floor(top / step + 1e-9) + 1)]
