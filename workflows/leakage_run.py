"""Measures what cuts leak for `collabplan leakage`, and keeps each cut as soon as it is finished.

All figures are a function of (model, data, options, seed): a run that was stopped continues where it
stopped, and ends with the figures of one that was not.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from math import isqrt
from pathlib import Path
from typing import Literal

import torch
from pydantic import Field, ValidationError
from torch import Tensor

from ..attacks.declared_output import floor_of
from ..defenses import Defense, stage_revisions
from ..defenses.pipeline import defenses_at
from ..defenses.seeds import derive_seed, generator_for
from ..estimators import (
    CutLeakage,
    EdgeActivations,
    ProjectionFits,
    Secrets,
    Sensitivity,
    by_definition,
    estimator_named,
)
from ..estimators.catalogue import PARTS
from ..estimators.combined import REPEATS
from ..estimators.fisher import dead_at
from ..estimators.input_directions import InputDirections, input_directions
from ..estimators.jacobian import EdgeJacobian
from ..estimators.leakage import MAX_PRODUCT
from ..estimators.ridge import MIN_SAMPLES
from ..estimators.tokens import token_inputs
from ..graph import Cut, TracedGraph, differ_by_sample
from ..records import (
    CollabplanError,
    DefenseRecord,
    Leakage,
    LeakageRow,
    Record,
    ResultAt,
    Returns,
    hash_json,
    save,
)
from ..records.memory import UNBOUNDED, MemoryBudget
from ..records.revisions import revisions_of
from ..targets import Data, InputScaling
from .defense_options import at_defense
from .reporter import Advance

RIDGE = "ridge"
LEARNED = ("mine",)
"""Estimators that train, and may refuse what they found."""

LARGEST_BATCH = 64
BATCH_BYTES = 512_000_000
UNSEEN = 3
"""A backward pass holds about this many times what crosses the cuts: operators inside blocks keep tensors too."""


@dataclass(frozen=True, slots=True)
class LeakageSettings:
    """What is measured of every cut."""

    defenses: tuple[DefenseRecord, ...]
    estimators: tuple[str, ...]
    seed: int
    memory_bytes: int
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))


class Finished(Record):
    """One finished cut, as it lies in the workspace.

    Attributes:
        revisions: of the code that measured it.
        notes: what could not be measured there.
    """

    format: Literal["collabplan.leakage-cut"] = "collabplan.leakage-cut"
    cut_id: str
    revisions: dict[str, int] = Field(default_factory=dict)
    rows: tuple[LeakageRow, ...]
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class SampleCount:
    """How many samples are used, the same at every cut, and why not as many as were asked for."""

    count: int
    note: str | None


def affordable_samples(cuts: Sequence[Cut], asked: int, given: int) -> SampleCount:
    """As many samples as the data have and the Gram matrix of the widest measured cut permits.

    Raises:
        CollabplanError: too few to estimate anything.
    """
    measured = [cut for cut in cuts if by_definition(cut, result_at=_result_at(cut)) is None]
    wide = max((_float_bytes(cut) for cut in measured), default=1)
    limits = {
        "validation_data has no more": given,
        "more would take too long at the widest cut": max(200, isqrt(int(MAX_PRODUCT / max(wide / 4, 1)))),
    }
    reason, most = min(limits.items(), key=lambda item: item[1])
    if min(asked, most) < MIN_SAMPLES:
        raise CollabplanError(
            f"leakage needs at least {MIN_SAMPLES} samples, here are {min(asked, most)}"
            + (f": {reason}" if most < asked else "; give a larger --samples")
        )
    if asked <= most:
        return SampleCount(asked, None)
    return SampleCount(most, f"{most:,} samples in place of {asked:,}: {reason}")


def affordable_batch(cuts: Sequence[Cut]) -> int:
    """Samples per pass: as many as a backward pass through all of `cuts` has room for."""
    nodes = {crossing.node: crossing for cut in cuts for crossing in cut.crossing}
    held = UNSEEN * sum(crossing.sample_elements * crossing.element_bytes for crossing in nodes.values())
    return max(1, min(LARGEST_BATCH, BATCH_BYTES // max(held, 1)))


@dataclass(frozen=True, eq=False)
class LeakageRun:
    """One measurement of several cuts on one set of samples.

    Attributes:
        cuts: what to measure; the edge-only cut among them is the task-output floor: the model's output alone, in the
            form that the service returns it.
        data: the samples; all are used.
        batch: samples per pass, see `affordable_batch`.
        folder: where finished cuts are kept.
        returns: what the service returns, as the target declares it; None: it does not, and the label counts.
        memory: where activations lie; no figure depends on how much it holds.
    """

    traced: TracedGraph
    cuts: tuple[Cut, ...]
    data: Data
    scaling: InputScaling
    settings: LeakageSettings
    batch: int
    folder: Path
    returns: Returns | None = None
    memory: MemoryBudget = UNBOUNDED

    @cached_property
    def revisions(self) -> dict[str, int]:
        """Of all code that the figures depend on, the target's own stages too."""
        estimators = [estimator_named(name) for name in self.settings.estimators if name != RIDGE]
        found = {**revisions_of("estimator", estimators), **revisions_of("leakage", PARTS)}
        for defense in (*self.settings.defenses, self.floor[1]):
            found |= stage_revisions(defense)
        return found

    @cached_property
    def floor(self) -> tuple[Returns, DefenseRecord]:
        """What the service returns, and the stages that make it of the model's output; see `declared_output`."""
        return floor_of(self.cuts, self.returns)

    @cached_property
    def place(self) -> Path:
        """The folder of this very measurement: another model, sample, option, seed or revision has another."""
        key = hash_json(
            [
                self.traced.identity.model_dump(mode="json"),
                [spec.public for spec in self.traced.tensor_inputs],
                self.data.content_hash,
                [self.scaling.low, self.scaling.high],
                [defense.model_dump(mode="json") for defense in self.settings.defenses],
                [self.settings.estimators, self.settings.seed],
                self.batch,
                self.floor[0],
                self.revisions,
                *([] if self.settings.device.type == "cpu" else [self.settings.device.type]),
            ]
        )
        return self.folder / key[:16]

    @cached_property
    def secrets(self) -> Secrets:
        """The private inputs. Raises CollabplanError where there is nothing to find out."""
        return Secrets.of(self.data, self.traced, self.scaling)

    @cached_property
    def directions(self) -> tuple[InputDirections, ...]:
        """How the private numbers vary. Raises CollabplanError where they have no derivative."""
        source = generator_for(self.settings.seed, "directions")
        return input_directions(self.data, self.traced, self.scaling, generator=source)

    @cached_property
    def dead(self) -> dict[str, tuple[str, ...]]:
        """Crossings of all cuts whose derivatives mislead, by name, and where these end."""
        runs = EdgeActivations(self.traced, cache_bytes=0, batch_size=self.batch, device=self.settings.device)
        return dead_at(runs, self.cuts, self.data)

    @cached_property
    def input_numbers(self) -> int:
        """Numbers in one sample's private inputs; a token counts as one."""
        one = self.data.take([0])
        tokens = {each.position: each.ids.shape[1] for each in token_inputs(one, self.traced)}
        specs = self.traced.tensor_inputs
        private = [at for at, own in enumerate(differ_by_sample(specs)) if own and not specs[at].public]
        return sum(tokens.get(at, one.inputs[at].numel()) for at in private)

    @cached_property
    def kept(self) -> dict[str, Finished]:
        """By cut id, what an earlier run finished. A damaged file counts for nothing."""
        found = {cut.id: _read(self.place / f"{cut.id}.json", cut) for cut in self.cuts}
        return {name: value for name, value in found.items() if value is not None}

    def measure(self, advance: Advance) -> dict[str, Finished]:
        """By cut id, every cut measured: those of earlier runs as they were, the others now, each kept at once.

        Raises:
            CollabplanError: NaN in the activations, too few samples, or no place to write to.
        """
        done = dict(self.kept)
        pending = [cut for cut in self.cuts if cut.id not in done]
        total, finished = sum(len(self.defenses(cut)) for cut in pending), 0
        to_sweep = []
        for cut in pending:
            if by_definition(cut, result_at=_result_at(cut)) is None:
                to_sweep.append(cut)
                continue
            done[cut.id] = self._keep(self.finished(cut, self._certain(cut)))
            finished += len(self.defenses(cut))
        activations = EdgeActivations(
            self.traced,
            cache_bytes=self.memory.array_bytes,
            memory=self.memory,
            batch_size=self.batch,
            device=self.settings.device,
        )
        if to_sweep:
            advance(finished, total, "input components")
            _ = self.secrets
            advance(finished, total, "forward pass")
        for cut, rows in activations.sweep(to_sweep, self.data):
            advance(finished, total, cut.name)
            measurement = CutMeasurement(self, activations, cut, rows)
            del rows  # it has a copy of its own
            started, name = finished, cut.name
            done[cut.id] = self._keep(measurement.finish(lambda n: advance(started + n, total, name)))  # noqa: B023
            finished += len(self.defenses(cut))
            del measurement
            advance(finished, total, "forward pass")
        return done

    def defenses(self, cut: Cut) -> tuple[DefenseRecord, ...]:
        """The defenses that make a difference at `cut`."""
        return (self.floor[1],) if cut.kind == "edge-only" else defenses_at(cut, self.settings.defenses)

    def bound(self, record: DefenseRecord, cut: Cut, fits: ProjectionFits) -> tuple[Defense, str]:
        """One of `defenses` at `cut`, not yet calibrated; and a note where its projection is left out."""
        return (Defense(record, cut.crossing), "") if cut.kind == "edge-only" else fits.bound(record, cut)

    def row(self, cut: Cut, defense: Defense, leakage: Leakage) -> LeakageRow:
        """A row of the report."""
        return LeakageRow(
            cut_id=cut.id,
            cut_name=cut.name,
            cut_kind=cut.kind,
            depth=cut.depth,
            payload_bytes=defense.payload_bytes(),
            defense=defense.record,
            leakage=leakage,
        )

    def finished(self, cut: Cut, rows: tuple[LeakageRow, ...], notes: tuple[str, ...] = ()) -> Finished:
        """A cut as it is kept."""
        return Finished(cut_id=cut.id, rows=rows, notes=notes, revisions=self.revisions)

    def _certain(self, cut: Cut) -> tuple[LeakageRow, ...]:
        known = by_definition(cut, result_at=_result_at(cut))
        assert known is not None
        return tuple(self.row(cut, Defense.for_cut(each, cut), known) for each in self.defenses(cut))

    def _keep(self, finished: Finished) -> Finished:
        save(finished, self.place / f"{finished.cut_id}.json")
        return finished


class CutMeasurement:
    """All defenses at one cut."""

    def __init__(self, run: LeakageRun, activations: EdgeActivations, cut: Cut, rows: Sequence[Tensor]) -> None:
        self.run, self.cut, self.settings, self.rows = run, cut, run.settings, list(rows)
        self.activations, self.notes = activations, list[str]()
        self.crossed = activations.to_graph(cut, tuple(rows))
        self.records = run.defenses(cut)
        self.fits = ProjectionFits.of(activations, run.data, self.records, self.settings.seed)
        self.leakages: dict[str, CutLeakage] = {}
        self._found: EdgeJacobian | None = None
        self.sensitivity = (
            None if all(each.projection or each.customs for each in self.records) else self._sensitivity()
        )

    def _sensitivity(self) -> Sensitivity | None:
        try:
            return Sensitivity.of(
                self.activations,
                self.cut,
                self.run.data,
                self.run.scaling,
                generator=generator_for(self.settings.seed, self.cut.id, "fisher"),
                dead=self.run.dead,
            )
        except CollabplanError as error:
            self.notes.append(f"{self.cut.name}: {error}")
            return None

    def finish(self, step: Callable[[int], None]) -> Finished:
        """One row per defense; `step` hears before each how many are done."""
        rows = []
        for count, record in enumerate(self.records):
            step(count)
            defense, note = self.run.bound(record, self.cut, self.fits)
            self.notes.extend({note} - {"", *self.notes})
            defense = defense.calibrate(self.crossed)
            found = self._under(defense)
            rows.append(self.run.row(self.cut, defense, found))
            # That there are few samples is said once, not for every cut.
            for note in found.index_note.splitlines():
                said = note if found.inverted_index or note == REPEATS else f"{self.cut.name}: {note}"
                self.notes.extend({said} - set(self.notes))
        return self.run.finished(self.cut, tuple(rows), tuple(self.notes))

    def _leakage(self, defense: Defense) -> CutLeakage:
        """What all defenses share that transform what crosses alike."""
        key, seed = defense.codes_key, self.settings.seed
        if key not in self.leakages:
            self.leakages[key] = CutLeakage.behind(
                defense,
                self.rows,
                self.run.secrets,
                self.cut,
                lambda data: self.activations.computed(self.cut, data),
                generator_for(seed, self.cut.id, "transform", key),
                result_at=_result_at(self.cut),
                rates=sorted({record.rate for record in self.records}),
                seed=derive_seed(seed, self.cut.id),
                jacobian=self._jacobian,
                memory=self.activations.memory,
            )
        return self.leakages[key]

    def _jacobian(self) -> EdgeJacobian:
        """The derivatives of the edge half. Raises CollabplanError where it has none."""
        if self._found is None:
            run = self.run
            self._found = EdgeJacobian.of(
                self.activations, self.cut, run.data, run.scaling, run.directions, dead=run.dead
            )
        return self._found

    def _under(self, defense: Defense) -> Leakage:
        transformed = bool(defense.transforms.stages)
        fisher = None if self.sensitivity is None or transformed else self.sensitivity.leakage(defense).value
        names = [name for name in self.settings.estimators if name != RIDGE]
        try:
            return self._estimate(defense, names, fisher)
        except CollabplanError as error:
            plain = [name for name in names if name not in LEARNED]
            if plain == names:
                raise
            where = at_defense(self.cut.name, defense.record)
            self.notes.append(f"{where}, {' and '.join(LEARNED)}: {error}")
            return self._estimate(defense, plain, fisher)

    def _estimate(self, defense: Defense, names: Sequence[str], fisher: float | None) -> Leakage:
        dropout = defense.record.dropout
        kind = "none" if dropout is None else dropout.granularity
        return self._leakage(defense).under(
            defense.tail,
            generator=generator_for(self.settings.seed, self.cut.id, kind, f"{defense.rate:g}"),
            estimators=[estimator_named(name) for name in names],
            ridge=RIDGE in self.settings.estimators,
            fisher=fisher,
        )


def _result_at(cut: Cut) -> ResultAt:
    """The edge-only cut stands for the model's output given away; elsewhere it does not matter."""
    return "cloud" if cut.kind == "edge-only" else "edge"


def _float_bytes(cut: Cut) -> int:
    return sum(crossing.sample_elements * max(4, crossing.element_bytes) for crossing in cut.crossing)


def _read(path: Path, cut: Cut) -> Finished | None:
    try:
        found = Finished.model_validate_json(path.read_bytes())
    except (OSError, ValidationError):
        return None
    return found if found.cut_id == cut.id else None
