"""Runs what no kept file answers: the attacks of one audit at one effort, and what an audit computes beside them."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TypeVar

import torch
from pydantic import TypeAdapter
from torch import Tensor

from ..defenses.catalogue import stage_revisions
from ..defenses.seeds import generator_for
from ..estimators.inversion import MANY
from ..records import AttackResult, AttributeRate, Audit, Exchange, FloorFigures, LinkageRate, hash_json, hash_rows
from ..records.revisions import Part, Revisions
from .adversary_view import AdversaryView
from .attributes import ATTRIBUTES, attribute_rates
from .audit_data import AuditData
from .audit_files import read_attack, remembered, write_attack
from .audit_keys import attack_key, attack_revisions, audit_key, part_revisions
from .audit_request import AttackVariant
from .claims import free_first, turn
from .floors import FLOORS, floor_figures
from .galleries import keep_gallery
from .interface import Attacker, Effort
from .invariants import less_from_more_releases
from .judgement import PICTURED, judged, practised, unjudged
from .linkage import LINKAGE, linkage_rates
from .metrics import JUDGE
from .near_copies import BEYOND, COPIES, EXACT, choose_reading, copies_told, most_telling, told_note
from .race import RACE, Run, Runner
from .refined import STARTS
from .releases import RELEASES, CopyKind
from .shared_fits import fitted_once
from .standing import Standing
from .threat import AttackFailed
from .time_limit import check_time

T = TypeVar("T")
LINKAGE_RATES = TypeAdapter(tuple[LinkageRate, ...])
FLOOR_FIGURES = TypeAdapter(tuple[FloorFigures, ...])
TOLD = TypeAdapter(dict[str, float])
ATTRIBUTE_RATES = TypeAdapter(tuple[AttributeRate, ...])
STANDING: TypeAdapter[Standing | None] = TypeAdapter(Standing | None)


@dataclass(frozen=True, eq=False)
class Made:
    """One finished attack.

    Attributes:
        runner: which.
        result: its figures.
        pictures: its first reconstructions `[n, *image_shape]`, if there are any.
        kept: the name of the file that keeps it.
    """

    runner: Runner
    result: AttackResult
    pictures: Tensor | None
    kept: str

    @property
    def index(self) -> float:
        """What it reached; below 0 without any figure."""
        return -1.0 if self.result.figures is None else self.result.figures.index.value


class AuditRun:
    """One audit at one effort.

    Args:
        data: what is audited.
        folder: where finished attacks are kept; None: nowhere.
        exchange: shares these with other machines.
        steering: the audit steers a search, which is content with exact repeats.
        whole: the run at the audit's own effort, if this is one of a race's rungs: what does not depend on the effort
            is taken from there.
    """

    def __init__(
        self, data: AuditData, folder: Path | None, exchange: Exchange, *, steering: bool, whole: AuditRun | None = None
    ) -> None:
        self.data, self.folder, self.exchange, self.steering = data, folder, exchange, steering
        self.request, self.target, self.seed = data.request, data.request.target, data.seed
        self._whole = whole or self
        self._key, self._stages = audit_key(data), stage_revisions(self.target.record)
        self._revisions = part_revisions(RELEASES, LINKAGE, ATTRIBUTES) | self._stages
        self._alone: dict[str, Attacker | None] = {}
        self._practised: dict[Runner, tuple[Attacker | None, str, torch.Generator]] = {}
        self._dropped: dict[str, AuditRun] = {} if whole is None else whole._dropped
        self._rungs: dict[Effort, AuditRun] = {data.effort: self}

    def at(self, effort: Effort) -> AuditRun:
        """The run of a rung at which attacks have this effort; itself at its own."""
        if effort not in self._rungs:
            data = replace(self.data, effort=effort)
            self._rungs[effort] = AuditRun(data, self.folder, self.exchange, steering=self.steering, whole=self)
        return self._rungs[effort]

    def runners(self, variant: AttackVariant) -> list[Runner]:
        """One attack: on exact repeats, and on near-duplicates where these tell more."""
        return [Runner(variant, copies) for copies in self._ways(variant)]

    def trained_on(self, made: Sequence[Made], step: Callable[[str], None]) -> list[Made]:
        """The same, after twice as many steps for networks that recovered less from several releases than from one."""
        wrong = {each.attack for each in less_from_more_releases([each.result for each in made])}
        found = list(made)
        for at, each in enumerate(made):
            if each.result.attack not in wrong or each.runner.variant.attack.per_image or not each.result.steps:
                continue
            step(f"{each.runner.label}, twice the steps")
            longer = self.at(replace(self.data.effort, train_steps=2 * self.data.effort.train_steps))
            again = longer.made(each.runner)
            if again.index > each.index:
                found[at] = again
        return found

    def _ways(self, variant: AttackVariant) -> list[CopyKind | None]:
        """What the further releases are of: the kind of near-duplicates that tells most; None for exact repeats.

        Exact repeats tell nothing new where masks are keyed. Where masks are fresh, near-duplicates are attacked if
        they tell more: shifted ones show a strided network other places of the scene.
        """
        if variant.queries == 1:
            return [None]
        if self.target.defense.record.masks == "keyed":
            return [most_telling(self.told)]
        if self.steering:
            return [None]
        copies = most_telling(self.told)
        return [None, copies] if self.told[str(copies)] > self.told[EXACT] + BEYOND else [None]

    @cached_property
    def told(self) -> dict[str, float]:
        """What ten releases tell by the kind of what is released (see `copies_told`)."""
        if self._whole is not self:
            return self._whole.told
        return self._remembered(
            COPIES,
            TOLD,
            lambda: copies_told(self.data.view("black-box"), generator_for(self.seed, "copies")),
        )

    @property
    def notes(self) -> tuple[str, ...]:
        """Which near-duplicates were attacked, if any were."""
        if "told" not in self.__dict__:
            return ()
        return (told_note(self.told),)

    def made(self, runner: Runner) -> Made:
        """One attack, carried out and judged at this effort; by one machine, while others wait for its result."""
        place = self._place(runner)
        with turn(place, self.exchange):
            return Made(runner, *self._attack(runner, place), self._name(runner, ".safetensors"))

    def free(self, runs: Sequence[Run], *, practised: bool = False) -> Iterator[Run]:
        """Runners with their efforts; first those that no other machine carries out, or practises, at that effort."""
        kind = (".json", RACE.name) if practised else (".safetensors",)
        return free_first(runs, lambda each: self.at(each[1])._place(each[0], *kind), self.exchange)

    def leave(self) -> None:
        """Let other machines carry out what was only practised here, at any effort."""
        for run in self._rungs.values():
            for runner in tuple(run._practised):
                run.forget(runner)

    def holds(self, runner: Runner) -> bool:
        """Whether it is fitted here at this effort, and not judged yet."""
        return runner in self._practised

    def forget(self, runner: Runner) -> None:
        """Drop a fitted attacker that will not be judged at this effort, with the claim that kept others from it."""
        if self._practised.pop(runner, None) is not None and (place := self._place(runner)) is not None:
            self.exchange.release(place)

    def drop(self, runner: Runner) -> None:
        """Note that a runner goes no further than this effort."""
        self._dropped[runner.label] = self

    def practise(self, runner: Runner) -> Standing | None:
        """How one attack does on images that are no targets, at this effort; None if it cannot be carried out."""
        revisions = attack_revisions(runner.variant.attack) | part_revisions(RACE)
        return self._kept(self._name(runner, ".json", RACE.name), STANDING, revisions, lambda: self._practise(runner))

    def _practise(self, runner: Runner) -> Standing | None:
        check_time()
        view, place = self._view(runner), self._place(runner)
        attacker, _, _ = self._practised[runner] = self._ready(runner, view)
        if place is not None:
            self.exchange.reserve(place)  # whoever has the fitted attacker judges it, unless another already does
        if attacker is None:
            return None
        draws = generator_for(self.seed, RACE.name)
        return practised(self.data, runner, attacker, view, draws)

    def _attack(self, runner: Runner, place: Path | None) -> tuple[AttackResult, Tensor | None]:
        revisions = attack_revisions(runner.variant.attack)
        self._whole._revisions |= revisions
        kept = read_attack(place, self.exchange)
        if kept is not None:
            return kept
        check_time()
        started = time.perf_counter()
        view = self._view(runner)
        ready = self._practised.pop(runner) if runner in self._practised else self._ready(runner, view)
        attacker, reason, draws = ready
        if attacker is None:
            result, pictures = unjudged(self.data, runner, reason), None
        else:
            result, pictures = judged(self.data, runner, attacker, view, draws)
        result = result.model_copy(update={"seconds": time.perf_counter() - started})
        write_attack(place, result, pictures, revisions | self._stages, self.exchange)
        return result, pictures

    def _view(self, runner: Runner) -> AdversaryView:
        return self.data.view(runner.variant.attack.threat, runner.variant, runner.copies)

    def _ready(self, runner: Runner, view: AdversaryView) -> tuple[Attacker | None, str, torch.Generator]:
        """The fitted attack, or why it failed; and the generator of what it draws from now on."""
        variant, copies = runner.variant, runner.copies
        draws = generator_for(self.seed, variant.label, *([] if copies is None else [str(copies)]))
        attacker, reason = self._fitted(variant, view, draws)
        if variant.plain and not self.steering:
            self._alone[variant.label] = attacker
        if attacker is not None and copies is not None and not self.steering:
            attacker = self._better(variant, attacker, view, draws)
        return attacker, reason, draws

    def _better(self, variant: AttackVariant, many: Attacker, view: AdversaryView, draws: torch.Generator) -> Attacker:
        """The attacker with near-duplicates, or the one with the first release alone, whichever recovers more."""
        single = AttackVariant(variant.attack)
        alone = self._dropped.get(single.label, self)._fitted_alone(single)
        if alone is None:
            return many
        return choose_reading(view, many, alone, draws, per_image=variant.attack.per_image)

    def _fitted_alone(self, single: AttackVariant) -> Attacker | None:
        """The attacker who reads one release; None if it cannot be fitted."""
        if single.label not in self._alone:  # its result was kept by an earlier run
            own = self.data.view(single.attack.threat, single)
            self._alone[single.label], _ = self._fitted(single, own, generator_for(self.seed, single.label))
        return self._alone[single.label]

    def keep_gallery(self, record: Audit, made: Sequence[Made]) -> None:
        """Keep the audit with its originals, for whoever wants to see them."""
        if self.folder is None:
            return
        pictured = {each.result.attack: each.kept for each in made if each.pictures is not None}
        name = hash_json([*self._key, "gallery", pictured, self._revisions])[:24]
        model, originals = self.target.traced.identity, self.data.images[:PICTURED]
        keep_gallery(self.folder, name, record, model, self.target.tuned_hash, originals, pictured, self._revisions)

    def _fitted(
        self, variant: AttackVariant, view: AdversaryView, draws: torch.Generator
    ) -> tuple[Attacker | None, str]:
        """The fitted attack, or why it failed. What other variants or `refined` will ask for again is fitted once."""
        attack, effort = variant.attack, self.data.effort
        begins = type(attack) in STARTS and not variant.other
        try:
            if view.believed.randomizes and not begins:
                return attack.fit(view, effort, draws), ""
            return fitted_once(attack, view, effort), ""
        except AttackFailed as error:
            return None, str(error)

    def _name(self, runner: Runner, suffix: str, *kind: str) -> str:
        """The name of a kept file that depends on one attack at this effort."""
        variant = runner.variant
        other = (self.request.others or {})[variant.other].content_hash if variant.other else ""
        revisions = attack_revisions(variant.attack) | (part_revisions(RACE) if kind else {})
        named = [attack_key(variant.attack), revisions, variant.label, other, str(runner.copies or ""), *kind]
        return f"{hash_json([*self._key, *named])[:24]}{suffix}"

    def _place(self, runner: Runner, suffix: str = ".safetensors", *kind: str) -> Path | None:
        """Where what `_name` names is kept; None if nothing is."""
        return self.folder and self.folder / self._name(runner, suffix, *kind)

    def floors(self) -> tuple[FloorFigures, ...]:
        """The figures of images that use no release."""
        return self._remembered(FLOORS, FLOOR_FIGURES, lambda: floor_figures(self.data), JUDGE)

    def linkage(self) -> tuple[LinkageRate, ...]:
        """Releases matched to exact and near copies, by an attacker who may query the device."""
        return self._remembered(LINKAGE, LINKAGE_RATES, self._linkage)

    def _linkage(self) -> tuple[LinkageRate, ...]:
        gallery, defense = self.data.gallery, self.target.defense
        repeats, copies = [1, MANY] if defense.randomizes else [1], None
        if defense.randomizes and not defense.repeats:  # exact repeats tell nothing new: the masks are keyed
            copies = most_telling(self.told)
        rows, found = self.target.clean_rows(gallery), []
        for near in (False, True):
            for queries in repeats:
                draws = generator_for(self.seed, "linkage", str(near), queries)
                if copies is None or queries == 1:
                    released = self.target.release_rows(rows, gallery, draws, queries=queries)
                else:
                    released = self.target.release(gallery, draws, queries=queries, copies=copies)
                view = replace(self.data.view("black-box"), queries=queries, copies=copies)
                found.append(linkage_rates(view, gallery, released, draws, near=near))
        return tuple(found)

    def attributes(self) -> tuple[AttributeRate, ...]:
        """Probes for the sensitive labels; nothing without such labels."""
        return self._remembered(ATTRIBUTES, ATTRIBUTE_RATES, self._attributes)

    def _attributes(self) -> tuple[AttributeRate, ...]:
        request = self.request
        if request.sensitive is None or request.intercepted is None:
            return ()
        asked, known = request.sensitive
        draws = generator_for(self.seed, "attributes")
        return attribute_rates(
            self.data.view("black-box"),
            self.target.release(request.intercepted, draws),
            known,
            self.target.release(self.data.targets, draws),
            asked[: len(self.data.targets)],
            draws,
        )

    def _remembered(self, part: Part, kind: TypeAdapter[T], compute: Callable[[], T], *others: Part) -> T:
        """What an earlier run found, else what `compute` finds by `part` and `others`."""
        labels = [hash_rows(each) for each in self.request.sensitive or ()]
        revisions = part_revisions(RELEASES, part, *others)
        name = hash_json([*self._key, part.name, labels, revisions])[:24]
        return self._kept(f"{name}.json", kind, revisions, compute)

    def _kept(self, name: str, kind: TypeAdapter[T], revisions: Revisions, compute: Callable[[], T]) -> T:
        place = self.folder and self.folder / name
        return remembered(place, kind, {**revisions, **self._stages}, compute, self.exchange)
