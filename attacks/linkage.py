"""Linkage: the released tensor itself is matched to candidates. An attacker with a gallery need not reconstruct.

The attacker asks the device about each candidate, again and again until every number was seen, and compares only what
a release shows: zeros that dropout may have made count by how probably they are true ones.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ..records import LinkageRate
from ..records.revisions import Part
from ..targets.data import Data
from .adversary_view import AdversaryView
from .audit_target import ObservedReleases, near_copy
from .features import ZERO_IMAGES, zero_weights
from .metrics import bootstrap

LINKAGE = Part("linkage")
"""Raise its revision whenever the same releases are linked differently."""

CHUNK = 2048
"""Features per matrix product."""

SAME = 1e-6

ASKED = 10
"""Releases of each candidate that are averaged where custom stages draw."""


def linkage_rates(
    scene: AdversaryView, targets: Data, released: ObservedReleases, generator: torch.Generator, *, near: bool
) -> LinkageRate:
    """How many releases are matched to their own candidate.

    Args:
        scene: of an attacker who may query.
        targets: what was released, and the gallery at once.
        released: what came of them.
        near: the gallery holds near-duplicates, shifted by a pixel and with noise of 4/255.

    Raises:
        AttackFailed: a query-free attacker.
    """
    gallery = targets
    if near:
        gallery = scene.victim.with_pixels(targets, near_copy(scene.pixels(targets), generator))
    features = scene.ask(gallery)
    few = scene.training.take(torch.arange(min(ZERO_IMAGES, len(scene.training))))
    distances = seen_distances(scene, scene.ask(few), released, scene.averaged(features, ASKED))
    nearest = distances.min(dim=1).values
    tied = distances <= nearest[:, None] + SAME * nearest.abs()[:, None] + 1e-9
    own = torch.arange(len(released))
    credit = tied[own, own].double() / tied.sum(dim=1)
    return LinkageRate(
        copies="near" if near else "exact",
        threat="black-box",
        rate=bootstrap(credit, generator),
        chance=1 / len(gallery),
        gallery_count=len(gallery),
        queries=released.queries,
    )


def seen_distances(
    scene: AdversaryView, asked: tuple[Tensor, ...], released: ObservedReleases, features: tuple[Tensor, ...]
) -> Tensor:
    """`[n, g]` float64: mean squared deviation of each candidate's `features` from what each release shows.

    sum w (t - f)^2 = sum w t^2 - 2 (w t) f + w f^2, by matrix products over chunks of numbers; per crossing in units
    of its variance over the `asked` rows of own images. Under noise the release's expectation is compared.
    """
    defense, clean = scene.believed.tail, scene.typical(asked)
    total = torch.zeros(len(released), len(features[0]), dtype=torch.float64)
    count = torch.zeros(len(released), 1, dtype=torch.float64)
    weights = zero_weights(scene, asked, released)
    for at, crossing in enumerate(defense.crossing):
        keep = 1 - defense.rate if defense.drops(crossing) and weights[at] is None else 1.0
        variance = float(clean[at].float().var(dim=0, unbiased=False).mean()) or 1.0
        rows, wanted = released.rows[at].flatten(1), features[at].float().flatten(1) * keep
        mean = wanted.mean(dim=0)
        weight = None if (found := weights[at]) is None else found.flatten(1)
        for columns in torch.split(torch.arange(rows.shape[1]), CHUNK):
            t, f = (rows[:, columns] - mean[columns]).double(), (wanted[:, columns] - mean[columns]).double()
            w = torch.ones_like(t) if weight is None else weight[:, columns].double()
            total += ((w * t * t).sum(dim=1, keepdim=True) - 2 * (w * t) @ f.T + w @ (f * f).T) / variance
            count += w.sum(dim=1, keepdim=True)
    return (total / count.clamp(min=1e-9)).clamp_(min=0)
