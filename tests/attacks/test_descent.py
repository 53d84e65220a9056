"""Many objectives are minimised at once, each by its own variables."""

from __future__ import annotations

import pytest
import torch
from collabplan.attacks import AttackFailed
from collabplan.attacks.descent import descend, settled


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


def test_settled_means_that_the_last_fifth_gained_next_to_nothing() -> None:
    assert settled([1.0, 0.5, 0.2, 0.1, 0.1, 0.1])
    assert not settled([1.0, 0.8, 0.6, 0.4, 0.2, 0.0])
