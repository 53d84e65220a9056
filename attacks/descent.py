"""How white-box attacks optimise: many images at once, each with an objective of its own."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from .audit_target import ObservedReleases
from .interface import AttackFailed, Reconstruction, Training
from .release_law import ReleaseLaw, ReleaseLoss

CHECKS = 20

ENOUGH = 0.01
"""Settled where the last fifth of the steps gained less of all that was gained."""


def in_batches(
    law: ReleaseLaw, released: ObservedReleases, solve: Callable[[ReleaseLoss, ObservedReleases], Reconstruction]
) -> Reconstruction:
    """`solve` batch after batch, as many images as the device takes at once."""
    chunks = torch.split(torch.arange(len(released)), law.scene.victim.batch_size)
    parts = []
    for chunk in chunks:
        batch = released.take(chunk)
        parts.append(solve(law.against(batch), batch))
    traces = torch.tensor([part.training.losses for part in parts])
    return Reconstruction(
        torch.cat([part.images for part in parts]),
        Training(
            parts[0].training.steps,
            tuple(traces.mean(dim=0).tolist()),
            all(part.training.converged for part in parts),
        ),
    )


def descend(
    variables: Sequence[Tensor],
    objective: Callable[[], Tensor],
    iterations: int,
    rate: float,
    *,
    project: Callable[[], None] = lambda: None,
) -> tuple[Tensor, list[float]]:
    """Adam with a falling step (Kingma & Ba, ICLR 2015), on all images at once.

    Args:
        variables: leaf tensors that require gradients; changed in place.
        objective: of the variables as they are, `[n]`: each depends on its own image's alone.
        project: called after each step, without gradients.

    Returns:
        The objectives `[n]` at the end, and how their mean fell.

    Raises:
        AttackFailed: the objective is not finite.
    """
    optimiser = torch.optim.Adam(variables, rate)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, iterations, rate / 100)
    every = max(1, iterations // CHECKS)
    trace: list[float] = []
    for step in range(iterations):
        found = objective()
        gradients = torch.autograd.grad(found.sum(), variables)
        for variable, gradient in zip(variables, gradients, strict=True):
            variable.grad = gradient
        optimiser.step()
        schedule.step()
        with torch.no_grad():
            project()
        if step % every == 0:
            trace.append(float(found.detach().mean()))
    with torch.no_grad():
        found = objective()
    trace.append(float(found.mean()))
    if not all(value < float("inf") for value in trace):
        raise AttackFailed("the optimisation diverged: its objective is not finite")
    return found, trace


def settled(losses: Sequence[float]) -> bool:
    """The last fifth of the steps gained less than 1 % of what was gained in all."""
    fifth = losses[-1 - len(losses) // 5]
    return fifth - losses[-1] <= ENOUGH * max(losses[0] - losses[-1], 1e-12)
