"""Training leaves the average of the weights, stops once nothing is gained, and fails aloud."""

from __future__ import annotations

from dataclasses import replace
from itertools import count

import pytest
import torch
from attack_views import EFFORT
from collabplan.attacks import AttackFailed, Training
from collabplan.attacks.training import FEWEST, has_converged, seeded, train
from torch import Tensor, nn

DATA = torch.randn(64, 3, generator=torch.Generator().manual_seed(0))
WANTED = DATA @ torch.tensor([[1.0], [-2.0], [0.5]]) + 0.1 * torch.randn(
    64, 1, generator=torch.Generator().manual_seed(3)
)


def fitted(network: nn.Module, *, steps: int = 200, until_converged: bool = False, scale: float = 1.0) -> Training:
    def step_loss(net: nn.Module, positions: Tensor, step: int) -> Tensor:  # noqa: ARG001
        return (net(DATA[positions]) - WANTED[positions]).square().mean() * scale

    def held_loss(net: nn.Module) -> float:
        with torch.no_grad():
            return float((net(DATA) - WANTED).square().mean())

    effort = replace(EFFORT, train_steps=steps, until_converged=until_converged)
    return train(network, step_loss, held_loss, len(DATA), effort, torch.Generator().manual_seed(1),
                 rate=lambda _: 0.1)[1]  # fmt: skip


def line() -> nn.Linear:
    return seeded(lambda: nn.Linear(3, 1), torch.Generator().manual_seed(2))


def test_a_line_is_learned_and_the_network_is_left_in_evaluation_mode() -> None:
    network = line()
    training = fitted(network, steps=400)
    assert training.losses[-1] < 0.01 * training.losses[0]
    assert not network.training


def test_the_same_seed_gives_the_same_weights() -> None:
    first, second = line(), line()
    fitted(first)
    fitted(second)
    assert torch.equal(first.weight, second.weight)


def test_a_network_that_gets_worse_again_is_left_as_it_was_best() -> None:
    """As one that learns few images by heart: on others it is best halfway."""
    network = nn.Linear(1, 1, bias=False)
    nn.init.zeros_(network.weight)

    def step_loss(net: nn.Module, positions: Tensor, step: int) -> Tensor:  # noqa: ARG001
        return (net.weight - 2.0).square().sum()

    def held_loss(net: nn.Module) -> float:
        return float((net.weight.detach() - 1.0).square().sum())

    effort = replace(EFFORT, train_steps=400)
    _, training = train(network, step_loss, held_loss, 64, effort, torch.Generator(), rate=lambda _: 0.02)
    best = training.losses.index(min(training.losses))
    assert held_loss(network) == training.losses[best] < 0.05
    assert training.steps == 400 // 20 * (2 * best + 1), "as many steps again as led to the best brought nothing"
    assert training.converged


def test_only_a_network_that_was_trained_before_does_not_wait_for_its_first_gain() -> None:
    def steps(*, begun: bool) -> int:
        rising, effort = count(1), replace(EFFORT, train_steps=400)
        _, training = train(
            nn.Linear(1, 1), lambda net, *_: net.weight.sum(), lambda _: float(next(rising)), 64, effort,
            torch.Generator(), begun=begun,
        )  # fmt: skip
        return training.steps

    assert steps(begun=False) == 400
    assert steps(begun=True) == 400 // 20 * FEWEST


def test_a_network_that_only_gets_worse_is_left_as_it_began() -> None:
    network = line()
    with torch.no_grad():
        network.weight.copy_(torch.tensor([[1.0, -2.0, 0.5]]))
        network.bias.zero_()
    before = network.weight.clone()
    fitted(network, scale=-1.0)
    assert torch.equal(network.weight, before)


def test_training_stops_early_once_converged() -> None:
    training = fitted(line(), steps=3000, until_converged=True)
    assert training.converged
    assert training.steps < 3000


def test_a_loss_that_is_not_finite_fails_the_attack() -> None:
    with pytest.raises(AttackFailed, match="training diverged: the loss is nan at step 0"):
        fitted(line(), scale=float("nan"))


def test_the_flat_end_of_a_falling_learning_rate_is_no_convergence() -> None:
    """The last fifth of the steps gains nothing, but the loss fell steadily as long as the rate was high."""
    found = iter([1 - 0.04 * min(check, 14) for check in range(21)])

    def step_loss(net: nn.Module, positions: Tensor, step: int) -> Tensor:  # noqa: ARG001
        return net(DATA[positions]).square().mean()

    effort, draws = replace(EFFORT, train_steps=20), torch.Generator().manual_seed(1)
    training = train(line(), step_loss, lambda _: next(found), len(DATA), effort, draws)[1]
    assert training.losses[-1] == training.losses[-6]
    assert not training.converged


def test_convergence_is_what_the_second_half_of_the_steps_gained() -> None:
    assert not has_converged([1.0] * 4)
    assert has_converged([1.0, 0.5, 0.4, 0.4, 0.4])
    assert not has_converged([1.0, 0.5, 0.45, 0.4, 0.4])
    assert has_converged([1.0, 0.5, 0.45, 0.445, 0.441], unit=1.0)
    assert not has_converged([1.0, 0.5, 0.45, 0.445, 0.441])


def test_a_seeded_network_leaves_the_global_generator_alone() -> None:
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    line()
    assert torch.equal(torch.rand(3), expected)
