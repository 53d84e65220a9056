"""How every network of an attacker is trained: Adam, a moving average of the weights, a held-out loss to stop by."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from typing import TypeVar

import torch
from torch import Tensor, nn

from .interface import AttackFailed, Effort, Training

N = TypeVar("N", bound=nn.Module)

BATCH = 64
LEARNING_RATE = 2e-3
WARM_UP = 50
CHECKS = 20

ANNEALED = 0.4
"""Share of the steps in which the learning rate falls to 0."""

ENOUGH = 0.01
"""Converged where the last fifth of the steps improved the held-out loss by less."""

DECAY = 0.995
"""Of the moving average of the weights that is used."""


def train(
    network: nn.Module,
    step_loss: Callable[[nn.Module, Tensor, int], Iterable[Tensor]],
    held_loss: Callable[[nn.Module], float],
    count: int,
    effort: Effort,
    generator: torch.Generator,
    *,
    rate: Callable[[nn.Parameter], float] = lambda _: LEARNING_RATE,
) -> tuple[nn.Module, Training]:
    """Train `network`, and leave it with the moving average of its weights, or as it began where that is no better.

    Args:
        step_loss: of (network, positions `[b]` below `count`, step): scalar losses, each of which makes a step.
        held_loss: of a network, on images that nothing is trained on.
        effort: the most steps, and whether to stop where nothing is gained.
        rate: Adam's learning rate of a parameter, at its greatest.

    Raises:
        AttackFailed: a loss is not finite.
    """
    began = {name: value.detach().clone() for name, value in network.state_dict().items()}
    average = {name: value.detach().clone() for name, value in network.state_dict().items()}

    def judged() -> float:
        """The held-out loss of the average, which for a moment takes the network's place."""
        fast = {name: value.detach().clone() for name, value in network.state_dict().items()}
        network.load_state_dict(average)
        network.eval()
        loss = held_loss(network)
        network.load_state_dict(fast)
        network.train()
        return loss

    paces: dict[float, list[nn.Parameter]] = {}
    for parameter in network.parameters():
        paces.setdefault(rate(parameter), []).append(parameter)
    groups = [{"params": parameters, "rate": pace} for pace, parameters in paces.items()]
    optimiser = torch.optim.AdamW(groups, weight_decay=1e-4)
    hold, end, step = int(effort.train_steps * (1 - ANNEALED)), effort.train_steps, 0
    check, losses, converged = max(1, effort.train_steps // CHECKS), [judged()], False
    while step < end:
        falling = min(1.0, (end - step) / max(end - hold, 1))
        for group in optimiser.param_groups:
            group["lr"] = group["rate"] * min(1.0, (step + 1) / WARM_UP) * falling
        for loss in step_loss(network, torch.randint(0, count, (BATCH,), generator=generator), step):
            if not math.isfinite(float(loss.detach())):
                raise AttackFailed(f"training diverged: the loss is {float(loss.detach())} at step {step}")
            optimiser.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]
            torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
            optimiser.step()
        step += 1
        _follow(average, network, min(DECAY, (1 + step) / (10 + step)))
        if step % check == 0 or step == end:
            losses.append(judged())
            if effort.until_converged and not converged and step < hold and has_converged(losses):
                converged, hold = True, step
                end = step + max(check, int(step * ANNEALED / (1 - ANNEALED)))
    network.load_state_dict(average if losses[-1] <= losses[0] else began)
    return network.eval(), Training(step, tuple(losses), converged or has_converged(losses))


def has_converged(losses: Sequence[float]) -> bool:
    """The last fifth of the steps improved the held-out loss by less than 1 %; `losses` are evenly spaced."""
    if len(losses) < 6:
        return False
    before = min(losses[: -max(1, len(losses) // 5)])
    return before - min(losses) < ENOUGH * before


@torch.no_grad()
def _follow(average: dict[str, Tensor], network: nn.Module, decay: float) -> None:
    for name, fast in network.state_dict().items():
        slow = average[name]
        if slow.is_floating_point():
            slow.lerp_(fast, 1 - decay)
        else:
            slow.copy_(fast)


def seeded(make: Callable[[], N], generator: torch.Generator) -> N:
    """A network whose initial weights are drawn by `generator`, the global one left as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(int(torch.randint(2**62, (1,), generator=generator)))
        return make()
