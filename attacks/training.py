"""How every network of an attacker is trained: AdamW, averaged weights, and a held-out loss that picks the best."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TypeVar

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from ..graph.batch_size import BatchSize
from .interface import Effort, Training
from .threat import AttackFailed
from .time_limit import check_time

N = TypeVar("N", bound=nn.Module)

BATCH = 64
"""Images of one step. Where the memory does not suffice for them, a step sums the gradients of several parts."""

LEARNING_RATE = 2e-3
WARM_UP = 50
CHECKS = 20

ANNEALED = 0.4
"""Share of the steps in which the learning rate falls to 0."""

ENOUGH = 0.01
"""Converged once twice the steps improve the held-out loss by less than this share of a loss of 1 (`unit`)."""

STALLED = 0.01
"""Training stops early if, besides, the last fifth of the steps improved the loss by less than this share of it."""

RISEN = 1.02
"""A network that was at its best and whose loss is this many times that has become worse."""

FEWEST = 5
"""Losses, the first one included, of which convergence can be read."""

DECAY = 0.995
"""Of the exponential moving average of the weights."""


def train(
    network: nn.Module,
    step_loss: Callable[[nn.Module, Tensor, int], Tensor],
    held_loss: Callable[[nn.Module], float],
    count: int,
    effort: Effort,
    generator: torch.Generator,
    *,
    rate: Callable[[nn.Parameter], float] = lambda _: LEARNING_RATE,
    unit: float | None = None,
    begun: bool = False,
) -> tuple[nn.Module, Training]:
    """Train `network`, and leave it with that average of its weights along the way that does best on held-out images.

    Convergence is read while the learning rate is high, off the average of the weights: the end of every training is
    flat, because the learning rate falls to 0 there.

    Args:
        network: changed in place.
        step_loss: of (network, positions `[b]` below `count`, step), a scalar: the mean over these images.
        held_loss: of a network, on images that nothing is trained on.
        count: training images.
        effort: the most steps, and whether to stop once nothing is gained.
        generator: of the positions; on the CPU.
        rate: Adam's learning rate of a parameter, at its greatest.
        unit: the held-out loss of an answer that knows nothing, in which gains are counted. None where there is no such
            answer: gains are then counted in the present loss, which is less and so asks for more.
        begun: the network was trained before, and is on no plateau where it may have to wait (`_past_its_best`).

    Raises:
        AttackFailed: a loss is not finite.
    """
    best = _copied(network)
    average = AveragedModel(network, avg_fn=_averaged)
    average.n_averaged.fill_(1)  # it starts at the initial weights, not at those of the first step

    def judged() -> float:
        return held_loss(average.module.eval())

    optimiser = torch.optim.AdamW(_groups(network, rate), weight_decay=1e-4, fused=True)
    hold, end, step = int(effort.train_steps * (1 - ANNEALED)), effort.train_steps, 0
    check, losses, converged = max(1, effort.train_steps // CHECKS), [judged()], False
    batch = BatchSize(BATCH)
    network.train()
    while step < end:
        check_time()
        falling = min(1.0, (end - step) / max(end - hold, 1))
        for group in optimiser.param_groups:
            group["lr"] = group["rate"] * min(1.0, (step + 1) / WARM_UP) * falling
        positions = torch.randint(0, count, (BATCH,), generator=generator)
        batch.attempt(lambda: _gradients(network, step_loss, positions, step, batch.size))  # noqa: B023
        nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimiser.step()
        step += 1
        average.update_parameters(network)
        if step % check == 0 or step == end:
            losses.append(judged())
            if losses[-1] <= min(losses):
                best = _copied(average.module)
            elif _past_its_best(losses, begun=begun):
                converged = True
                break
            if step <= hold:
                converged = has_converged(losses, unit)
                if converged and effort.until_converged and _stalled(losses):
                    hold, end = step, step + max(check, int(step * ANNEALED / (1 - ANNEALED)))
    network.load_state_dict(best)
    return network.eval(), Training(step, tuple(losses), converged)


def _copied(network: nn.Module) -> dict[str, Tensor]:
    return {name: value.detach().clone() for name, value in network.state_dict().items()}


def _groups(network: nn.Module, rate: Callable[[nn.Parameter], float]) -> list[dict[str, object]]:
    """Parameter groups by learning rate."""
    by_rate: dict[float, list[nn.Parameter]] = {}
    for parameter in network.parameters():
        by_rate.setdefault(rate(parameter), []).append(parameter)
    return [{"params": parameters, "rate": each} for each, parameters in by_rate.items()]


def _gradients(
    network: nn.Module, step_loss: Callable[[nn.Module, Tensor, int], Tensor], positions: Tensor, step: int, most: int
) -> None:
    """Give the parameters the gradients of one step's loss, `most` images at a time. Raises AttackFailed."""
    network.zero_grad(set_to_none=True)
    for part in torch.split(positions, most):
        loss = step_loss(network, part, step)
        if not math.isfinite(float(loss.detach())):
            raise AttackFailed(f"training diverged: the loss is {float(loss.detach())} at step {step}")
        share = len(part) / len(positions)
        (loss if share == 1 else loss * share).backward()  # type: ignore[no-untyped-call]


def _averaged(average: Tensor, current: Tensor, count: Tensor | int) -> Tensor:
    """One step of the moving average, whose decay grows with `count`."""
    decay = min(DECAY, (1 + int(count)) / (10 + int(count)))
    return average.lerp(current, 1 - decay)


def has_converged(losses: Sequence[float], unit: float | None = None) -> bool:
    """True if the second half of the steps, as many as the first, improved the held-out loss by next to nothing.

    Args:
        losses: held-out losses at a high learning rate, evenly spaced; the first is that before any step.
        unit: see `train`.
    """
    if len(losses) < FEWEST:
        return False
    before = min(losses[: (len(losses) + 1) // 2])
    return before - min(losses) < ENOUGH * (before if unit is None else unit)


def _stalled(losses: Sequence[float]) -> bool:
    before = min(losses[: -max(1, len(losses) // 5)])
    return before - min(losses) < STALLED * before


def _past_its_best(losses: Sequence[float], *, begun: bool) -> bool:
    """True once as many steps again as led to the best brought nothing better, so that few images are learned by heart.

    A network that was never trained may wait on a plateau. It must have improved, and have become worse again.
    """
    best = losses.index(min(losses))
    waited = len(losses) > max(FEWEST, 2 * best + 1)
    return waited and (begun or (best > 0 and losses[-1] > RISEN * losses[best]))


def seeded(make: Callable[[], N], generator: torch.Generator) -> N:
    """What `make` makes with initial weights drawn by `generator`; the global generator is left as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(int(torch.randint(2**62, (1,), generator=generator)))
        return make()


def mean_over(count: int, most: int, loss: Callable[[slice], Tensor]) -> float:
    """The mean loss of `count` images, of which at most `most` are run at a time.

    Args:
        count: of all images.
        most: images at a time, and fewer where the memory does not suffice.
        loss: of successive images, a scalar: the mean over these.
    """

    def total(some: slice) -> float:
        images: int = some.stop - some.start
        return float(loss(some)) * images

    return sum(BatchSize(most).over(count, total)) / count
