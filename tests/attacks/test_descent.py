"""Many objectives are minimised at once, each by its own variables."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from collabplan.attacks import AttackFailed, Effort, ObservedReleases
from collabplan.attacks.descent import Practice, Steps, descend
from collabplan.targets import Data
from torch import Tensor


def test_each_variable_goes_to_its_own_minimum() -> None:
    wanted = torch.tensor([0.2, 0.8, 0.5])
    found = torch.zeros(3, requires_grad=True)
    losses, trace = descend([found], lambda: (found - wanted).square(), 300, 0.05)
    torch.testing.assert_close(found.detach(), wanted, atol=0.01, rtol=0)
    assert losses.shape == (3,)
    assert trace[-1] < 1e-3 < trace[0]


def test_a_projection_holds_after_every_step() -> None:
    found = torch.full((2,), 0.5, requires_grad=True)

    def project() -> None:
        found.clamp_(0, 1)

    descend([found], lambda: -found, 50, 0.1, project=project)
    assert found.detach().tolist() == [1.0, 1.0]


def test_an_objective_that_is_not_finite_fails_the_attack() -> None:
    found = torch.ones(1, requires_grad=True)
    with pytest.raises(AttackFailed, match="diverged"):
        descend([found], lambda: found * torch.inf, 3, 0.1)


EFFORT = Effort("standard", 8, 8, 8, 800, 8, 8, until_converged=True)
TRUTH = torch.rand(64, 1, 8, 8, generator=torch.Generator().manual_seed(0))
NOISE = torch.randn(64, 1, 8, 8, generator=torch.Generator().manual_seed(1))


def enough(left: Callable[[int], float], effort: Effort = EFFORT) -> tuple[Steps, list[int]]:
    """Steps of a run that leaves so much noise, and the runs that were made to find them."""
    practice = Practice(ObservedReleases((TRUTH,), (None,), Data((TRUTH,))), TRUTH, TRUTH.mean(dim=0))
    runs: list[int] = []

    def reconstruct(steps: int, draws: torch.Generator) -> Tensor:  # noqa: ARG001
        runs.append(steps)
        return TRUTH + left(steps) * NOISE

    return practice.enough_steps(effort, reconstruct), runs


def test_steps_are_doubled_until_that_gains_next_to_nothing() -> None:
    assert enough(lambda steps: 0.1 * 100 / steps) == (Steps(800, converged=True), [100, 200, 400, 800])
    assert enough(lambda _: 0.01) == (Steps(200, converged=True), [100, 200])


def test_what_gains_at_the_most_steps_has_not_converged() -> None:
    steps, runs = enough(lambda steps: max(0.1, 0.5 - steps / 4000))
    assert steps == Steps(800, converged=False)
    assert runs == [100, 200, 400, 800, 1600]


def test_quick_effort_claims_no_convergence_and_tries_nothing() -> None:
    assert enough(lambda _: 0.01, replace(EFFORT, until_converged=False)) == (Steps(800), [])
