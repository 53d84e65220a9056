"""Accuracy, latency and leakage of one candidate: a deterministic function of (point, seed, data).

Every random draw comes from a generator seeded by (seed, point, purpose), so that a candidate has the
same figures whenever, and after whatever, it is evaluated.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from ..attacks.time_limit import interruptible
from ..defenses.catalogue import stage_revisions
from ..defenses.pipeline import Defense, defends, dropped_at
from ..defenses.projection import ProjectionMatrices
from ..defenses.seeds import derive_seed, generator_for
from ..estimators.activations import EdgeActivations
from ..estimators.combined import FEW_SAMPLES
from ..estimators.fisher import dead_at
from ..estimators.input_directions import InputDirections, input_directions
from ..estimators.jacobian import EdgeJacobian
from ..estimators.leakage import CutLeakage, by_definition
from ..estimators.ridge import MIN_SAMPLES
from ..estimators.secrets import Secrets
from ..graph import Cut
from ..graph.halves import with_weights
from ..graph.signature import require_fixed_outputs
from ..profilers.joining import JoinedProfile
from ..records import ALONE, Accuracy, Candidate, CollabplanError, Granularity, Leakage, Tuning
from ..records.byte_cache import ByteBoundedCache
from ..records.revisions import revisions_of
from ..targets.data import Data
from .accuracy import ScaleOfMetric, Scorer, Scores, beside_constant, paired_accuracy
from .artifacts import open_artifacts
from .budgets import Costs, judged
from .defending import Defenses
from .fastest import ExtraCut, extra_cut, named_cut, priced
from .finetune import FINE_TUNING, Tuned, fine_tune, trains_against
from .latency import defense_ms, edge_energy_mj, predict_latency
from .problem import Problem, SearchOptions, described_metric
from .readings import Reading, first_rows
from .recognise import read_outputs, recognised
from .roles import TRAIN_DATA
from .space import DEFAULT_RATES, Point, Space, point_of
from .tuned_files import TunedFiles

Split = Literal["search", "confirm"]

WORTH_TUNING = 0.002
"""Accuracy that a defense must cost, measured on the search split, before the cloud half is fine-tuned under it."""

JACOBIAN_SHARE = 8
"""One byte in so many of the cache's is for derivatives of edge halves: they cost most where inputs are large."""

KEPT_CUTS = 3
"""Cuts whose Gram matrices, and points whose fine-tuned weights, are kept: a search comes back to the same ones."""


@dataclass(frozen=True, eq=False)
class UndefendedScores:
    """The whole model's scores on one split, and the labels of its samples."""

    scores: Scores
    labels: Tensor | None


class Evaluator:
    """Evaluates points of one problem. Keeps edge activations in a bounded cache; `tell` hears what takes long.

    Beside the problem's candidates it knows one cut more, where the fastest of all cuts is none of them; in its place
    that of `named`, where a candidate is given that was measured at another such cut.
    """

    def __init__(
        self, problem: Problem, options: SearchOptions, folder: Path | None = None, named: Candidate | None = None
    ) -> None:
        if options.tuning is not None and problem.train is None:
            raise CollabplanError("fine-tuning needs train_data; define it in the target file")
        if options.tuning is not None and options.tuning.penalty and problem.attackers.source == TRAIN_DATA:
            raise CollabplanError(
                "a penalty on reconstruction trains projections to hide the images of train_data, and the attacker "
                "owns just these, since no attacker_data is defined: attacks would then flatter the plan; define "
                "attacker_data in the target file, images that nothing is trained on"
            )
        if "energy" in options.objectives and problem.power is None:
            raise CollabplanError("energy as an objective needs the device's power; declare it with --edge-watts")
        require_fixed_outputs(problem.traced)
        self.problem = problem
        self.folder = folder
        self.tell: Callable[[str], None] = lambda _: None
        self.exchange = ALONE if options.artifacts is None else open_artifacts(options.artifacts)
        self._tuned_files = TunedFiles(None if folder is None else folder / "tuned", self.exchange)
        self.options = options
        self.profile: JoinedProfile = problem.joined()
        self.cuts: dict[str, Cut] = {cut.id: cut for cut in problem.cuts}
        self.extra, self._extra_notes = self._find_extra(named)
        if self.extra is not None:
            self.cuts[self.extra.cut.id] = self.extra.cut
            self.profile = self.profile.with_cut(self.extra.joined)
        self._left_out: set[str] = set()
        self.activations = EdgeActivations(
            problem.traced,
            cache_bytes=options.memory.array_bytes,
            memory=options.memory,
            batch_size=options.batch,
            device=problem.device,
        )
        self.defenses = Defenses(self.activations, problem.search, self.cuts, options)
        self._outputs: dict[Split, list[tuple[Data, Any]]] = {}
        self._undefended: dict[Split, UndefendedScores] = {}
        self._subsets: dict[Split, Data] = {}
        self._secrets: dict[Split, Secrets] = {}
        self._tuned: dict[Point, Tuned | None] = {}
        self._cut_leakages: dict[tuple[str, Split, str], CutLeakage] = {}
        self._directions: dict[Split, tuple[InputDirections, ...]] = {}
        self._dead: dict[Split, dict[str, tuple[str, ...]]] = {}
        self._jacobians = ByteBoundedCache[tuple[str, Split], EdgeJacobian](
            options.memory.array_bytes // JACOBIAN_SHARE, lambda each: each.nbytes, keeps_newest=True
        )

    def _find_extra(self, named: Candidate | None) -> tuple[ExtraCut | None, list[str]]:
        """The additional cut, or None; and what the user should know about it."""
        cut = None if named is None else named_cut(self.problem, named)
        try:
            if cut is not None:
                return (None if cut.id in self.cuts else priced(self.problem, cut)), []
            if not self.options.fastest:
                return None, []
            extra = extra_cut(self.problem, self.options.searched[0].without("dropout"))
        except CollabplanError as error:
            return None, [f"only the profiled cuts are searched: {error}"]
        if extra is None:
            return None, []
        which = "the fastest of all cuts" if extra.proven else "the fastest cut that was found (not proven)"
        return extra, [f"{which} undefended is none of the profiled ones and is searched too: {extra.cut.name}"]

    @cached_property
    def reading(self) -> Reading:
        """How the model's outputs are read where the target defines no metric; decided over all validation data.

        Raises:
            TargetError: in no way that is right (see `recognised`).
            TimeUp: a deadline that `until` set has passed.
        """
        search, confirm = self.problem.search, self.problem.confirm
        with interruptible():
            return self.activations.batch.attempt(
                lambda: recognised(self.activations, search, confirm, read=self._read_and_kept)
            )

    def _read_and_kept(self, activations: EdgeActivations, data: Data) -> Iterator[tuple[Data, Any]]:
        """What `read_outputs` gives; whole splits are kept until they are scored."""
        found = []
        for each in read_outputs(activations, data):
            found.append(each)
            yield each
        self._outputs["search" if data is self.problem.search else "confirm"] = found

    @cached_property
    def metric(self) -> str:
        """What accuracy is, in words that another metric does not share."""
        return self.reading.name if self.problem.evaluate is None else described_metric(self.problem.evaluate)

    @cached_property
    def _scorer(self) -> Scorer:
        return Scorer(self.problem.evaluate or self.reading)

    @cached_property
    def space(self) -> Space:
        """Every point that can be measured, whatever the budgets; the cut that was not profiled comes last."""
        searchable = [cut for cut in self.cuts.values() if cut.searchable]
        kinds = {cut.id: self._admitted(cut) for cut in searchable if defends(cut)}
        asked = {each.projection for each in self.options.searched if each.projection is not None}
        refused = frozenset(
            (cut.id, projection)
            for cut in searchable
            for projection in asked
            if not (cut.id in kinds and self.defenses.narrows(cut, projection))
        )
        return Space(tuple(cut.id for cut in searchable), kinds, self.options.searched, refused)

    def _admitted(self, cut: Cut) -> tuple[Granularity, ...]:
        """Dropout kinds worth trying at a cut. Channel dropout of plain vectors is element dropout."""
        acted_on, asked = dropped_at(cut), {each.dropout for each in self.options.searched if each.dropout is not None}
        vectors = all(c.sample_elements == (c.sample_shape[0] if c.sample_shape else 1) for c in acted_on)
        kinds = {dropout.granularity for dropout in asked}
        return tuple(kind for kind in ("element", "channel") if kind in kinds and not (kind == "channel" and vectors))

    def costs(self, point: Point) -> Costs:
        """Latency, payload, memory and parameters of a point, by the additive model: nothing is run."""
        cut, joined = self.cuts[point.cut_id], self.profile.cuts[point.cut_id]
        defense = Defense.for_cut(point.defense, cut)
        batch, result_at = self.profile.batch, self.problem.budgets.result_at
        stays = cut.kind == "edge-only" and result_at == "edge"
        payload = 0 if stays else defense.payload_bytes()
        download = self.problem.edge_profile.sample_output_bytes * batch
        latency = predict_latency(
            joined,
            self.problem.link,
            upload_bytes=payload * batch,
            download_bytes=download,
            device_defense_ms=defense_ms(defense, batch),
            edge_slowdown=self.problem.edge_slowdown,
            result_at=result_at,
        )
        fetched = download if latency.parts.download_ms else 0
        power = self.problem.power
        energy = None if power is None else edge_energy_mj(latency, payload * batch + fetched, power)
        return Costs(latency, payload, joined.cut.edge_peak_bytes, joined.cut.edge_parameter_count, energy)

    def reprice(self, candidate: Candidate) -> Candidate | None:
        """A candidate of an earlier run with its costs by the present profiles and link.

        None where its cut was the fastest of all under another link or profile, and is not now: it has no costs here.

        Raises:
            CollabplanError: the candidate's cut is none of this model's.
        """
        if candidate.cut_id not in self.cuts:
            if named_cut(self.problem, candidate) is not None:
                self._left_out.add(candidate.cut_name)
                return None
            raise CollabplanError(
                f"the study holds a trial at cut {candidate.cut_name!r}, which this model does not have"
            )
        return candidate.model_copy(update=_cost_fields(self.costs(point_of(candidate))))

    def evaluate(self, point: Point, split: Split = "search") -> Candidate:
        """Measure one point on one split of the validation data.

        Raises:
            TimeUp: a deadline that `until` set has passed.
            CollabplanError: a figure cannot be measured; it says which and why.
        """
        cut = self.cuts[point.cut_id]
        with interruptible():
            candidate = Candidate(
                cut_id=cut.id,
                cut_name=cut.name,
                cut_kind=cut.kind,
                defense=point.defense,
                **_cost_fields(self.costs(point)),
                accuracy=self.accuracy(point, split),
                leakage=self.leakage(point, split),
                tuned=self.tuned(point) is not None,
                meets_budgets=True,
            )
        return judged(candidate, self.problem.budgets)

    def confirm(self, candidate: Candidate) -> Candidate:
        """The candidate's point measured again on the confirm split. Raises as `evaluate`."""
        return self.evaluate(point_of(candidate), "confirm")

    def defense(self, point: Point) -> Defense:
        """The point's defense with its static ranges, calibrated on the search split (never on the confirm split)."""
        return self.defenses.bound(point, self.projection(point))

    def projection(self, point: Point) -> ProjectionMatrices | None:
        """The matrices of a point's projection, fitted on the search split or trained; None without a projection."""
        if point.defense.projection is None:
            return None
        tuned = self._learnt(point)
        return self.defenses.fitted(point) if tuned is None else tuned.matrices

    def accuracy(self, point: Point, split: Split) -> Accuracy:
        """Accuracy over all samples of a split, with fresh masks per sample, averaged over the draws."""
        return self._accuracy(point, split, self.defense(point), self.tuned(point))

    def _accuracy(self, point: Point, split: Split, defense: Defense, weights: Mapping[str, Tensor] | None) -> Accuracy:
        return self.activations.batch.attempt(lambda: self._measured_accuracy(point, split, defense, weights))

    def _measured_accuracy(
        self, point: Point, split: Split, defense: Defense, weights: Mapping[str, Tensor] | None
    ) -> Accuracy:
        undefended, cut = self._whole(split), self.cuts[point.cut_id]
        if not defense.changes:
            return paired_accuracy(undefended.scores, [undefended.scores], changes=False)
        draws = self.options.draws if defense.randomizes else 1
        tallies = [self._scorer.tally() for _ in range(draws)]
        generators = [generator_for(self.options.seed, point.key, split, "accuracy", draw) for draw in range(draws)]
        cloud = self.activations.halves(cut).cloud
        if weights is not None:
            cloud = with_weights(cloud, weights)
        start = 0
        for samples, tensors in self._crossing(cut, split):
            labels = None if undefended.labels is None else undefended.labels[start : start + len(samples)]
            start += len(samples)
            for tally, generator in zip(tallies, generators, strict=True):
                outputs = self._run(cloud, defense.simulate(tensors, generator), len(samples))
                tally.add(outputs, labels, len(samples))
        return paired_accuracy(undefended.scores, [tally.finish() for tally in tallies])

    def tuned(self, point: Point) -> dict[str, Tensor] | None:
        """The cloud half's parameters fine-tuned under a point's defense, by name.

        None where none is asked for, the defense costs nothing on the search split, or tuning gained nothing.
        """
        learnt = self._learnt(point)
        return None if learnt is None else learnt.weights

    def _learnt(self, point: Point) -> Tuned | None:
        """What fine-tuning gave. Kept in the folder by the content of everything that it depends on."""
        if point not in self._tuned:
            while len(self._tuned) >= KEPT_CUTS:
                self._tuned.pop(next(iter(self._tuned)))
            self._tuned[point] = self._tune(point)
        return self._tuned[point]

    def _tune(self, point: Point) -> Tuned | None:
        tuning, train, cut = self.options.tuning, self.problem.train, self.cuts[point.cut_id]
        if tuning is None or train is None:
            return None
        defense = self.defenses.bound(point, self.defenses.fitted(point))
        key = [
            self.problem.traced.identity.model_dump(mode="json"), cut.id, defense.record.model_dump(mode="json"),
            train.content_hash, self.problem.search.content_hash, tuning.marks(), self.options.seed,
            self.options.draws, self.options.batch, self.metric,
            *([] if self.problem.device.type == "cpu" else [self.problem.device.type]),
        ]  # fmt: skip
        revisions = stage_revisions(defense.record) | revisions_of("tuning", [FINE_TUNING])
        known, found = self._tuned_files.read(key, revisions)
        if known:
            return found
        if trains_against(tuning, defense) or (
            self._accuracy(point, "search", defense, None).drop.value > WORTH_TUNING
        ):
            reading = self._taught(tuning)
            found = self.activations.batch.attempt(
                lambda: fine_tune(
                    self.activations,
                    cut,
                    defense,
                    train,
                    tuning,
                    generator_for(self.options.seed, point.key, "tuning"),
                    scaling=self.problem.scaling,
                    reading=reading,
                    step=lambda done: self.tell(f"fine-tuning at {cut.name}: {done:.0%}"),
                )
            )
        self._tuned_files.write(key, revisions, found)
        return found

    def _taught(self, tuning: Tuning) -> Reading | None:
        """How fine-tuning reads the outputs; None where only the target's own metric knows."""
        own_metric = self.problem.evaluate is not None and tuning.loss == "distillation"
        return None if own_metric else self.reading

    def leakage(self, point: Point, split: Split) -> Leakage:
        """Leakage of the released tensors, estimated on `leakage_samples` samples of a split."""
        cut, result_at = self.cuts[point.cut_id], self.problem.budgets.result_at
        known = by_definition(cut, result_at=result_at)
        if known is not None:
            return known
        generator = generator_for(self.options.seed, point.key, split, "leakage")
        defense = self.defense(point)
        return self._cut_leakage(cut, split, defense).under(defense.tail, generator=generator)

    def _cut_leakage(self, cut: Cut, split: Split, defense: Defense) -> CutLeakage:
        """What all defenses at a cut share whose codes are the same; the last few are kept."""
        key = (cut.id, split, defense.codes_key)
        if key not in self._cut_leakages:
            while len(self._cut_leakages) >= KEPT_CUTS:
                self._cut_leakages.pop(next(iter(self._cut_leakages)))
            seed = self.options.seed
            self._cut_leakages[key] = CutLeakage.behind(
                defense,
                self._rows(cut, split),
                self._inputs(split),
                cut,
                lambda data: self.activations.computed(cut, data),
                generator_for(seed, cut.id, split, "transform", defense.codes_key),
                result_at=self.problem.budgets.result_at,
                rates=(0.0, *sorted({*DEFAULT_RATES, *self.space.rates})),
                seed=derive_seed(seed, cut.id, split, "leakage"),
                jacobian=partial(self._jacobian, cut, split),
                memory=self.options.memory,
            )
        return self._cut_leakages[key]

    def _jacobian(self, cut: Cut, split: Split) -> EdgeJacobian:
        """The derivatives of a cut's edge half, which all defenses share; as many as the cache holds are kept."""
        found = self._jacobians.get((cut.id, split))
        if found is None:
            if split not in self._directions:
                self._directions[split] = input_directions(
                    self._subset(split),
                    self.problem.traced,
                    self.problem.scaling,
                    generator=generator_for(self.options.seed, split, "directions"),
                )
            if split not in self._dead:
                searched = [each for each in self.cuts.values() if each.searchable]
                self._dead[split] = dead_at(self.activations, searched, self._subset(split))
            found = EdgeJacobian.of(
                self.activations,
                cut,
                self._subset(split),
                self.problem.scaling,
                self._directions[split],
                dead=self._dead[split],
            )
            self._jacobians.put((cut.id, split), found)
        return found

    @cached_property
    def leakage_samples(self) -> int:
        """Samples that leakage is estimated on: as many at every cut, or the cuts could not be compared."""
        given = min(len(self.problem.search), len(self.problem.confirm))
        return max(min(self.options.leakage_samples, given), min(given, MIN_SAMPLES))

    @property
    def notes(self) -> tuple[str, ...]:
        """What the user should know about how the figures were made."""
        used = self.leakage_samples
        notes = [*self._extra_notes]
        if self._left_out:
            notes.append(
                "earlier trials are left out whose cut was the fastest of all under another link or profile: "
                f"{', '.join(sorted(self._left_out))}"
            )
        if used < FEW_SAMPLES:
            notes.append(
                f"leakage is estimated on {used} samples; fewer than {FEW_SAMPLES} hardly tell how the inputs vary, "
                "and high ends are those of an attacker who knows it"
            )
        if self.options.tuning is not None and self.options.tuning.penalty:
            notes.append(
                "projections of the whole were trained against a linear attacker, and the leakage estimate is of the "
                "same family: it flatters such candidates, and only audits tell"
            )
        if self.options.trains_projections and self.problem.attackers.source == TRAIN_DATA:
            notes.append(
                "projections are trained on the images that the attacker owns (no attacker_data is defined), so "
                "attacks may flatter them; define attacker_data, images that nothing is trained on"
            )
        if self.problem.evaluate is None:
            notes += self.reading.notes
            if "search" in self._undefended or "search" in self._outputs:
                scores = self._whole("search").scores
                said = beside_constant(self.reading, scores.values, self.problem.search.labels)
                notes += [said] if said else []
        elif self.problem.budgets.max_accuracy_drop is not None and (scale := self._scale_of_metric()) is not None:
            said = scale.beside(self.problem.budgets.max_accuracy_drop, self._scorer.metric)
            notes += [said] if said else []
        return tuple(notes)

    def _scale_of_metric(self) -> ScaleOfMetric | None:
        """The scale of the user's own metric on one batch, also where a resumed search had nothing to measure."""

        def run() -> ScaleOfMetric | None:
            samples, outputs = next(self._undefended_outputs("search"))
            return ScaleOfMetric.of(self._scorer, outputs, samples.labels, len(samples))

        return self.activations.batch.attempt(run)

    def _inputs(self, split: Split) -> Secrets:
        if split not in self._secrets:
            self._secrets[split] = Secrets.of(self._subset(split), self.problem.traced, self.problem.scaling)
        return self._secrets[split]

    def _whole(self, split: Split) -> UndefendedScores:
        """The undefended model on a split: its scores, and the labels that defended scores are taken against."""
        if split not in self._undefended:
            tally, labels = self._scorer.tally(), list[Tensor]()
            for samples, outputs in self._outputs.pop(split, None) or self._undefended_outputs(split):
                own = self._scorer.needs_own_labels
                given = self._scorer.own_labels(outputs) if own else samples.labels
                tally.add(outputs, given, len(samples))
                labels += [] if given is None else [given]
            self._undefended[split] = UndefendedScores(tally.finish(), torch.cat(labels) if labels else None)
        return self._undefended[split]

    def _undefended_outputs(self, split: Split) -> Iterator[tuple[Data, Any]]:
        cut = self.problem.cuts[0]
        for samples, tensors in self._crossing(cut, split):
            yield samples, self._run(self.activations.halves(cut).cloud, tensors, len(samples))

    def _crossing(self, cut: Cut, split: Split) -> Iterator[tuple[Data, tuple[Tensor, ...]]]:
        """Successive batches of a split with what crosses at `cut`, in the graph's layout."""
        return self.activations.batches(cut, self._data(split))

    def _run(self, cloud: nn.Module, tensors: tuple[Tensor, ...], count: int) -> Any:
        with torch.inference_mode():
            outputs = cloud(*(tensor.to(self.activations.device) for tensor in tensors))
            return first_rows(outputs, count, self.activations.rows_run(count))

    def _rows(self, cut: Cut, split: Split) -> list[Tensor]:
        """The first `leakage_samples` rows of every crossing, laid back to samples."""
        data = self._data(split)
        whole_fits = self.activations.affordable_samples(cut) >= len(data)
        rows = self.activations.rows(cut, data if whole_fits else self._subset(split))
        return [
            row if c.layout is None else row[: self.leakage_samples] for row, c in zip(rows, cut.crossing, strict=True)
        ]

    def _data(self, split: Split) -> Data:
        return self.problem.search if split == "search" else self.problem.confirm

    def _subset(self, split: Split) -> Data:
        """The samples that leakage is estimated on. Halves are random, so their first samples are too."""
        if split not in self._subsets:
            self._subsets[split] = self._data(split).take(range(self.leakage_samples))
        return self._subsets[split]


def _cost_fields(costs: Costs) -> dict[str, object]:
    return {
        "latency": costs.latency,
        "payload_bytes": costs.payload_bytes,
        "edge_peak_bytes": costs.edge_peak_bytes,
        "edge_parameter_count": costs.edge_parameter_count,
        "edge_energy_mj": costs.edge_energy_mj,
    }
