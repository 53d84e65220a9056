"""Tries a fitted attack on the targets' releases, and judges what it reconstructs.

A failed attack (diverged, not converged, below the prior, without a live gradient) is reported as failed and proves no
privacy.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from ..defenses.seeds import generator_for
from ..records import AttackResult
from ..targets.data import Data
from .adversary_view import AdversaryView
from .audit_data import AuditData
from .interface import Attacker, Reconstruction, Training
from .metrics import Judge
from .race import Runner
from .standing import Standing
from .threat import OWN, AttackFailed

BELOW_PRIOR = 1.05
"""A reconstruction fails if its squared error exceeds the mean image's by this factor and pulling does not help."""

NOTHING = 0.01
"""An index below which nothing was recovered."""

PICTURED = 12
"""Reconstructions that are kept as pictures."""

HELD_FOR_PULL = 200
"""Held-out images that decide how far a reconstruction is pulled towards the mean."""


def unjudged(data: AuditData, runner: Runner, reason: str = "") -> AttackResult:
    """The result of `runner` without figures; with a `reason` it is a failed one."""
    variant, copies = runner.variant, runner.copies
    return AttackResult(
        attack=runner.label,
        threat=variant.attack.threat,
        status="failed" if reason else "ok",
        reason=reason,
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
        made, tried, held = _reconstructed(data, runner, attacker, view, draws)
    except AttackFailed as error:
        return unjudged(data, runner, str(error)), None
    if not bool(torch.isfinite(made.images).all() and torch.isfinite(tried.images).all()):
        return unjudged(data, runner, "the reconstruction is not finite"), None
    originals = data.images[: len(made.images)]
    judge = Judge(
        view.pixels(view.training).mean(dim=0), view.pixels(held), tried.images, data.prior,
        data.answers(held), data.request.region, data.sight,
    )  # fmt: skip
    figures = judge.figures(
        originals, made.images, data.gallery_images, generator=generator_for(data.seed, "bootstrap")
    )
    prior = float((originals - data.prior).square().mean())
    training = _longest(attacker.training, made)
    reason = ""
    if figures.mse > BELOW_PRIOR * prior and figures.index.value < NOTHING:
        reason = f"below the prior: mean squared error {figures.mse:.4f}, the mean image's is {prior:.4f}"
    elif not training.converged and data.effort.until_converged:
        reason = f"not converged after {training.steps} steps"
    update = {
        "figures": figures,
        "converged": training.converged,
        "steps": training.steps,
        "losses": training.losses,
    }
    result = unjudged(data, runner, reason).model_copy(update=update)
    return result, made.images[:PICTURED]


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


def _reconstructed(
    data: AuditData, runner: Runner, attacker: Attacker, view: AdversaryView, draws: torch.Generator
) -> tuple[Reconstruction, Reconstruction, Data]:
    """Reconstructions of the targets and of held-out auxiliary images, and these.

    Every attacker, the query-free one included, knows how far to trust its reconstructions.
    """
    variant, copies, count = runner.variant, runner.copies, _target_count(data, runner)
    released = view.perceived(data.released(variant.queries, copies).take(torch.arange(count)))
    # Where every image costs an optimisation, half as many must do: they decide one number per channel.
    tried_on = count // 2 if variant.attack.per_image else HELD_FOR_PULL
    held = view.held_out.take(torch.arange(max(1, min(tried_on, len(view.held_out)))))
    made = attacker.reconstruct(released, draws)
    practice = data.request.target.release(held, draws, queries=variant.queries, copies=copies)
    tried = attacker.reconstruct(view.perceived(practice), draws)
    return made, tried, held


def _longest(fitted: Training, made: Reconstruction) -> Training:
    """The optimisation's training where every image was optimised, else the fit's."""
    if made.training.steps:
        return replace(made.training, converged=made.training.converged and fitted.converged)
    return fitted
