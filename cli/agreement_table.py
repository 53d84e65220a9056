"""The table of `collabplan agreement`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import groupby

from rich.markup import escape
from rich.table import Table

from ..records import AgreementReport, AgreementRow, Correlation
from .tables import Column, counted, fitted, middle, plain_table

SCOPES = ("pooled", "within defense", "within cut", "accuracy drop <= 10 points")
NAMES = (24, 18)
"""Widths of the estimates' names to try."""

HEADS = ("pooled", "within\ndefense", "within\ncut", "drop <= 10\npoints")


@dataclass(frozen=True, slots=True)
class _Estimate:
    """The rows of one estimate by their scope."""

    name: str
    trivial: bool
    rows: Mapping[str, AgreementRow]


def agreement_table(report: AgreementReport, width: int) -> Table:
    """A row per estimate, real ones before trivial proxies; Spearman's correlation above its interval, by scope.

    Args:
        report: what was compared.
        width: columns that the table may take; scopes drop where they do not fit.
    """
    estimates = []
    for name, group in groupby(report.rows, key=lambda row: row.estimate):
        rows: dict[str, AgreementRow] = {row.scope: row for row in group}
        estimates.append(_Estimate(name, any(row.trivial for row in rows.values()), rows))
    return fitted(_columns(), width, lambda left: [_filled(report, estimates, left, names) for names in NAMES])


def _columns() -> list[Column[_Estimate]]:
    spearman = [
        Column(head, partial(_spearman, scope=scope), drops)
        for scope, head, drops in zip(SCOPES, HEADS, (0, 0, 2, 1), strict=True)
    ]
    return [*spearman, Column("Kendall\npooled", _kendall, drops=3)]


def _spearman(estimate: _Estimate, scope: str) -> str:
    return shown(estimate.rows[scope].spearman) if scope in estimate.rows else ""


def _kendall(estimate: _Estimate) -> str:
    return shown(estimate.rows["pooled"].kendall) if "pooled" in estimate.rows else ""


def _filled(
    report: AgreementReport, estimates: Sequence[_Estimate], columns: Sequence[Column[_Estimate]], names: int
) -> Table:
    said = "one release" if report.releases == "one" else "any number of releases"
    pairs = f"{report.pair_count} pairs, {said}"
    table = plain_table(counted(f"Spearman, against the audited {report.threat} index", pairs))
    table.add_column("estimate", no_wrap=True)
    for column in columns:
        table.add_column(column.head, justify="right", no_wrap=True)
    for position, estimate in enumerate(estimates):
        if position and estimate.trivial and not estimates[position - 1].trivial:
            table.add_section()
        cells = (column.cell(estimate) for column in columns)
        table.add_row(escape(middle(estimate.name, names)), *cells)
    return table


def remarks(report: AgreementReport) -> list[str]:
    """What the table means, whom to trust, and the worst disagreements."""
    lines = ["below the line: trivial proxies, which an estimate must beat. Intervals resample whole cuts"]
    pooled = {row.estimate: row for row in report.rows if row.scope == "pooled" and row.spearman.value is not None}
    best = max((row.spearman.value or 0 for row in pooled.values() if row.trivial), default=None)
    for name, row in pooled.items():
        if not row.trivial and best is not None and (row.spearman.value or 0) <= best:
            lines.append(f"{name} does NOT rank better than the best trivial proxy ({best:.2f})")
    for pair in report.discordant:
        lines.append(
            f"discordant: {pair.estimate} says {pair.first} ({pair.estimated[0]:.3g}) leaks more than {pair.second} "
            f"({pair.estimated[1]:.3g}); attacks: {pair.audited[0]:.3f} and {pair.audited[1]:.3f}"
        )
    return [*lines, *(f"note: {note}" for note in report.notes)]


def shown(correlation: Correlation) -> str:
    """The value above its interval, or a dash."""
    if correlation.value is None:
        return "-"
    if correlation.low is None or correlation.high is None:
        return f"{correlation.value:.2f}"
    return f"{correlation.value:.2f}\n[dim]{correlation.low:.2f} to {correlation.high:.2f}[/dim]"
