"""Linkage: the released tensor itself is matched to candidates. An attacker with a gallery need not reconstruct.

The attacker queries the device with each candidate until every number was seen, and compares only what a release shows:
a zero that dropout may have made counts by the probability that it is a true one.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ..estimators.share_interval import share_interval
from ..records import LinkageRate
from ..records.revisions import Part
from ..targets.data import Data
from .adversary_view import AdversaryView
from .features import ZERO_IMAGES, kept_shares, zero_weights
from .releases import MOVING, ObservedReleases, near_copy

LINKAGE = Part("linkage", 3)
"""Raise its revision whenever the same releases are linked differently."""

CHUNK = 2048
"""Features per matrix product."""

ASKED = 10
"""Releases of each candidate that are averaged where custom stages draw."""

SAME = 1e-6
"""Distances that differ by less, relatively, are a tie."""


def linkage_rates(
    view: AdversaryView, targets: Data, released: ObservedReleases, generator: torch.Generator, *, near: bool
) -> LinkageRate:
    """The share of releases that are matched to their own candidate.

    Args:
        view: of an attacker who may query the device.
        targets: the inputs of the releases; they are the gallery as well.
        released: what the device released of them.
        generator: of near-duplicates; on the CPU.
        near: the gallery holds near-duplicates, shifted by a pixel and with noise of 4/255.

    Raises:
        AttackFailed: the attacker is query-free.
    """
    gallery = targets
    if near:
        gallery = view.target.with_pixels(targets, near_copy(view.pixels(targets), generator, MOVING))
    features = view.ask(gallery)
    few = view.training.take(torch.arange(min(ZERO_IMAGES, len(view.training))))
    distances = seen_distances(view, view.ask(few), released, view.averaged(features, ASKED))
    nearest = distances.min(dim=1).values
    tied = distances <= nearest[:, None] + SAME * nearest.abs()[:, None] + 1e-9
    own = torch.arange(len(released))
    credit = tied[own, own].double() / tied.sum(dim=1)
    return LinkageRate(
        copies="near" if near else "exact",
        threat="black-box",
        rate=share_interval(float(credit.mean()), len(credit)),
        chance=1 / len(gallery),
        gallery_count=len(gallery),
        queries=released.queries,
    )


def seen_distances(
    view: AdversaryView, asked: tuple[Tensor, ...], released: ObservedReleases, features: tuple[Tensor, ...]
) -> Tensor:
    """`[n, g]` float64: mean squared deviation of each candidate's `features` from what each release shows.

    sum w (t - f)^2 = sum w t^2 - 2 (w t) f + w f^2, by matrix products over chunks of numbers. Each crossing is in
    units of its variance over the `asked` rows. Under noise the release's expectation is compared.
    """
    clean = view.typical(asked)
    total = torch.zeros(len(released), len(features[0]), dtype=torch.float64)
    count = torch.zeros(len(released), 1, dtype=torch.float64)
    weights = zero_weights(view, asked, released)
    for at, keep in enumerate(kept_shares(view)):
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
