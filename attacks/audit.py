"""The suite against one (cut, defense): every attack that a threat model permits. The worst of them counts.

Each finished attack is kept, named by everything that made it, so an interrupted audit repeats none.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

import torch
from pydantic import TypeAdapter
from torch import Tensor

from ..defenses.catalogue import stage_revisions
from ..defenses.seeds import generator_for
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
from .audit_keys import attack_key, attack_revisions, audit_key, fit_key, fit_seed, part_revisions
from .audit_request import MANY, AttackVariant, AuditRequest, attack_variants
from .floors import FLOORS, floor_figures
from .galleries import keep_gallery
from .interface import Attack, Attacker, Effort
from .judgement import PICTURED, judged, unjudged
from .linkage import LINKAGE, linkage_rates
from .metrics import JUDGE
from .releases import RELEASES
from .threat import AttackFailed
from .tiers import tier_figures

T = TypeVar("T")
LINKAGE_RATES = TypeAdapter(tuple[LinkageRate, ...])
FLOOR_FIGURES = TypeAdapter(tuple[FloorFigures, ...])
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
        exchange: shares the finished attacks in `folder` with other machines.
        step: called with the name of each step as it begins.

    Raises:
        CollabplanError: too little data, or a model that attacks do not apply to.

    Examples:
        >>> from collabplan.attacks import attack_named, run_audit
        >>> from collabplan.attacks.conformance import EFFORT, toy_request
        >>> outcome = run_audit(toy_request(), [attack_named("prior"), attack_named("ridge")], EFFORT, seed=0)
        >>> [tier.threat for tier in outcome.record.tiers]
        ['query-free', 'black-box']
    """
    run = _AuditRun(AuditData(request, effort, seed, artifacts or ArtifactCache(seed)), folder, exchange)
    results: list[AttackResult] = []
    pictures: dict[str, Tensor] = {}
    for variant in attack_variants(request, attacks, effort, strongest=strongest):
        step(variant.label)
        for result, images in run.attack(variant):
            results.append(result)
            if images is not None:
                pictures[result.attack] = images
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
        attacks=tuple(results),
        linkage=linkage,
        attributes=attributes,
        tiers=tier_figures(results, linkage, attributes, lower_bound=effort.name == "quick"),
        floors=floors,
        chance=1 / run.data.gallery_count,
    )
    run.keep_gallery(record)
    return AuditOutcome(record, run.data.images[:PICTURED], pictures)


class _AuditRun:
    """Runs what no kept file answers."""

    def __init__(self, data: AuditData, folder: Path | None, exchange: Exchange) -> None:
        self.data, self.folder, self.exchange = data, folder, exchange
        self.request, self.target, self.seed = data.request, data.request.target, data.seed
        self._key, self._stages = audit_key(data), stage_revisions(self.target.record)
        self._pictured: dict[str, str] = {}
        self._revisions = part_revisions(RELEASES, LINKAGE, ATTRIBUTES) | self._stages

    def attack(self, variant: AttackVariant) -> list[tuple[AttackResult, Tensor | None]]:
        """One attack on exact repeats and, with many releases, on near-duplicates; with its pictures.

        Exact repeats tell nothing new where masks are keyed.
        """
        ways = [False]
        if variant.queries > 1:
            ways = [True] if self.target.defense.record.masks == "keyed" else [False, True]
        places = [self._place(variant, near) for near in ways]
        kept = [pair for pair in (read_attack(place, self.exchange) for place in places) if pair is not None]
        self._revisions |= attack_revisions(variant.attack)
        if len(kept) == len(ways):
            self._remember(kept, places)
            return kept
        started = time.perf_counter()
        view = self.data.view(variant.attack.threat, variant)
        draws = generator_for(self.seed, variant.label)
        attacker, reason = self._fitted(variant.attack, view, draws)
        found = []
        for near, place in zip(ways, places, strict=True):
            if attacker is None:
                result, pictures = unjudged(self.data, variant, near=near, reason=reason), None
            else:
                result, pictures = judged(self.data, variant, attacker, view, draws, near=near)
            result = result.model_copy(update={"seconds": time.perf_counter() - started})
            started = time.perf_counter()
            write_attack(place, result, pictures, attack_revisions(variant.attack) | self._stages, self.exchange)
            found.append((result, pictures))
        self._remember(found, places)
        return found

    def _remember(self, found: Sequence[tuple[AttackResult, Tensor | None]], places: Sequence[Path | None]) -> None:
        """Note which kept file holds the pictures of which attack."""
        for (result, pictures), place in zip(found, places, strict=True):
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

    def _fitted(self, attack: Attack, view: AdversaryView, draws: torch.Generator) -> tuple[Attacker | None, str]:
        """The fitted attack, or why it failed.

        An attacker that believes in no dropout and no noise learns the same at every rate: it is fitted once per cut.
        """
        effort, believed = self.data.effort, view.believed
        try:
            if believed.randomizes:
                return attack.fit(view, effort, draws), ""
            fitted = self.data.artifacts.once(
                fit_key(attack, believed, view.auxiliary, effort),
                lambda own_draws: attack.fit(view, effort, own_draws),
                at=self.target.cut.id,
                draws_as=fit_seed(attack, believed, view.auxiliary),
            )
        except AttackFailed as error:
            return None, str(error)
        return fitted, ""

    def _place(self, variant: AttackVariant, near: bool) -> Path | None:
        """Where the result of one variant is kept."""
        if self.folder is None:
            return None
        attack = variant.attack
        other = (self.request.others or {})[variant.other].content_hash if variant.other else ""
        key = hash_json([*self._key, attack_key(attack), attack_revisions(attack), variant.label, other, near])
        return self.folder / f"{key[:24]}.safetensors"

    def floors(self) -> tuple[FloorFigures, ...]:
        """The figures of images that use no release."""
        return self._remembered(FLOORS, FLOOR_FIGURES, lambda: floor_figures(self.data), JUDGE)

    def linkage(self) -> tuple[LinkageRate, ...]:
        """Releases matched to exact and near copies, by an attacker who may query the device."""
        return self._remembered(LINKAGE, LINKAGE_RATES, self._linkage)

    def _linkage(self) -> tuple[LinkageRate, ...]:
        gallery, defense = self.data.gallery, self.target.defense
        repeats = [1, MANY] if defense.repeats else [1]
        rows, found = self.target.clean_rows(gallery), []
        for near in (False, True):
            for queries in repeats:
                draws = generator_for(self.seed, "linkage", str(near), queries)
                released = self.target.release_rows(rows, gallery, draws, queries=queries)
                view = replace(self.data.view("black-box"), queries=queries)
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
