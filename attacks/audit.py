"""The suite against one (cut, defense): every attack that a threat model permits. The worst of them counts.

Each finished attack is kept, named by everything that made it, so an interrupted audit repeats none.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
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
from ..records import (
    ALONE,
    AttackResult,
    AttributeRate,
    Audit,
    Exchange,
    FloorFigures,
    LinkageRate,
    hash_json,
    hash_rows,
)
from ..records.revisions import Part
from .adversary_view import AdversaryView
from .artifact_cache import ArtifactCache
from .attributes import ATTRIBUTES, attribute_rates
from .audit_data import AuditData
from .audit_files import read_attack, remembered, write_attack
from .audit_keys import attack_key, attack_revisions, audit_key, part_revisions
from .audit_request import AttackVariant, AuditRequest, attack_variants
from .excess import over_class_mean
from .floors import FLOORS, floor_figures
from .galleries import keep_gallery
from .interface import Attack, Attacker, Effort
from .invariants import failed, less_from_more_releases
from .judgement import PICTURED, judged, unjudged
from .linkage import LINKAGE, linkage_rates
from .metrics import JUDGE
from .near_copies import BEYOND, COPIES, EXACT, choose_reading, copies_told, most_telling, told_note
from .refined import STARTS
from .releases import RELEASES, CopyKind
from .shared_fits import fitted_once
from .threat import AttackFailed
from .tiers import tier_figures
from .time_limit import check_time

T = TypeVar("T")
LINKAGE_RATES = TypeAdapter(tuple[LinkageRate, ...])
FLOOR_FIGURES = TypeAdapter(tuple[FloorFigures, ...])
TOLD = TypeAdapter(dict[str, float])
ATTRIBUTE_RATES = TypeAdapter(tuple[AttributeRate, ...])


@dataclass(frozen=True, eq=False)
class AuditOutcome:
    """An audit with its pictures.

    Attributes:
        record: all figures.
        originals: the first target images, `[n, *image_shape]` in [0, 1].
        pictures: by attack, its reconstructions of these.
    """

    record: Audit
    originals: Tensor
    pictures: Mapping[str, Tensor]


def run_audit(
    request: AuditRequest,
    attacks: Sequence[Attack],
    effort: Effort,
    *,
    seed: int,
    folder: Path | None = None,
    artifacts: ArtifactCache | None = None,
    strongest: bool = False,
    naive: bool = True,
    exchange: Exchange = ALONE,
    step: Callable[[str], None] = lambda _: None,
) -> AuditOutcome:
    """Run the suite of attacks against one (cut, defense), and judge it.

    Args:
        request: the device, the images to recover, and what attackers have.
        attacks: which to run. `ALWAYS` names those that should be among them.
        effort: how much work each may spend.
        seed: of all draws; the same seed gives the same figures.
        folder: where finished attacks are kept; None keeps nothing.
        artifacts: given to several audits of one model, it saves what they have in common.
        strongest: only the variant of each attack that knows most: a third of the cost, for a search to steer by.
        naive: also attackers who do not know the defense.
        exchange: shares the finished attacks in `folder` with other machines.
        step: called with the name of each step as it begins.

    Raises:
        CollabplanError: too little data, or a model that attacks do not apply to.
        TimeUp: a deadline has passed (`attacks.time_limit`). Finished attacks are kept, the one at hand is not.

    Examples:
        >>> from collabplan.attacks import attack_named, run_audit
        >>> from collabplan.attacks.conformance import EFFORT, toy_request
        >>> outcome = run_audit(toy_request(), [attack_named("prior"), attack_named("ridge")], EFFORT, seed=0)
        >>> [tier.threat for tier in outcome.record.tiers]
        ['query-free', 'black-box']
    """
    data = AuditData(request, effort, seed, artifacts or ArtifactCache(seed))
    run = _AuditRun(data, folder, exchange, steering=strongest)
    made: list[Made] = []
    for variant in attack_variants(request, attacks, effort, strongest=strongest, naive=naive):
        step(variant.label)
        made += run.attack(variant)
    made = run.trained_on(made, step)
    found = [each.result for each in made]
    under_trained = less_from_more_releases(found)
    results = failed(found, under_trained)
    run.data.artifacts.leave_defense()  # fitted attacks may be large, and no other audit asks for them
    step("linkage")
    linkage = run.linkage()
    step("attributes")
    attributes = run.attributes()
    step("floors")
    floors = run.floors()
    target, cut = request.target, request.target.cut
    record = Audit(
        cut_id=cut.id,
        cut_name=cut.name,
        cut_kind=cut.kind,
        depth=cut.depth,
        payload_bytes=target.payload_bytes,
        defense=target.record,
        effort=effort.name,
        accuracy=request.accuracy,
        attacks=results,
        linkage=linkage,
        attributes=attributes,
        tiers=over_class_mean(tier_figures(results, linkage, attributes, lower_bound=effort.name == "quick"), floors),
        floors=floors,
        chance=1 / run.data.gallery_count,
        notes=(*run.notes, *(f"{each.attack} is {each.reason}" for each in under_trained)),
    )
    run.keep_gallery(record)
    pictures = {each.result.attack: each.pictures for each in made if each.pictures is not None}
    return AuditOutcome(record, run.data.images[:PICTURED], pictures)


@dataclass(frozen=True, eq=False)
class Made:
    """One finished attack: its result, and its first reconstructions `[n, *image_shape]`, if there are any."""

    variant: AttackVariant
    result: AttackResult
    pictures: Tensor | None

    @property
    def index(self) -> float:
        """What it reached; below 0 without any figure."""
        return -1.0 if self.result.figures is None else self.result.figures.index.value


class _AuditRun:
    """Runs what no kept file answers."""

    def __init__(self, data: AuditData, folder: Path | None, exchange: Exchange, *, steering: bool) -> None:
        self.data, self.folder, self.exchange, self.steering = data, folder, exchange, steering
        self.request, self.target, self.seed = data.request, data.request.target, data.seed
        self._key, self._stages = audit_key(data), stage_revisions(self.target.record)
        self._pictured: dict[str, str] = {}
        self._revisions = part_revisions(RELEASES, LINKAGE, ATTRIBUTES) | self._stages
        self._alone: dict[str, Attacker | None] = {}

    def attack(self, variant: AttackVariant) -> list[Made]:
        """One attack: on exact repeats, and on near-duplicates where these tell more."""
        return [Made(variant, *self._attack(variant, copies)) for copies in self._ways(variant)]

    def trained_on(self, made: Sequence[Made], step: Callable[[str], None]) -> list[Made]:
        """The same, after twice as many steps for networks that recovered less from several releases than from one."""
        wrong = {each.attack for each in less_from_more_releases([each.result for each in made])}
        found = list(made)
        for at, each in enumerate(made):
            if each.result.attack not in wrong or each.variant.attack.per_image or not each.result.steps:
                continue
            step(f"{each.variant.label}, twice the steps")
            effort = replace(self.data.effort, train_steps=2 * self.data.effort.train_steps)
            longer = _AuditRun(replace(self.data, effort=effort), self.folder, self.exchange, steering=self.steering)
            longer.told = self.told
            again = next(other for other in longer.attack(each.variant) if other.result.attack == each.result.attack)
            if again.index > each.index:
                found[at], self._pictured = again, self._pictured | longer._pictured
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

    def _attack(self, variant: AttackVariant, copies: CopyKind | None) -> tuple[AttackResult, Tensor | None]:
        place = self._place(variant, copies)
        self._revisions |= attack_revisions(variant.attack)
        kept = read_attack(place, self.exchange)
        if kept is not None:
            self._remember(*kept, place)
            return kept
        check_time()
        started = time.perf_counter()
        view = self.data.view(variant.attack.threat, variant, copies)
        draws = generator_for(self.seed, variant.label, *([] if copies is None else [str(copies)]))
        attacker, reason = self._fitted(variant, view, draws)
        if variant.plain and not self.steering:
            self._alone[variant.label] = attacker
        if attacker is not None and copies is not None and not self.steering:
            attacker = self._better(variant, attacker, view, draws)
        if attacker is None:
            result, pictures = unjudged(self.data, variant, copies=copies, reason=reason), None
        else:
            result, pictures = judged(self.data, variant, attacker, view, draws, copies=copies)
        result = result.model_copy(update={"seconds": time.perf_counter() - started})
        write_attack(place, result, pictures, attack_revisions(variant.attack) | self._stages, self.exchange)
        self._remember(result, pictures, place)
        return result, pictures

    def _better(self, variant: AttackVariant, many: Attacker, view: AdversaryView, draws: torch.Generator) -> Attacker:
        """The attacker with near-duplicates, or the one with the first release alone, whichever recovers more."""
        single = AttackVariant(variant.attack)
        if single.label not in self._alone:  # its result was kept by an earlier run
            own = self.data.view(variant.attack.threat, single)
            self._alone[single.label], _ = self._fitted(single, own, generator_for(self.seed, single.label))
        alone = self._alone[single.label]
        if alone is None:
            return many
        return choose_reading(view, many, alone, draws, per_image=variant.attack.per_image)

    def _remember(self, result: AttackResult, pictures: Tensor | None, place: Path | None) -> None:
        """Note which kept file holds the pictures of an attack."""
        if place is not None and pictures is not None:
            self._pictured[result.attack] = place.name

    def keep_gallery(self, record: Audit) -> None:
        """Keep the audit with its originals, for whoever wants to see them."""
        if self.folder is None:
            return
        name = hash_json([*self._key, "gallery", self._pictured, self._revisions])[:24]
        model, originals = self.target.traced.identity, self.data.images[:PICTURED]
        keep_gallery(
            self.folder, name, record, model, self.target.tuned_hash, originals, self._pictured, self._revisions
        )

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

    def _place(self, variant: AttackVariant, copies: CopyKind | None) -> Path | None:
        """Where the result of one variant is kept."""
        if self.folder is None:
            return None
        attack = variant.attack
        other = (self.request.others or {})[variant.other].content_hash if variant.other else ""
        key = hash_json(
            [*self._key, attack_key(attack), attack_revisions(attack), variant.label, other, str(copies or "")]
        )
        return self.folder / f"{key[:24]}.safetensors"

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
        place = self.folder and self.folder / f"{hash_json([*self._key, part.name, labels, revisions])[:24]}.json"
        return remembered(place, kind, revisions | self._stages, compute, self.exchange)
