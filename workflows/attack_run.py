"""Runs the attacks for `collabplan attack`: who owns which data, one audit per (cut, defense), all of it kept."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

import torch
from torch import Tensor

from ..attacks import ArtifactCache, Attack, AuditOutcome, AuditRequest, Effort, checked, merged, random_queries
from ..attacks.declared_output import floor_attacks, floor_of
from ..attacks.race import RACED
from ..defenses import Defense, ProjectionMatrices
from ..defenses.pipeline import defenses_at
from ..defenses.seeds import generator_for
from ..estimators import EdgeActivations, ProjectionFits, by_definition
from ..graph import Cut, TracedGraph, with_weights
from ..planner.accuracy import Evaluate, Scorer, paired_accuracy
from ..planner.audits import ask, run_seeds
from ..planner.readings import Reading, first_rows
from ..planner.roles import Roles
from ..records import ALONE, Audit, DefenseRecord, Exchange, Interval, Plan, Returns, TierFigures
from ..records.memory import UNBOUNDED, MemoryBudget
from ..targets import Data, InputScaling
from ..targets.target import Target
from .defense_options import at_defense
from .reporter import Advance

CALIBRATION = 512
"""Images that the quantizer's ranges are taken from."""

BATCH = 64


@dataclass(frozen=True, slots=True)
class AttackSettings:
    """How every cut is attacked."""

    defenses: tuple[DefenseRecord, ...]
    attacks: tuple[Attack, ...]
    effort: Effort
    seeds: tuple[int, ...]
    device: torch.device
    memory_bytes: int
    racing: bool = True
    raced_for: tuple[str, ...] = RACED


@dataclass(frozen=True, eq=False)
class AttackRun:
    """Attacks on several cuts and defenses, or on those of a plan. Without `metric` accuracy is not reported."""

    target: Target
    traced: TracedGraph
    cuts: tuple[Cut, ...]
    plan: Plan | None
    roles: Roles
    scaling: InputScaling
    settings: AttackSettings
    folder: Path
    metric: Evaluate | Reading | None = None
    tuned: Mapping[str, Tensor] | None = None
    projection: ProjectionMatrices | None = None
    notes: list[str] = field(default_factory=list)
    exchange: Exchange = ALONE
    memory: Callable[[], MemoryBudget] = lambda: UNBOUNDED

    def pairs(self) -> Iterator[tuple[Cut, DefenseRecord]]:
        """What is attacked: each cut under each defense that makes a difference, the model's output as it is."""
        for cut in self.cuts:
            if cut.kind == "edge-only":
                yield cut, self.floor[1]
            elif self.plan is not None:
                yield cut, self.plan.defense
            else:
                yield from ((cut, defense) for defense in defenses_at(cut, self.settings.defenses))

    @cached_property
    def floor(self) -> tuple[Returns, DefenseRecord]:
        """What the service returns, and the stages that make it of the model's output; see `declared_output`."""
        return floor_of(self.cuts, self.target.returns)

    @cached_property
    def others(self) -> dict[str, Data]:
        """Data for a black-box attacker who has no images of the targets' kind."""
        found = {} if self.roles.other is None else {"other images": self.roles.other}
        count = min(self.settings.effort.fit_samples, len(self.roles.auxiliary))
        blank = self.roles.auxiliary.take(torch.arange(count))
        at = next(at for at, spec in enumerate(self.traced.tensor_inputs) if not spec.public)
        shape = blank.inputs[at].shape[1:]
        pixels = random_queries(count, shape, generator_for(self.settings.seeds[0], "random queries"))
        inputs = list(blank.inputs)
        inputs[at] = self.scaling.from_unit(pixels).to(inputs[at].dtype)
        return {**found, "random queries": Data(tuple(inputs))}

    def run(self, advance: Advance, say: Callable[[str], None]) -> list[AuditOutcome]:
        """Every audit, edge to cloud.

        Raises:
            CollabplanError: a model that attacks do not apply to, or too little data.
        """
        pairs = sorted(self.pairs(), key=lambda pair: pair[0].depth)
        activations = EdgeActivations(self.traced, cache_bytes=0, batch_size=BATCH, device=self.settings.device)
        assert self.roles.intercepted is not None
        fits = ProjectionFits.of(activations, self.roles.intercepted, self.settings.defenses, self.settings.seeds[0])
        memory = self.memory()  # only now the data that nobody uses are gone
        made, shared = [], {seed: ArtifactCache(seed, memory) for seed in self.settings.seeds}
        which = {seed: f" (seed {seed})" if len(shared) > 1 else "" for seed in shared}
        for done, (cut, record) in enumerate(pairs):
            name = at_defense(cut.name, record)
            if cut.kind != "edge-only" and by_definition(cut) is not None:
                why = (
                    "the raw input crosses, which leaks everything"
                    if cut.sends_raw_input
                    else "nothing private crosses"
                )
                self.notes.append(f"{cut.name}: {why}; no attack is needed")
                continue
            found = run_seeds(
                self._requests(activations, fits, cut, record),
                self.settings.attacks
                if cut.kind != "edge-only"
                else floor_attacks(self.settings.attacks, self.floor[0]),
                self.settings.effort,
                shared,
                folder=self.folder,
                exchange=self.exchange,
                racing=self.settings.racing,
                raced_for=self.settings.raced_for,
                step=lambda seed, what: advance(done, len(pairs), f"{name}{which[seed]}: {what}"),  # noqa: B023
            )
            record_of_all = merged([outcome.record for outcome in found])
            made.append(replace(found[0], record=record_of_all))
            say(f"{name}: {worst_tier(record_of_all)}")
        records = checked([outcome.record for outcome in made])
        return [replace(outcome, record=record) for outcome, record in zip(made, records, strict=True)]

    def _requests(
        self, activations: EdgeActivations, fits: ProjectionFits, cut: Cut, record: DefenseRecord
    ) -> Callable[[int], AuditRequest]:
        """What is audited, by seed: the defense is fitted and calibrated, and the accuracy measured, once for all."""
        if cut.kind == "edge-only":
            defense = Defense(record, cut.crossing)
        elif self.plan is not None:
            defense = Defense.bound(record, cut.crossing, self.projection)
        else:
            defense, note = fits.bound(record, cut)
            self.notes.extend({note} - {"", *self.notes})
        calibrated = self.plan is not None or not (defense.record.quantizer or defense.record.noise)
        if not calibrated:
            assert self.roles.intercepted is not None
            few = self.roles.intercepted.take(torch.arange(min(CALIBRATION, len(self.roles.intercepted))))
            rows = activations.rows(cut, few)
            defense = defense.calibrate(activations.to_graph(cut, rows))
        # A label is no score that a metric could read: accuracy is that of the output as it is.
        measured = Defense.for_cut(record, cut) if cut.kind == "edge-only" else defense
        accuracy = activations.batch.attempt(lambda: self._accuracy(activations, cut, measured))
        return lambda seed: ask(
            self.traced,
            cut,
            defense,
            self.scaling,
            self.roles,
            seed=seed,
            device=self.settings.device,
            batch_size=BATCH,
            others={} if self.settings.effort.name == "quick" else self.others,
            accuracy=accuracy,
            tuned=self._tuned_at(cut),
        )

    def _tuned_at(self, cut: Cut) -> Mapping[str, Tensor] | None:
        """The plan's fine-tuned weights; None at the edge-only cut, which has no cloud half."""
        return None if cut.kind == "edge-only" else self.tuned

    def _accuracy(self, activations: EdgeActivations, cut: Cut, defense: Defense) -> Interval | None:
        """Of the model under the defense, on the targets that are attacked; None without a metric."""
        data = self.roles.targets.take(torch.arange(min(self.settings.effort.targets, len(self.roles.targets))))
        if self.metric is None:
            return None
        scorer = Scorer(self.metric)
        clean, defended = scorer.tally(), scorer.tally()
        draws = generator_for(self.settings.seeds[0], cut.id, "accuracy")
        cloud = own = activations.halves(cut).cloud
        tuned = self._tuned_at(cut)
        if tuned is not None:
            own = with_weights(cloud, tuned)
        with torch.no_grad():
            for batch, crossed in activations.batches(cut, data):
                felt = defense.simulate(crossed, draws)
                for half, tally, tensors in ((cloud, clean, crossed), (own, defended, felt)):
                    outputs = half(*(tensor.to(self.settings.device) for tensor in tensors))
                    outputs = first_rows(outputs, len(batch), activations.rows_run(len(batch)))
                    tally.add(outputs, batch.labels, len(batch))
        return paired_accuracy(clean.finish(), [defended.finish()], changes=defense.changes).accuracy


def worst_tier(made: Audit) -> str:
    """The worst tier in one line."""
    worst = made.tiers[-1] if made.tiers else None
    if worst is None:
        return "no attack gave a figure"
    return (
        f"{worst.threat} index {worst.index.value:.3f} ({worst.index_attack}), re-identified "
        f"{worst.reidentification.value:.1%}{_failed(worst)}"
    )


def _failed(tier: TierFigures) -> str:
    return f"; FAILED: {', '.join(tier.failed)}" if tier.failed else ""
