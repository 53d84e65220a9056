"""How white-box attacks optimise: many images at once, each with an objective of its own."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from .interface import Reconstruction, Training
from .release_law import ReleaseLaw, ReleaseLoss
from .releases import ObservedReleases
from .threat import AttackFailed

CHECKS = 20

ENOUGH = 0.01
"""Settled once the last fifth of the steps made less than this share of the whole progress."""


def in_batches(
    law: ReleaseLaw, released: ObservedReleases, solve: Callable[[ReleaseLoss, ObservedReleases], Reconstruction]
) -> Reconstruction:
    """`solve` batch by batch, with as many images at once as the device takes."""
    parts = []
    for chunk in torch.split(torch.arange(len(released)), law.view.target.batch_size):
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
    """Adam with a falling step size (Kingma & Ba, ICLR 2015) on all images at once.

    Args:
        variables: leaf tensors that require gradients; changed in place.
        objective: of the current variables, `[n]`: each entry depends on its own image alone.
        iterations: steps.
        rate: the step size at its greatest.
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
    """True where the last fifth of the steps made less than 1 % of the whole progress."""
    fifth = losses[-1 - len(losses) // 5]
    return fifth - losses[-1] <= ENOUGH * max(losses[0] - losses[-1], 1e-12)
