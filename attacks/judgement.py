"""Tries a fitted attack on the targets' releases, and judges what it reconstructs.

A failed attack (diverged, not converged, below the prior, without a live gradient) is reported as failed and proves no
privacy. An attack that goes by the likelihood of the release may end below the prior and be sound: where the release
does not determine the image, many images explain it, and most of them are further from the original than the mean is.
It is sound if what it found explains the releases as well as the true images do.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ..defenses.seeds import generator_for
from ..records import AttackResult
from ..targets.data import Data
from .adversary_view import AdversaryView
from .audit_data import AuditData
from .interface import Attacker, Reconstruction, Training, law_of, weaker_form_of
from .metrics import Judge
from .race import Runner
from .release_law import ReleaseLaw
from .releases import ObservedReleases
from .standing import UPPER, Standing
from .threat import OWN, AttackFailed

BELOW_PRIOR = 1.05
"""A reconstruction fails if its squared error exceeds the mean image's by this factor and pulling does not help."""

NOTHING = 0.01
"""An index below which nothing was recovered."""

UNEXPLAINED = 0.01
"""A reconstruction explains a release whose misfit exceeds the original's by no more than this share of what the mean
image's does."""

EXPLAINED = "recovers nothing, though it explains the releases as well as the true images do"
"""Why an attack below the prior has not failed."""

PICTURED = 12
"""Reconstructions that are kept as pictures."""

HELD_FOR_PULL = 200
"""Held-out images that decide how far a reconstruction is pulled towards the mean."""


@dataclass(frozen=True, eq=False)
class _Attempt:
    """What an attacker made of releases whose originals the judge knows.

    Attributes:
        originals: `[n, *image_shape]`.
        released: of these, as the attacker reads it.
        made: of that.
    """

    originals: Tensor
    released: ObservedReleases
    made: Reconstruction

    @property
    def finite(self) -> bool:
        return bool(torch.isfinite(self.made.images).all())

    def unexplained(self, law: ReleaseLaw, mean: Tensor) -> str:
        """The misfits, in words, where the originals explain the releases better than what was made; else ""."""
        images = self.made.images, self.originals, mean.expand_as(self.originals)
        found, true, blank = (float(law.misfits(self.released, each).mean()) for each in images)
        if found <= true + UNEXPLAINED * max(0.0, blank - true):
            return ""
        return f"misfit {found:.3g}, the true images' is {true:.3g} and the mean image's {blank:.3g}"

    def foreign(self, law: ReleaseLaw, own: _Attempt) -> str:
        """What the originals' misfits are, in words, where they surely exceed those of the `own` device; else ""."""
        here, there = (law.misfits(each.released, each.originals).double() for each in (self, own))
        error = math.hypot(*(float(each.std(unbiased=False)) / math.sqrt(len(each)) for each in (here, there)))
        if float(here.mean() - there.mean()) <= UNEXPLAINED + UPPER * error:
            return ""
        return f"misfit {float(here.mean()):.3g}, and {float(there.mean()):.3g} under the law"


def unjudged(data: AuditData, runner: Runner, reason: str = "") -> AttackResult:
    """The result of `runner` without figures; with a `reason` it is a failed one."""
    variant, copies = runner.variant, runner.copies
    return AttackResult(
        attack=runner.label,
        threat=variant.attack.threat,
        status="failed" if reason else "ok",
        reason=reason,
        weaker_form_of=weaker_form_of(variant.attack),
        naive=variant.naive,
        queries=variant.queries,
        near_copies=copies is not None,
        copies="" if copies is None else str(copies),
        attacker_data=variant.other or OWN,
        lower_bound=data.effort.name == "quick",
        seconds=0.0,
    )


def judged(
    data: AuditData, runner: Runner, attacker: Attacker, view: AdversaryView, draws: torch.Generator
) -> tuple[AttackResult, Tensor | None]:
    """What `attacker` recovers.

    Args:
        data: of the audit.
        runner: which attack it is.
        attacker: the fitted attack.
        view: what it was fitted on.
        draws: for its reconstructions.

    Returns:
        The result, and the first reconstructions `[n, *image_shape]`; None if there are none to show.
    """
    try:
        attempt, practice, held = _attempts(data, runner, attacker, view, draws)
    except AttackFailed as error:
        return unjudged(data, runner, str(error)), None
    if not (attempt.finite and practice.finite):
        return unjudged(data, runner, "the reconstruction is not finite"), None
    originals, made, mean = attempt.originals, attempt.made, view.pixels(view.training).mean(dim=0)
    judge = Judge(
        mean, practice.originals, practice.made.images, data.prior, data.answers(held), data.request.region, data.sight
    )
    figures = judge.figures(
        originals, made.images, data.gallery_images, generator=generator_for(data.seed, "bootstrap")
    )
    prior = float((originals - data.prior).square().mean())
    training = _longest(attacker.training, made)
    failure = note = ""
    if figures.mse > BELOW_PRIOR * prior and figures.index.value < NOTHING:
        below = f"below the prior: mean squared error {figures.mse:.4f}, the mean image's is {prior:.4f}"
        own = practice if data.request.captured else None
        failure = _unless_explained(below, law_of(attacker), mean, (practice, attempt), own)
        note = "" if failure else EXPLAINED
    if not failure and not training.converged and data.effort.until_converged:
        failure = f"not converged after {training.steps} steps"
    update = {
        "reason": failure or note,
        "figures": figures,
        "converged": training.converged,
        "steps": training.steps,
        "losses": training.losses,
    }
    result = unjudged(data, runner, failure).model_copy(update=update)
    return result, made.images[:PICTURED]


def _unless_explained(
    below: str, law: ReleaseLaw | None, mean: Tensor, attempts: Sequence[_Attempt], own: _Attempt | None
) -> str:
    """Why an attack failed that ended `below` the prior; "" if by its law all that it found explains the releases.

    Where releases were captured, the law may not be that of their device: it is that of the `own` attempt's.
    """
    if law is None:
        return below
    strange = [said for each in attempts if own is not None and (said := each.foreign(law, own))]
    if strange:
        return f"{below}, and its law is not the device's: the true images explain the releases badly ({strange[0]})"
    missed = [said for each in attempts if (said := each.unexplained(law, mean))]
    return f"{below}, and it does not explain the releases either: {missed[0]}" if missed else ""


def practised(
    data: AuditData, runner: Runner, attacker: Attacker, view: AdversaryView, draws: torch.Generator
) -> Standing | None:
    """How `attacker` does on images that are no targets; None if it fails there. Arguments as of `judged`."""
    known, targets = data.race_images, _target_count(data, runner)
    if runner.variant.attack.per_image:
        known = known.take(torch.arange(min(max(1, targets // 2), len(known))))
    released = data.request.target.release(known, draws, queries=runner.variant.queries, copies=runner.copies)
    try:
        made = attacker.reconstruct(view.perceived(released), draws).images
    except AttackFailed:
        return None
    return data.race_course(view).standing(made, targets)


def _target_count(data: AuditData, runner: Runner) -> int:
    """How many targets are attacked: fewer where every image costs an optimisation."""
    count = len(data.targets)
    return min(data.effort.optimised_targets, count) if runner.variant.attack.per_image else count


def _attempts(
    data: AuditData, runner: Runner, attacker: Attacker, view: AdversaryView, draws: torch.Generator
) -> tuple[_Attempt, _Attempt, Data]:
    """What is made of the targets and of held-out auxiliary images, and these.

    Every attacker, the query-free one included, knows how far to trust its reconstructions.
    """
    variant, copies, count = runner.variant, runner.copies, _target_count(data, runner)
    released = view.perceived(data.released(variant.queries, copies).take(torch.arange(count)))
    # Where every image costs an optimisation, half as many must do: they decide one number per channel.
    tried_on = count // 2 if variant.attack.per_image else HELD_FOR_PULL
    held = view.held_out.take(torch.arange(max(1, min(tried_on, len(view.held_out)))))
    made = attacker.reconstruct(released, draws)
    practice = view.perceived(data.request.target.release(held, draws, queries=variant.queries, copies=copies))
    tried = attacker.reconstruct(practice, draws)
    attempt = _Attempt(data.images[: len(made.images)], released, made)
    return attempt, _Attempt(view.pixels(held), practice, tried), held


def _longest(fitted: Training, made: Reconstruction) -> Training:
    """The optimisation's training where every image was optimised, else the fit's."""
    if made.training.steps:
        return replace(made.training, converged=made.training.converged and fitted.converged)
    return fitted
