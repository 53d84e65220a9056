"""The suite against one (cut, defense): every attack that a threat model allows, the worst of them counts.

Each finished attack is kept by content: what made it is its key, so an interrupted audit repeats none. A failed
attack (diverged, not converged, below the prior, no live gradient) is reported as failed and proves no privacy.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
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
    Interval,
    LinkageRate,
    Threat,
    hash_json,
    hash_rows,
)
from ..records.revisions import Part
from ..targets.data import Data
from .adversary_view import AdversaryView
from .artifact_cache import ArtifactCache
from .attributes import ATTRIBUTES, attribute_rates
from .audit_files import read_attack, remembered, write_attack
from .audit_keys import attack_key, attack_revisions, fit_key, fit_seed, part_revisions
from .audit_target import RELEASES, AuditTarget, ObservedReleases
from .interface import OWN, Attack, Attacker, AttackFailed, Effort, Reconstruction, Training
from .linkage import LINKAGE, linkage_rates
from .metrics import Judge
from .tiers import tier_figures

BELOW_PRIOR = 1.05
"""A reconstruction whose squared error exceeds the mean image's so many times, and which pulling does not mend."""

NOTHING = 0.01
"""An index below which nothing was recovered."""

MANY = 10
"""Releases of one input that an attacker with repeated queries has."""

PICTURED = 12
HELD_FOR_PULL = 200
LARGEST_GALLERY = 1000

T = TypeVar("T")
LINKAGE_RATES = TypeAdapter(tuple[LinkageRate, ...])
ATTRIBUTE_RATES = TypeAdapter(tuple[AttributeRate, ...])


@dataclass(frozen=True, slots=True)
class AttackVariant:
    """One fitted attack and the releases that it is tried on.

    Attributes:
        attack: what is done.
        naive: without knowing the defense.
        queries: releases of each input.
        other: name of the attacker's data where they are not of the targets' distribution; "" for own ones.
    """

    attack: Attack
    naive: bool = False
    queries: int = 1
    other: str = ""

    @property
    def label(self) -> str:
        """As in tables: `inverse`, `inverse (naive)`, `inverse (10 releases)`, `inverse (random queries)`."""
        said = [self.other] * bool(self.other) + ["naive"] * self.naive
        said += [f"{self.queries} releases"] * (self.queries > 1)
        return self.attack.name + (f" ({', '.join(said)})" if said else "")


@dataclass(frozen=True, eq=False)
class AuditRequest:
    """What an audit is about.

    Attributes:
        victim: one cut under one defense.
        targets: images to recover, in random order, disjoint from the attacker's.
        own: the attacker's images, in random order.
        intercepted: further images of the targets' kind, whose releases a query-free attacker may have seen.
        others: attackers' data of other distributions, by name.
        sensitive: `[targets]` labels that are nobody's business, and `[intercepted]` ones that a probe may learn from.
        accuracy: of the model under the defense, for the report.
        captured: by number of releases, what a real device released of the targets (`AuditTarget.captured`). Attacks
            with that number of exact repeats are tried on it, all others on releases that the audit target draws.
    """

    victim: AuditTarget
    targets: Data
    own: Data
    intercepted: Data | None = None
    others: Mapping[str, Data] | None = None
    sensitive: tuple[Tensor, Tensor] | None = None
    accuracy: Interval | None = None
    captured: Mapping[int, ObservedReleases] | None = None


def campaigns(
    question: AuditRequest, attacks: Sequence[Attack], effort: Effort, *, strongest: bool = False
) -> list[AttackVariant]:
    """What the suite runs: each attack adaptive; where that differs also naive, with many releases, on other images.

    At quick effort the last three are left to attacks that learn from queries, which are the strongest there.

    Args:
        strongest: of each attack only the campaign that knows most. Many releases with fresh masks tell all that one
            tells; with keyed masks they are of near-duplicates, and tell something else.
    """
    if strongest:
        repeats = question.victim.defense.repeats
        return [AttackVariant(each, queries=MANY if repeats and each.threat != "query-free" else 1) for each in attacks]
    quick, randomizes = effort.name == "quick", question.victim.defense.randomizes
    found = [AttackVariant(attack) for attack in attacks]
    for attack in attacks:
        learns = attack.threat == "black-box" and not attack.per_image
        if randomizes and (learns or (attack.threat == "white-box" and not quick)):
            found += [AttackVariant(attack, naive=True), AttackVariant(attack, queries=MANY)]
        if learns and not quick:
            found += [AttackVariant(attack, other=name) for name in question.others or {}]
    return found


@dataclass(frozen=True, eq=False)
class AuditOutcome:
    """An audit, and by attack the first reconstructions `[n, *image_shape]` in [0, 1], beside their originals."""

    record: Audit
    originals: Tensor
    pictures: Mapping[str, Tensor]


def run_audit(
    question: AuditRequest,
    attacks: Sequence[Attack],
    effort: Effort,
    *,
    seed: int,
    folder: Path | None = None,
    shared: ArtifactCache | None = None,
    strongest: bool = False,
    exchange: Exchange = ALONE,
    step: Callable[[str], None] = lambda _: None,
) -> AuditOutcome:
    """Run the suite and judge it.

    Args:
        attacks: which; the prior alone and the linear ridge should be among them.
        folder: where finished attacks are kept; None keeps nothing.
        shared: given to several audits of one model, it saves what they have in common.
        strongest: run of each attack only the campaign that knows most: a third of the price, for a search to steer by.
        exchange: shares finished attacks of `folder` with other machines.
        step: told what begins.

    Raises:
        CollabplanError: too little data, or a model that attacks do not apply to.
    """
    runner = _Runner(question, effort, seed, folder, shared or ArtifactCache(seed), exchange)
    results: list[AttackResult] = []
    pictures: dict[str, Tensor] = {}
    for campaign in campaigns(question, attacks, effort, strongest=strongest):
        step(campaign.label)
        for result, images in runner.run(campaign):
            results.append(result)
            if images is not None:
                pictures[result.attack] = images
    step("linkage")
    linkage = runner.linkage()
    step("attributes")
    attributes = runner.attributes()
    victim, cut = question.victim, question.victim.cut
    record = Audit(
        cut_id=cut.id,
        cut_name=cut.name,
        cut_kind=cut.kind,
        depth=cut.depth,
        payload_bytes=victim.payload_bytes,
        defense=victim.record,
        effort=effort.name,
        accuracy=question.accuracy,
        attacks=tuple(results),
        linkage=linkage,
        attributes=attributes,
        tiers=tier_figures(results, linkage, attributes, lower_bound=effort.name == "quick"),
        chance=1 / runner.gallery_count,
    )
    return AuditOutcome(record, runner.images[:PICTURED], pictures)


class _Runner:
    def __init__(
        self,
        question: AuditRequest,
        effort: Effort,
        seed: int,
        folder: Path | None,
        shared: ArtifactCache,
        exchange: Exchange,
    ) -> None:
        self.question, self.effort, self.seed, self.folder, self.shared = question, effort, seed, folder, shared
        self.exchange = exchange
        self.victim = question.victim
        count = min(effort.targets, len(question.targets))
        self.targets = question.targets.take(torch.arange(count))
        self.images = self.victim.pixels(self.targets)
        self.gallery_count = min(LARGEST_GALLERY, len(question.targets))
        self.gallery = self.victim.pixels(question.targets.take(torch.arange(self.gallery_count)))
        self._rows: tuple[Tensor, ...] | None = None
        self.key = [
            self.victim.traced.identity.model_dump(mode="json"), self.victim.cut.id,
            self.victim.record.model_dump(mode="json"), stage_revisions(self.victim.record),
            self.targets.content_hash, question.own.content_hash,
            [self.victim.scaling.low, self.victim.scaling.high], asdict(effort), seed, shared.seed,
            self.victim.device.type, self.victim.tuned_hash, self.victim.secret_hash,
            question.targets.take(torch.arange(self.gallery_count)).content_hash,
            None if question.intercepted is None else question.intercepted.content_hash,
            *[[queries, each.content_hash] for queries, each in sorted((question.captured or {}).items())],
        ]  # fmt: skip
        self.mean = self.victim.pixels(self.scene("black-box").training).mean(dim=0)

    def scene(self, threat: Threat, campaign: AttackVariant | None = None) -> AdversaryView:
        """What an attacker of this tier has."""
        own, queries, naive = self.question.own, 1, False
        if campaign is not None:
            own = (self.question.others or {})[campaign.other] if campaign.other else own
            queries, naive = campaign.queries, campaign.naive
        keyed = self.victim.defense.record.masks == "keyed"
        seen = None
        if self.question.intercepted is not None and threat == "query-free":
            seen = self.victim.release(self.question.intercepted, generator_for(self.seed, "intercepted"))
        made = AdversaryView(
            self.victim, own, threat, queries=queries, near_copies=keyed and queries > 1, naive=naive,
            intercepted=seen, shared=self.shared,
        )  # fmt: skip
        return made.limited(self.effort.fit_samples)

    def released(self, queries: int, *, near: bool) -> ObservedReleases:
        """The targets' releases: the same for every attack."""
        captured = (self.question.captured or {}).get(queries)
        if captured is not None and not near:
            return captured.take(torch.arange(len(self.targets)))
        draws = generator_for(self.seed, "releases", queries, str(near))
        if near:
            return self.victim.release(self.targets, draws, queries=queries, near_copies=True)
        if self._rows is None:
            self._rows = self.victim.clean_rows(self.targets)
        return self.victim.release_rows(self._rows, self.targets, draws, queries=queries)

    def run(self, campaign: AttackVariant) -> list[tuple[AttackResult, Tensor | None]]:
        """One fitted attack, on exact repeats and, with many releases, on near-duplicates; with its pictures.

        Exact repeats tell nothing new where masks are keyed.
        """
        ways = [False]
        if campaign.queries > 1:
            ways = [True] if self.victim.defense.record.masks == "keyed" else [False, True]
        places = [self._place(campaign, near) for near in ways]
        kept = [read_attack(place, self.exchange) for place in places]
        found = [pair for pair in kept if pair is not None]
        if len(found) == len(ways):
            return found
        started = time.perf_counter()
        attacker: Attacker | None = None
        reason = ""
        scene = self.scene(campaign.attack.threat, campaign)
        draws = generator_for(self.seed, campaign.label)
        try:
            attacker = self._fit(campaign, scene, draws)
        except AttackFailed as error:
            reason = str(error)
        found = []
        for near, place in zip(ways, places, strict=True):
            result, pictures = self._result(campaign, near, reason), None
            if attacker is not None:
                result, pictures = self._judge(campaign, attacker, scene, near, draws)
            result = result.model_copy(update={"seconds": time.perf_counter() - started})
            started = time.perf_counter()
            write_attack(place, result, pictures, attack_revisions(campaign.attack), self.exchange)
            found.append((result, pictures))
        return found

    def _fit(self, campaign: AttackVariant, scene: AdversaryView, draws: torch.Generator) -> Attacker:
        """The fitted attack; who learns without dropout and noise learns the same under every one of them."""
        if scene.believed.randomizes:
            return campaign.attack.fit(scene, self.effort, draws)
        attack, believed = campaign.attack, scene.believed
        return self.shared.once(
            fit_key(attack, believed, scene.own, self.effort),
            lambda shared_draws: attack.fit(scene, self.effort, shared_draws),
            at=self.victim.cut.id,
            draws_as=fit_seed(attack, believed, scene.own),
        )

    def _judge(
        self, campaign: AttackVariant, attacker: Attacker, scene: AdversaryView, near: bool, draws: torch.Generator
    ) -> tuple[AttackResult, Tensor | None]:
        count = (
            min(self.effort.optimised_targets, len(self.targets)) if campaign.attack.per_image else len(self.targets)
        )
        chosen = torch.arange(count)
        released = scene.perceived(self.released(campaign.queries, near=near).take(chosen))
        # Where every image costs an optimisation, half as many must do: they decide one number per channel.
        practised = count // 2 if campaign.attack.per_image else HELD_FOR_PULL
        held = scene.held_out.take(torch.arange(max(1, min(practised, len(scene.held_out)))))
        try:
            made = attacker.reconstruct(released, draws)
            # Granted to every attacker, the query-free one included: how far to trust its reconstructions.
            tried = self.victim.release(held, draws, queries=campaign.queries, near_copies=near)
            practice = attacker.reconstruct(scene.perceived(tried), draws)
        except AttackFailed as error:
            return self._result(campaign, near, str(error)), None
        own_mean = self.victim.pixels(scene.training).mean(dim=0)
        judge = Judge(own_mean, self.victim.pixels(held), practice.images, self.mean)
        if not bool(torch.isfinite(made.images).all() and torch.isfinite(practice.images).all()):
            return self._result(campaign, near, "the reconstruction is not finite"), None
        figures = judge.figures(
            self.images[chosen], made.images, self.gallery, generator=generator_for(self.seed, "bootstrap")
        )
        prior = float((self.images[chosen] - self.mean).square().mean())
        training = _longest(attacker.training, made)
        reason = ""
        if figures.mse > BELOW_PRIOR * prior and figures.index.value < NOTHING:
            reason = f"below the prior: mean squared error {figures.mse:.4f}, the mean image's is {prior:.4f}"
        elif not training.converged and self.effort.until_converged:
            reason = f"not converged after {training.steps} steps"
        result = self._result(campaign, near, reason).model_copy(
            update={
                "figures": figures,
                "converged": training.converged,
                "steps": training.steps,
                "losses": training.losses,
            }
        )
        return result, made.images[:PICTURED]

    def _result(self, campaign: AttackVariant, near: bool, reason: str) -> AttackResult:
        return AttackResult(
            attack=campaign.label + (", near-duplicates" if near else ""),
            threat=campaign.attack.threat,
            status="failed" if reason else "ok",
            reason=reason,
            naive=campaign.naive,
            queries=campaign.queries,
            near_copies=near,
            attacker_data=campaign.other or OWN,
            lower_bound=self.effort.name == "quick",
            seconds=0.0,
        )

    def _place(self, campaign: AttackVariant, near: bool) -> Path | None:
        if self.folder is None:
            return None
        other = (self.question.others or {})[campaign.other].content_hash if campaign.other else ""
        attack = campaign.attack
        key = hash_json([*self.key, attack_key(attack), attack_revisions(attack), campaign.label, other, near])
        return self.folder / f"{key[:24]}.safetensors"

    def linkage(self) -> tuple[LinkageRate, ...]:
        """Exact and near copies, by whoever may query the device."""
        return self._remembered(LINKAGE, LINKAGE_RATES, self._linkage)

    def _linkage(self) -> tuple[LinkageRate, ...]:
        gallery = self.question.targets.take(torch.arange(self.gallery_count))
        defense = self.victim.defense
        repeats = [1, MANY] if defense.repeats else [1]
        rows, found = self.victim.clean_rows(gallery), []
        for near in (False, True):
            for queries in repeats:
                draws = generator_for(self.seed, "linkage", str(near), queries)
                released = self.victim.release_rows(rows, gallery, draws, queries=queries)
                scene = replace(self.scene("black-box"), queries=queries)
                found.append(linkage_rates(scene, gallery, released, draws, near=near))
        return tuple(found)

    def attributes(self) -> tuple[AttributeRate, ...]:
        """Probes for the sensitive labels, where there are any."""
        return self._remembered(ATTRIBUTES, ATTRIBUTE_RATES, self._attributes)

    def _attributes(self) -> tuple[AttributeRate, ...]:
        if self.question.sensitive is None or self.question.intercepted is None:
            return ()
        asked, known = self.question.sensitive
        draws = generator_for(self.seed, "attributes")
        return attribute_rates(
            self.scene("black-box"),
            self.victim.release(self.question.intercepted, draws),
            known,
            self.victim.release(self.targets, draws),
            asked[: len(self.targets)],
            draws,
        )

    def _remembered(self, what: Part, kind: TypeAdapter[T], compute: Callable[[], T]) -> T:
        """What an earlier run found, else what `compute` finds, kept. A damaged file counts for nothing."""
        labels = [hash_rows(part) for part in self.question.sensitive or ()]
        revisions = part_revisions(RELEASES, what)
        place = self.folder and self.folder / f"{hash_json([*self.key, what.name, labels, revisions])[:24]}.json"
        return remembered(place, kind, revisions, compute, self.exchange)


def _longest(fitted: Training, made: Reconstruction) -> Training:
    """The training that says something: the optimisation's where every image was optimised, else the fit's."""
    if made.training.steps:
        return replace(made.training, converged=made.training.converged and fitted.converged)
    return fitted
