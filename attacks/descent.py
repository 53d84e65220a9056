"""How white-box attacks optimise: many images at once, each with an objective of its own."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from .adversary_view import AdversaryView
from .interface import Effort, Reconstruction, Training
from .metrics import Judge
from .release_law import ReleaseLaw, ReleaseLoss
from .releases import ObservedReleases
from .threat import AttackFailed
from .time_limit import check_time

CHECKS = 20

ENOUGH = 0.01
"""Converged where twice the steps gain less than this of the leakage index on held-out images."""

FIRST_SHARE = 8
"""Where convergence is asked for, 1 / FIRST_SHARE of the effort's iterations are tried first, then twice as many."""

PRACTICE_SEED = 0
"""Of every practice run: runs that differ in nothing but their steps start at the same place."""


@dataclass(frozen=True, slots=True)
class Steps:
    """How many steps to make.

    Attributes:
        count: of steps.
        converged: twice as many gain less than `ENOUGH` of the index on held-out images. False where it was not tried.
    """

    count: int
    converged: bool = False


@dataclass(frozen=True, eq=False)
class Practice:
    """Held-out images and their releases, on which a white-box attacker tries what it is about to do.

    Attributes:
        released: of the images.
        truth: the images, `[n, *image_shape]`.
        mean: `[*image_shape]`, the mean of the attacker's training images.
    """

    released: ObservedReleases
    truth: Tensor
    mean: Tensor

    @classmethod
    def of(cls, view: AdversaryView, positions: Tensor, generator: torch.Generator) -> Practice:
        """Query the device with the held-out images at `positions` `[n]`."""
        few = view.held_out.take(positions)
        return cls(view.query(few, generator), view.pixels(few), view.pixels(view.training).mean(dim=0))

    def first(self, count: int) -> Practice:
        """The first `count` of them."""
        return Practice(self.released.take(torch.arange(count)), self.truth[:count], self.mean)

    def index(self, images: Tensor) -> float:
        """The leakage index of reconstructions `[n, *image_shape]`, pulled towards the mean as an audit pulls them."""
        pulled = Judge(self.mean, self.truth, images, self.mean).pulled(images)
        prior = float((self.mean - self.truth).square().sum())
        return 1 - float((pulled - self.truth).square().sum()) / prior if prior else 0.0

    def enough_steps(self, effort: Effort, reconstruct: Callable[[int, torch.Generator], Tensor]) -> Steps:
        """The steps after which twice as many gain next to nothing.

        A falling step size makes the last steps of every run small, however far the run still is from its end.
        Convergence is therefore read off two runs of different lengths.

        Args:
            effort: the most steps. Without `until_converged` they are made, and nothing is tried.
            reconstruct: makes reconstructions of `released` with so many steps.

        Returns:
            The longer run of the first pair that differ by less than `ENOUGH`, or as many as the effort permits.
        """
        limit = effort.iterations
        if not effort.until_converged:
            return Steps(limit)

        def found(steps: int) -> float:
            return self.index(reconstruct(steps, torch.Generator().manual_seed(PRACTICE_SEED)))

        steps = max(1, limit // FIRST_SHARE)
        least = found(steps)
        while True:
            more = found(2 * steps)
            if more - least < ENOUGH:
                return Steps(min(2 * steps, limit), converged=True)
            if steps >= limit:
                return Steps(limit)
            steps, least = min(2 * steps, limit), more


def in_batches(
    law: ReleaseLaw, released: ObservedReleases, solve: Callable[[ReleaseLoss, ObservedReleases], Reconstruction]
) -> Reconstruction:
    """`solve` batch by batch, with as many images at once as the device takes."""
    parts = law.by_batch(released, lambda loss, _: solve(loss, loss.released))
    traces = torch.tensor([part.training.losses for part in parts])
    return Reconstruction(
        torch.cat([part.images for part in parts]),
        Training(
            parts[0].training.steps,
            tuple(traces.mean(dim=0).tolist()),
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
        The objectives `[n]` at the end, and how their mean fell. The trace says nothing of convergence: its end is flat
        because the step size is (see `Practice.enough_steps`).

    Raises:
        AttackFailed: the objective is not finite.
    """
    optimiser = torch.optim.Adam(variables, rate)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, iterations, rate / 100)
    every = max(1, iterations // CHECKS)
    trace: list[float] = []
    for step in range(iterations):
        check_time()
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
