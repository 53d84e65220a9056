"""The critic starts at the Gaussian optimum, and the network beside it at 0."""

from __future__ import annotations

import math

import pytest
import torch
from collabplan.estimators.mine_critic import CanonicalFrame, Critic, evaluate, train_critic


def draws(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def pairs(count: int = 1000, correlation: float = 0.8) -> tuple[torch.Tensor, torch.Tensor]:
    x = torch.randn(count, 1, generator=draws(), dtype=torch.float64)
    noise = torch.randn(count, 1, generator=draws(1), dtype=torch.float64)
    return x, correlation * x + math.sqrt(1 - correlation**2) * noise


def bound(critics: list[Critic], u: torch.Tensor, v: torch.Tensor) -> float:
    joint, ratio = evaluate(critics, u, v, 20)
    return float(joint.mean() - torch.logsumexp(ratio, dim=0) + math.log(len(ratio)))


def test_correlations_are_found_and_those_of_independent_samples_are_not() -> None:
    x, t = pairs()
    assert CanonicalFrame.of(x, t).correlations.tolist() == pytest.approx([0.8], abs=0.05)
    assert len(CanonicalFrame.of(x, torch.randn(1000, 1, generator=draws(2), dtype=torch.float64)).correlations) == 0


def test_the_untrained_critic_is_at_the_gaussian_bound() -> None:
    x, t = pairs()
    frame = CanonicalFrame.of(x, t)
    found = bound([Critic(frame, draws())], frame.of_x(x), frame.of_t(t))
    assert found == pytest.approx(-0.5 * math.log(1 - 0.8**2), abs=0.1)


def test_training_does_not_fall_below_its_start_on_the_samples_that_stop_it() -> None:
    x, t = pairs(600)
    frame = CanonicalFrame.of(x[100:], t[100:])
    u, v = frame.of_x(x), frame.of_t(t)
    check = torch.arange(100)
    start = bound([Critic(frame, draws())], u[check], v[check])
    trained = train_critic(frame, u, v, torch.arange(100, 600), check, draws(), 200)
    assert bound([trained], u[check], v[check]) >= start - 0.05
