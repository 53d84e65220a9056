"""Plots of plans and audits with matplotlib, in the palette of Okabe & Ito (2008) for colour-blind readers.

Each function returns a `matplotlib.figure.Figure`: `figure.savefig("front.svg")` writes SVG, PNG or PDF by the name. No
setting of matplotlib stays changed. Text is drawn as it is: a dollar sign starts no formula.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from textwrap import wrap
from typing import TYPE_CHECKING, Any

import numpy as np

from ..records import Audit, AuditReport, Candidate, Interval, LeakageReport, LeakageRow, Plan
from ..records.extras import optional_imports
from .tables import every_candidate, is_undefended, latency_section
from .wording import short_defense

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from ..attacks.galleries import Gallery

BLUE, ORANGE, GREEN, VERMILION, GREY = "#0072B2", "#E69F00", "#009E73", "#D55E00", "#767676"
"""Okabe-Ito, and a grey that white paper bears."""

INK = "#1b2a38"
"""Text and axes."""

STYLE: Any = {
    "font.family": "sans-serif",
    "font.size": 10,
    "svg.fonttype": "none",
    "text.parse_math": False,
    "text.color": INK,
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "legend.frameon": False,
}


def plot_front(plan: Plan) -> Figure:
    """Leakage against accuracy and against latency: the front, the baselines and the plan.

    Args:
        plan: as `collabplan optimize` wrote it.

    Returns:
        A figure. Leakage is the upper end of its interval; filled points were attacked, hollow ones were not.
    """
    rows = every_candidate(plan)
    with _styled():
        figure, axes = _figure(2, 9.0, 3.8)
        titles = (f"{plan.chosen.accuracy.metric}", "latency p95, ms")
        for at, (axis, title) in enumerate(zip(axes, titles, strict=True)):
            for role, one in rows:
                x = one.accuracy.accuracy.value if at == 0 else one.latency.p95_ms
                axis.plot([x], [one.index.high], **_mark(role, one))
            axis.set_xlabel(title)
            axis.set_ylim(-0.03, 1.05)
            axis.grid(alpha=0.2)
        axes[0].set_ylabel("leakage index, upper end")
        _legend(axes[1], [role for role, _ in rows])
    return figure


def plot_leakage(source: LeakageReport | AuditReport | Plan) -> Figure:
    """The leakage index by cut, edge to cloud: one line for each defense, with its interval.

    Args:
        source: estimates, attacks, or a plan, whose candidates are shown.
    """
    lines = _lines(source)
    names = list(dict.fromkeys(cut for _, cut, *_ in sorted(point for points in lines.values() for point in points)))
    places = {name: at for at, name in enumerate(names)}
    with _styled():
        figure, (axis,) = _figure(1, max(5.0, 1.5 + 0.5 * len(names)), 3.8)
        colours = (BLUE, VERMILION, GREEN, ORANGE, GREY)
        for at, (defense, points) in enumerate(lines.items()):
            points = sorted(points)
            x = [places[cut] for _, cut, *_ in points]
            y = np.array([value for _, _, value, _, _ in points])
            low = np.array([low for *_, low, _ in points])
            high = np.array([high for *_, high in points])
            error = np.maximum(np.stack([y - low, high - y]), 0)
            marker = "osD^v"[at % 5]
            axis.errorbar(x, y, error, color=colours[at % 5], marker=marker, ms=5, lw=1.4, capsize=2, label=defense)
        axis.set_xticks(range(len(names)), names, rotation=45, ha="right")
        axis.set_ylabel("leakage index")
        axis.set_ylim(-0.03, 1.05)
        axis.grid(alpha=0.2, axis="y")
        if lines:
            axis.legend(fontsize=8)
    return figure


def plot_reconstructions(galleries: Mapping[str, Gallery], *, count: int = 8) -> Figure:
    """Originals in the first row; below, what the strongest attacker of each gallery made of them.

    Args:
        galleries: kept audits by the name of their row (`collabplan.report.shown_galleries`).
        count: pictures in a row; the first ones are shown.
    """
    from .pictures import strongest_row

    shown = {name: each for name, each in galleries.items() if each.pictures}
    rows = [("Original", each.originals) for each in list(shown.values())[:1]]
    rows += [(_row_name(name, each.audit), strongest_row(each)) for name, each in shown.items()]
    with _styled():
        width = 1.8 + count
        figure, axes = _figure(1, width, 1.04 * max(1, len(rows)))
        axes[0].set_axis_off()
        for line, (name, images) in enumerate(rows):
            for column, image in enumerate(images[:count]):
                place = [(1.75 + column) / width, 1 - (line + 1) / len(rows), 0.95 / width, 0.92 / len(rows)]
                inset = figure.add_axes((place[0], place[1], place[2], place[3]))
                inset.set_axis_off()
                levels = image.transpose(1, 2, 0)
                inset.imshow(levels[:, :, 0] if levels.shape[2] == 1 else levels, cmap="gray", vmin=0, vmax=255)
            figure.text(0.01, 1 - (line + 0.5) / len(rows), name, va="center", fontsize=9)
    return figure


def plot_latency(plan: Plan) -> Figure:
    """Where a request's time goes: predicted, and beside it measured where `collabplan verify` ran."""
    rows = latency_section(plan).rows
    names = [row.part for row in rows]
    with _styled():
        figure, (axis,) = _figure(1, 5.0, 0.7 + 0.42 * len(rows))
        at = np.arange(len(rows))
        measured = [row.measured_ms for row in rows]
        both = any(value is not None for value in measured)
        height = 0.36 if both else 0.6
        axis.barh(at - (0.19 if both else 0), [row.predicted_ms for row in rows], height, color=BLUE, label="predicted")
        if both:
            axis.barh(
                at + 0.19, [value or 0.0 for value in measured], height, color=ORANGE, label="measured", hatch="//"
            )
            axis.legend(fontsize=9)
        axis.set_yticks(at, names)
        axis.invert_yaxis()
        axis.set_xlabel("ms")
        axis.grid(alpha=0.2, axis="x")
    return figure


def _row_name(name: str, audit: Audit) -> str:
    """Lines that fit beside the pictures: the name and, if it says more, the defense."""
    plain = audit.cut_kind == "edge-only" or is_undefended(audit.defense)
    return "\n".join(
        line for text in [name, *([] if plain else [audit.defense.unfitted.text])] for line in wrap(text, 20)
    )


def _lines(source: LeakageReport | AuditReport | Plan) -> dict[str, list[tuple[int, str, float, float, float]]]:
    """By defense: depth, cut, index and its interval."""
    found: dict[str, list[tuple[int, str, float, float, float]]] = {}
    if isinstance(source, Plan):
        unique = {(one.cut_id, short_defense(one)): one for _, one in reversed(every_candidate(source))}
        order = sorted({one.latency.parts.edge_ms: one.cut_id for one in unique.values()}.items())
        depth = {cut_id: at for at, (_, cut_id) in enumerate(order)}
        for (cut_id, defense), one in unique.items():
            index = one.index
            found.setdefault(defense, []).append(
                (depth.get(cut_id, 0), one.cut_name, index.value, index.low, index.high)
            )
        return found
    rows: list[tuple[LeakageRow | Audit, Interval]]
    if isinstance(source, LeakageReport):
        rows = [(row, row.leakage.index) for row in source.rows]
    else:
        rows = [(audit, audit.tiers[-1].index) for audit in source.audits if audit.tiers]
    for row, figure in rows:
        text = row.defense.unfitted.text
        found.setdefault(text, []).append((row.depth, row.cut_name, figure.value, figure.low, figure.high))
    return found


def _mark(role: str, one: Candidate) -> dict[str, Any]:
    colour, marker, at = {
        "the plan": (VERMILION, "*", 5), "front": (BLUE, "o", 3)
    }.get(role, (GREEN, "s", 4))  # fmt: skip
    if not one.meets_budgets:
        colour = GREY
    attacked = one.index_is in ("audited", "by-definition")
    size = 15 if role == "the plan" else 7
    fill = colour if attacked or role == "the plan" else "none"
    return {"color": colour, "marker": marker, "ms": size, "mfc": fill, "ls": "", "zorder": at}


def _legend(axis: Axes, roles: Sequence[str]) -> None:
    from matplotlib.lines import Line2D

    entries = [
        Line2D([], [], color=VERMILION, marker="*", ms=12, ls="", label="the plan"),
        Line2D([], [], color=BLUE, marker="o", ls="", label="attacked"),
        Line2D([], [], color=BLUE, marker="o", mfc="none", ls="", label="not attacked"),
        Line2D([], [], color=GREY, marker="o", ls="", label="misses a budget"),
    ]
    if set(roles) - {"the plan", "front"}:
        entries.insert(1, Line2D([], [], color=GREEN, marker="s", ls="", label="baseline"))
    axis.legend(handles=entries, fontsize=8, loc="best")


def _figure(columns: int, width: float, height: float) -> tuple[Figure, Sequence[Axes]]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    return figure, list(np.atleast_1d(figure.subplots(1, columns)))


def _styled() -> Any:
    with optional_imports():
        import matplotlib
    return matplotlib.rc_context(STYLE)
