"""What a `Study` returns: a record with its rows, for notebooks and data frames."""

from __future__ import annotations

import html
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Generic, TypeVar

from ..records import (
    AuditReport,
    Candidate,
    LeakageReport,
    Measured,
    Profile,
    Record,
    save,
)
from ..records.extras import optional_imports
from ..report.wording import defense, number, outrun_note, size

R = TypeVar("R", bound=Record)
Row = Mapping[str, Any]
SHOWN_ROWS = 40
"""Rows that a notebook shows; `to_frame()` has all."""


class Result(ABC, Generic[R]):
    """A record and a table of it.

    Attributes:
        record: all figures, as the command line writes them to a file.
    """

    def __init__(self, record: R) -> None:
        self.record = record

    @property
    @abstractmethod
    def title(self) -> str:
        """What the table is about, in one line."""

    @abstractmethod
    def rows(self) -> list[Row]:
        """The table; every row has the same columns."""

    @property
    def notes(self) -> Sequence[str]:
        """What the reader should know."""
        return ()

    def save(self, file: str | Path) -> Path:
        """Write the record as JSON.

        Raises:
            CollabplanError: the file cannot be written.
        """
        save(self.record, Path(file))
        return Path(file)

    def to_frame(self) -> Any:
        """The rows as a pandas data frame.

        Raises:
            CollabplanError: pandas is not installed.
        """
        return frame_of(self.rows())

    def __repr__(self) -> str:
        return f"<{type(self).__name__}: {self.title}>"

    def _repr_html_(self) -> str:
        """The table in a notebook."""
        return table_html(self.title, self.rows(), self.notes)


class ProfileResult(Result[Profile]):
    """What each cut costs on this machine."""

    @property
    def title(self) -> str:
        """Model, device and threads."""
        made = self.record
        return f"{made.model.name} on {made.device.device} ({made.device.name}), {made.device.threads} threads"

    @property
    def notes(self) -> Sequence[str]:
        """The profile's warnings."""
        return self.record.warnings

    def rows(self) -> list[Row]:
        """One row for each candidate cut, input to output."""
        return [
            {
                "cut": cut.name,
                "kind": cut.kind,
                "depth": cut.depth,
                "edge_ms": None if cut.edge is None else cut.edge.p50_ms,
                "cloud_ms": None if cut.cloud is None else cut.cloud.p50_ms,
                "payload_bytes": cut.payload_bytes,
                "edge_peak_bytes": cut.edge_peak_bytes,
                "edge_parameters": cut.edge_parameter_count,
                "searchable": cut.searchable,
            }
            for cut in sorted(self.record.cuts, key=lambda cut: cut.depth)
        ]


class LeakageResult(Result[LeakageReport]):
    """What each cut tells about the private input; the index is ESTIMATED."""

    @property
    def title(self) -> str:
        """Model and samples."""
        made = self.record
        return f"leakage of {made.model.name}, ESTIMATED on {made.sample_count:,} samples"

    @property
    def notes(self) -> Sequence[str]:
        """The report's notes."""
        return self.record.notes

    def rows(self) -> list[Row]:
        """One row for each cut and defense, and the model's output alone as the last."""
        made = self.record
        every = [*made.rows, *([] if made.output_floor is None else [made.output_floor])]
        return [
            {
                "cut": row.cut_name,
                "kind": row.cut_kind,
                "depth": row.depth,
                "defense": row.defense.unfitted.text,
                "index": row.leakage.index.value,
                "index_low": row.leakage.index.low,
                "index_high": row.leakage.index.high,
                "status": row.leakage.status,
                "information_low_nats": row.leakage.information_low_nats,
                "information_high_nats": row.leakage.information_high_nats,
                "dfil": row.leakage.dfil,
                "payload_bytes": row.payload_bytes,
            }
            for row in every
        ]


class AttackResult(Result[AuditReport]):
    """What attackers recovered, by cut, defense and threat.

    Attributes:
        missed: why privacy budgets are not shown to hold; empty where they hold or there are none.
    """

    def __init__(self, record: AuditReport, missed: Sequence[str] = ()) -> None:
        super().__init__(record)
        self.missed = tuple(missed)

    @property
    def title(self) -> str:
        """Model and number of audits."""
        return f"{len(self.record.audits)} audits of {self.record.model.name}"

    @property
    def notes(self) -> Sequence[str]:
        """The report's notes, attacks that failed, and the leakage budget."""
        made = self.record
        failed = [
            f"FAILED at {audit.cut_name}: {result.attack}: {result.reason}"
            for audit in made.audits
            for result in audit.attacks
            if result.status == "failed"
        ]
        return (
            *made.notes,
            *outrun_note(made.audits),
            *failed,
            *(f"budget not shown to hold: {text}" for text in self.missed),
        )

    def rows(self) -> list[Row]:
        """One row for each audit and threat; `lower_bound`: more effort recovers more."""
        made = self.record
        every = [*made.audits, *([] if made.output_floor is None else [made.output_floor])]
        return [
            {
                "cut": audit.cut_name,
                "depth": audit.depth,
                "defense": audit.defense.unfitted.text,
                "threat": tier.threat,
                "index": tier.index.value,
                "index_low": tier.index.low,
                "index_high": tier.index.high,
                "excess": None if tier.excess is None else tier.excess.value,
                "excess_high": None if tier.excess is None else tier.excess.high,
                "attack": tier.index_attack,
                "reidentified": tier.reidentification.value,
                "lower_bound": tier.lower_bound,
                "conclusive": tier.conclusive,
                "accuracy": None if audit.accuracy is None else audit.accuracy.value,
            }
            for audit in every
            for tier in audit.tiers
        ]


class MeasuredResult(Result[Measured]):
    """A plan's predictions beside what was measured."""

    @property
    def title(self) -> str:
        """Whether the plan does what it says."""
        missed = self.record.violations
        return f"not as planned: {'; '.join(missed)}" if missed else "the plan does what it says"

    def rows(self) -> list[Row]:
        """Latency in ms, and accuracy."""
        made = self.record
        return [
            {
                "figure": "latency p50, ms",
                "planned": made.predicted.p50_ms.value,
                "measured": made.p50_ms.value,
                "low": made.p50_ms.low,
                "high": made.p50_ms.high,
            },
            {
                "figure": "latency p95, ms",
                "planned": made.predicted.p95_ms,
                "measured": made.total.p95_ms,
                "low": None,
                "high": None,
            },
            {
                "figure": made.metric,
                "planned": None,
                "measured": made.accuracy.value,
                "low": made.accuracy.low,
                "high": made.accuracy.high,
            },
        ]


def candidate_row(candidate: Candidate, what: str = "") -> Row:
    """A candidate of a front, the plan or a baseline."""
    return {
        "what": what,
        "cut": candidate.cut_name,
        "defense": defense(candidate),
        "latency_p50_ms": candidate.latency.p50_ms.value,
        "latency_p95_ms": candidate.latency.p95_ms,
        "accuracy": candidate.accuracy.accuracy.value,
        "accuracy_drop": candidate.accuracy.drop.value,
        "index": candidate.index.value,
        "index_high": candidate.index.high,
        "index_is": candidate.index_is,
        "payload_bytes": candidate.payload_bytes,
        "meets_budgets": candidate.meets_budgets,
    }


def frame_of(rows: Sequence[Row]) -> Any:
    """Rows as a pandas data frame. Raises CollabplanError where pandas is not installed."""
    with optional_imports():
        from pandas import DataFrame  # type: ignore[import-untyped]
    return DataFrame([dict(row) for row in rows])


def table_html(title: str, rows: Sequence[Row], notes: Sequence[str] = ()) -> str:
    """A table as HTML: title, rows and notes, everything escaped."""
    names = list(rows[0]) if rows else []
    head = "".join(f"<th>{html.escape(name)}</th>" for name in names)
    body = "".join(
        "<tr>" + "".join(f"<td>{html.escape(_cell(name, row[name]))}</td>" for name in names) + "</tr>"
        for row in rows[:SHOWN_ROWS]
    )
    more = [f"{len(rows) - SHOWN_ROWS:,} more rows: to_frame()"] if len(rows) > SHOWN_ROWS else []
    below = "".join(f"<div>{html.escape(note)}</div>" for note in [*more, *notes])
    return (
        f"<div><b>{html.escape(title)}</b></div><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
        f"{below}"
    )


def _cell(name: str, value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return str(value)
    if name.endswith("_bytes"):
        return size(int(value))
    return number(value) if isinstance(value, float) else f"{value:,}"
