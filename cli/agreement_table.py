"""The table of `collabplan agreement`."""

from __future__ import annotations

from itertools import groupby

from rich.markup import escape
from rich.table import Table

from ..records import AgreementReport, AgreementRow, Correlation
from .tables import plain_table

SCOPES = ("pooled", "within defense", "within cut", "accuracy drop <= 10 points")
HEADS = ("pooled", "within\ndefense", "within\ncut", "drop <= 10\npoints")


def agreement_table(report: AgreementReport) -> Table:
    """A row per estimate, real ones before trivial proxies; Spearman's correlation with its interval, by scope."""
    said = "one release" if report.releases == "one" else "any number of releases"
    table = plain_table(f"Spearman, against the audited {report.threat} index of {report.pair_count} pairs, {said}")
    table.add_column("estimate", no_wrap=True)
    for head in HEADS:
        table.add_column(head, justify="right", no_wrap=True)
    table.add_column("Kendall\npooled", justify="right", no_wrap=True)
    trivial = False
    for name, group in groupby(report.rows, key=lambda row: row.estimate):
        rows: dict[str, AgreementRow] = {row.scope: row for row in group}
        if not trivial and any(row.trivial for row in rows.values()):
            trivial = True
            table.add_section()
        cells = [shown(rows[scope].spearman) if scope in rows else "" for scope in SCOPES]
        table.add_row(escape(name), *cells, shown(rows["pooled"].kendall) if "pooled" in rows else "")
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
    """The value with its interval, or a dash."""
    if correlation.value is None:
        return "-"
    if correlation.low is None or correlation.high is None:
        return f"{correlation.value:.2f}"
    return f"{correlation.value:.2f} ({correlation.low:.2f} to {correlation.high:.2f})"
