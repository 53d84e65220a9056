"""The data of one audit: target images, their releases, and what an attacker of each tier has."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import torch
from torch import Tensor

from ..defenses.seeds import generator_for
from ..graph import Halves
from ..records import Threat, hash_rows
from ..records.revisions import Part
from ..targets.data import Data
from .adversary_view import MOST_SHIFTED, AdversaryView
from .answers import Answers, class_means
from .artifact_cache import ArtifactCache
from .audit_request import AttackVariant, AuditRequest
from .interface import Effort
from .near_copies import PROBED
from .perception import Look, Sight, distances, feature_halves, look
from .releases import CopyKind, ObservedReleases
from .ridge import linear_index
from .standing import Course

LARGEST_GALLERY = 1000

SHIFTS = Part("shifts")
"""Raise its revision whenever attackers may learn from other shifted copies, or from none."""

RACE_IMAGES = 200
"""Images that attackers race on."""

FEWEST_RACE_IMAGES = 50
"""If fewer images belong to nobody, attackers race on their held-out ones."""


@dataclass(frozen=True, eq=False)
class AuditData:
    """What all attacks of one audit share.

    Attributes:
        request: what is audited.
        effort: how many images are attacked.
        seed: of all draws.
        artifacts: what several audits share.
    """

    request: AuditRequest
    effort: Effort
    seed: int
    artifacts: ArtifactCache

    @cached_property
    def targets(self) -> Data:
        """The images under attack."""
        count = min(self.effort.targets, len(self.request.target_data))
        return self.request.target_data.take(torch.arange(count))

    @cached_property
    def images(self) -> Tensor:
        """Their pixels, `[n, *image_shape]` in [0, 1]."""
        return self.request.target.pixels(self.targets)

    @property
    def gallery_count(self) -> int:
        """Images in the gallery, which begins with the targets."""
        return min(LARGEST_GALLERY, len(self.request.target_data))

    @cached_property
    def gallery(self) -> Data:
        """The images that a reconstruction or a release is matched with."""
        return self.request.target_data.take(torch.arange(self.gallery_count))

    @cached_property
    def gallery_images(self) -> Tensor:
        """Their pixels, `[g, *image_shape]` in [0, 1]."""
        return self.request.target.pixels(self.gallery)

    @cached_property
    def race_images(self) -> Data:
        """Images of the targets' kind that are no targets and, where there are any, that no attacker has."""
        known, seen, own = self.view("black-box").held_out, self.request.intercepted, self.request.auxiliary
        if seen is not None:
            key, at = f"race_images {seen.content_hash} {own.content_hash}", self.request.target.position
            new = self.artifacts.once(key, lambda _: _unlike(seen, own, at))
            known = seen.take(new) if len(new) >= FEWEST_RACE_IMAGES else known
        return known.take(torch.arange(min(RACE_IMAGES, len(known))))

    def race_course(self, view: AdversaryView) -> Course:
        """What an attacker with this view races on."""
        target, known = self.request.target, self.race_images
        images, own = target.pixels(known), self.view("black-box").training
        further = target.pixels(own.take(torch.arange(min(len(own), LARGEST_GALLERY))))
        classes = self._classes(known)

        def kept(made: Tensor) -> Tensor | None:
            seen = look(target, target.with_pixels(known.take(torch.arange(len(made))), made), None).classes
            return None if seen is None or classes is None else (seen == classes[: len(seen)]).double()

        return Course(
            images=images,
            gallery=torch.cat([images, further])[: max(len(images), self.gallery_count)],
            mean=view.pixels(view.training).mean(dim=0),
            region=self.request.region,
            kept=kept,
        )

    @cached_property
    def prior(self) -> Tensor:
        """`[*image_shape]`: the mean of the auxiliary images, which figures are measured against."""
        return self.request.target.pixels(self.view("black-box").training).mean(dim=0)

    @cached_property
    def prior_classes(self) -> Tensor | None:
        """`[m]`: the classes that the undefended network takes the auxiliary training images for; None without any."""
        return self._classes(self.view("black-box").training)

    @cached_property
    def _class_means(self) -> Tensor | None:
        """`[classes, *image_shape]`: the mean of the auxiliary training images of each class."""
        if self.prior_classes is None:
            return None
        return class_means(self.request.target.pixels(self.view("black-box").training), self.prior_classes)

    def answers(self, held: Data) -> Answers | None:
        """What the undefended network answers on the targets and on `held`; None where it gives no class scores."""
        targets, means, known = self.sight.targets.classes, self._class_means, self._classes(held)
        if targets is None or means is None or known is None:
            return None
        return Answers(targets, known, means)

    def _classes(self, data: Data) -> Tensor | None:
        """`[n]`: the classes that the undefended network takes `data` for; None where it gives no class scores."""
        target = self.request.target
        key = f"answers {target.traced.identity.weights_hash} {data.content_hash}"
        return self.artifacts.once(key, lambda _: look(target, data, None).classes)

    @cached_property
    def sight(self) -> Sight:
        """What the undefended network sees in the targets."""
        key = f"{self.request.target.traced.identity.weights_hash} {self.targets.content_hash}"
        seen = self.artifacts.once(f"sight {key}", lambda _: look(self.request.target, self.targets, self._halves))
        if seen.features is None:
            return Sight(seen, None, self._look)
        prior = self.artifacts.once(
            f"sight of the mean {key} {self.view('black-box').training.content_hash}",
            lambda _: self._look(self.prior.expand_as(self.images)),
        )
        assert prior.features is not None
        return Sight(seen, distances(prior.features, seen.features), self._look)

    @cached_property
    def _halves(self) -> Halves | None:
        traced = self.request.target.traced
        return self.artifacts.once(f"features {traced.identity.weights_hash}", lambda _: feature_halves(traced))

    def _look(self, images: Tensor) -> Look:
        """What the undefended network sees in reconstructions `[k, *image_shape]` of the first k targets."""
        target = self.request.target
        shown = target.with_pixels(self.targets.take(torch.arange(len(images))), images)
        return look(target, shown, self._halves)

    @cached_property
    def _rows(self) -> tuple[Tensor, ...]:
        return self.request.target.clean_rows(self.targets)

    def view(
        self, threat: Threat, variant: AttackVariant | None = None, copies: CopyKind | None = None
    ) -> AdversaryView:
        """What an attacker of this tier has, with the queries and the data of `variant`, of near-duplicates if any."""
        request, target = self.request, self.request.target
        auxiliary, queries, naive = request.auxiliary, 1, False
        if variant is not None:
            auxiliary = (request.others or {})[variant.other] if variant.other else auxiliary
            queries, naive = variant.queries, variant.naive
        seen = None
        if request.intercepted is not None and threat == "query-free":
            seen = target.release(request.intercepted, generator_for(self.seed, "intercepted"))
        made = AdversaryView(
            target, auxiliary, threat, queries=queries, copies=copies, naive=naive, intercepted=seen,
            artifacts=self.artifacts,
        )  # fmt: skip
        made = made.limited(self.effort.fit_samples)
        room = 2 * len(made.training) <= self.effort.fit_samples
        if variant is None or threat == "query-free" or not room or not self._shifts_help(made):
            return made
        return replace(made, room=self.effort.fit_samples)

    def _shifts_help(self, view: AdversaryView) -> bool:
        """Whether shifted copies do an attacker no harm: asked of `ridge` on held-out images, once for each cut."""
        few = replace(view.limited(PROBED), queries=1, copies=None, naive=True, room=PROBED * (1 + MOST_SHIFTED))

        def decide(draws: torch.Generator) -> bool:
            seed = int(torch.randint(2**62, (1,), generator=draws))
            alone, more = (
                linear_index(replace(few, room=room), torch.Generator().manual_seed(seed)) for room in (0, few.room)
            )
            return more >= alone

        key = f"shifts {self.request.target.codes_key} {few.auxiliary.content_hash}"
        return self.artifacts.once(key, decide, at=self.request.target.cut.id)

    def released(self, queries: int, copies: CopyKind | None) -> ObservedReleases:
        """The targets' releases, the same for every attack; with a kind, all but the first are of near-duplicates."""
        target = self.request.target
        captured = (self.request.captured or {}).get(queries)
        if captured is not None and copies is None:
            return captured.take(torch.arange(len(self.targets)))
        draws = generator_for(self.seed, "releases", queries, str(copies is not None))
        if copies is not None:
            return target.release(self.targets, draws, queries=queries, copies=copies)
        return target.release_rows(self._rows, self.targets, draws, queries=queries)


def _unlike(data: Data, others: Data, position: int) -> Tensor:
    """Positions in `data` of inputs that `others` does not have."""
    known = set(hash_rows(others.inputs[position]))
    new = [at for at, row in enumerate(hash_rows(data.inputs[position])) if row not in known]
    return torch.tensor(new, dtype=torch.int64)
