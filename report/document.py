"""The report as data: all that the page shows and `--json` prints. The page is made of this record and nothing else."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from ..records import Interval, Record
from .evidence import Level


class Figure(Record):
    """One of the figures of the first screen, in words and numbers."""

    name: str
    value: str
    interval: str
    note: str
    interval_values: Interval


class Decision(Record):
    """The first screen."""

    sentence: str
    badge: Level
    badge_means: str
    figures: tuple[Figure, ...]
    budgets: tuple[str, ...]
    missed: tuple[str, ...]
    missing_to_sign_off: tuple[str, ...]
    assumed: tuple[str, ...]
    not_tested: tuple[str, ...]


class StripRow(Record):
    """One cut, undefended, edge to cloud. None: not measured. `best_index` is the upper end of the best candidate
    at this cut, which has `best_defense`: the plan at its own cut, elsewhere the one that leaks least, first of those
    within the budgets."""

    cut_id: str
    name: str
    kind: str
    on_device: bool
    chosen: bool
    roles: tuple[str, ...] = ()
    latency_ms: float | None = None
    payload_bytes: int | None = None
    index_high: float | None = None
    index_is: str | None = None
    best_index: float | None = None
    best_is: str | None = None
    best_defense: str | None = None


class CandidateRow(Record):
    """One evaluated (cut, defense). `split` says on which half of the validation data it was measured."""

    number: int = Field(ge=1)
    role: str
    cut: str
    defense: str
    split: Literal["search", "confirm"]
    latency_p50_ms: Interval
    latency_p95_ms: float
    accuracy: Interval
    accuracy_drop: Interval
    index: Interval
    index_is: str
    payload_bytes: int
    edge_energy_mj: float | None
    meets_budgets: bool
    violations: tuple[str, ...]


class PictureRow(Record):
    """The pictures of one attacker, as one PNG in a data URI."""

    attack: str
    index: float | None
    failed: str
    outrun: bool = False
    image: str


class Condition(Record):
    """What attackers made of the same originals at one (cut, defense). The first row is the strongest attacker's."""

    name: str
    cut: str
    defense: str
    effort: str
    recognisable: str
    rows: tuple[PictureRow, ...]
    left_out: int = 0


class Pictures(Record):
    """Originals beside reconstructions; `how` says which commands make what is missing."""

    count: int
    original: str | None
    conditions: tuple[Condition, ...]
    how: tuple[str, ...]


class Compared(Record):
    """One (cut, defense) that was both estimated and attacked."""

    name: str
    estimated: float
    attacked: Interval


class Agreement(Record):
    """Estimate against attack. `spearman` is None where fewer than three pairs are known."""

    pairs: tuple[Compared, ...]
    spearman: float | None
    low: float | None
    high: float | None
    said: str


class LatencyRow(Record):
    """One part of a request's latency, in milliseconds; `measured_ms` is None where `verify` has not run."""

    part: str
    predicted_ms: float
    measured_ms: float | None


class LatencySection(Record):
    """Predicted and measured latency, part by part."""

    rows: tuple[LatencyRow, ...]
    said: str
    violations: tuple[str, ...]


class Section(Record):
    """Sentences under a heading."""

    heading: str
    sentences: tuple[str, ...]


class Step(Record):
    """Something to do next, with the command that does it."""

    what: str
    command: str


class Item(Record):
    """A name and a value."""

    name: str
    value: str


class Report(Record):
    """All that a report shows. Figures are those of the plan and its audits; upper ends stand where decisions do."""

    format: Literal["collabplan.report"] = "collabplan.report"
    schema_version: Literal[1] = 1
    title: str
    decision: Decision
    strip: tuple[StripRow, ...]
    strip_said: str
    strip_left_out: int
    objectives: tuple[str, ...]
    candidates: tuple[CandidateRow, ...]
    candidates_said: str
    pictures: Pictures
    agreement: Agreement
    latency: LatencySection
    why: tuple[Section, ...]
    next_steps: tuple[Step, ...]
    how_sure: tuple[str, ...]
    provenance: tuple[Item, ...]
