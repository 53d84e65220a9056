"""MINE: mutual information learnt by a neural critic, a lower bound held out from its own training.

Belghazi et al., "Mutual Information Neural Estimation" (ICML 2018): the Donsker-Varadhan bound

    I(X; T) >= E_joint[f(x, t)] - ln E_product[exp f(x, t)]        (eq. 6)

for any critic f, trained with the bias-corrected gradient (a moving average in the denominator, eq. 12). Beside the
paper:

- Each side's coordinates are mapped to normal scores by rank: information does not change, heavy tails do.
- Canonical correlations of the training samples, those above what noise alone would show, give the critic that is
  optimal for Gaussians; it is where training starts, and a network that starts at zero learns the rest.
- Cross-fitting: each half of the samples is the test of critics that were trained and stopped early on the other.
  Critics of several seeds are averaged: an average of critics is a critic, and its value a lower bound in expectation.

What it does not mean: it is a *lower* bound, and privacy needs an upper one. It cannot exceed the logarithm of the
number of pairs that it is evaluated on, and in hundreds of dimensions it finds a fraction of what is there.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from scipy.special import ndtri
from scipy.stats import rankdata
from torch import Tensor, nn

from ..records import CollabplanError
from .interface import Channel, Estimate
from .kde import require_samples
from .sandwich import NEAR_CEILING_NATS, half_width

COMPONENTS = 64
"""Leading principal components of X and of T that a channel is judged by."""

FOLDS = 2
SEEDS = 2
MIN_SAMPLES = 100
VALIDATION_SHARE = 0.2

WIDTH = 128
BATCH = 256
SHUFFLES = 8
"""Products of the margins per step: the batch against itself, shifted so many times."""

STEPS = 3000
JUDGED_EVERY = 100
PATIENCE = 5
LEARNING_RATE = 2e-3
WEIGHT_DECAY = 1e-3
MOVING_AVERAGE = 0.95

TEST_SHIFTS = 200
"""Shifts of the held-out samples that the second term is averaged over."""

UNSTABLE_NATS = 1.0
"""Folds that disagree by more, and by more than half of their mean, are refused."""


@dataclass(frozen=True, slots=True)
class MineResult:
    """The value in nats (never below 0), its lower end with 97.5 % confidence, and the value of each fold."""

    value: float
    lower: float
    folds: tuple[float, ...]
    samples: int


def mine_information(
    x: Tensor, t: Tensor, *, generator: torch.Generator, seeds: int = SEEDS, steps: int = STEPS
) -> MineResult:
    """A held-out lower bound on I(X; T) of paired samples.

    Args:
        x: `[N, dx]`.
        t: `[N, dt]`, the same samples.
        generator: divides the samples, initialises the critics and draws batches; on the CPU.
        seeds: critics averaged per fold.
        steps: of training at most; it stops early where held-out samples stop gaining.

    Raises:
        CollabplanError: samples that do not pair or are too few, NaN or infinity, or folds that disagree: the value is
            then unstable and means nothing.
    """
    x, t = x.reshape(x.shape[0], -1).double(), t.reshape(t.shape[0], -1).double()
    if x.shape[0] != t.shape[0]:
        raise CollabplanError(f"MINE needs pairs, got {x.shape[0]} samples of X and {t.shape[0]} of T")
    if x.shape[0] < MIN_SAMPLES:
        raise CollabplanError(f"MINE needs at least {MIN_SAMPLES} samples, got {x.shape[0]}; give more data")
    if not bool(torch.isfinite(x).all() and torch.isfinite(t).all()):
        raise CollabplanError("MINE got NaN or infinity among its samples; check the weights and the data")
    count = x.shape[0]
    x, t = _varying(x), _varying(t)
    if not (x.shape[1] and t.shape[1]):
        return MineResult(0.0, 0.0, (0.0,) * FOLDS, count)
    x, t = normal_scores(x), normal_scores(t)
    order = torch.randperm(count, generator=generator)
    values, influences = [], []
    for fold in range(FOLDS):
        tested = order[fold::FOLDS]
        others = torch.cat([order[other::FOLDS] for other in range(FOLDS) if other != fold])
        others = others[torch.randperm(len(others), generator=generator)]
        stop = int(VALIDATION_SHARE * len(others))
        frame = _CanonicalFrame.of(x[others[stop:]], t[others[stop:]])
        u, v = frame.of_x(x), frame.of_t(t)
        critics = [_train(frame, u, v, others[stop:], others[:stop], generator, steps) for _ in range(seeds)]
        joint, ratio = _evaluate(critics, u[tested], v[tested], TEST_SHIFTS)
        log_mean = float(torch.logsumexp(ratio, dim=0)) - math.log(len(ratio))
        values.append(float(joint.mean()) - log_mean)
        influences.append(joint - torch.exp(ratio - log_mean))
    return judged(values, torch.cat(influences), count)


def judged(values: Sequence[float], influences: Tensor, count: int) -> MineResult:
    """The mean of the folds' `values`, with an interval from their samples' `influences` `[N]`.

    Raises:
        CollabplanError: folds that disagree, or a value that is not finite.
    """
    value = sum(values) / len(values)
    spread = max(values) - min(values)
    if not math.isfinite(value) or spread > max(UNSTABLE_NATS, 0.5 * abs(value)):
        raise CollabplanError(
            f"MINE is unstable here: its folds say {', '.join(f'{item:.2f}' for item in values)} nats. Give more "
            "samples, or rely on the sandwich, which needs no training"
        )
    return MineResult(max(value, 0.0), max(value - half_width(influences), 0.0), tuple(values), count)


def _varying(values: Tensor) -> Tensor:
    low, high = values.aminmax(dim=0)
    return values[:, low < high]


def normal_scores(values: Tensor) -> Tensor:
    """`[N, d]` float64: each coordinate's ranks (ties share theirs) as quantiles of a standard normal."""
    ranks = rankdata(values.numpy(), axis=0)
    return torch.from_numpy(ndtri(ranks / (values.shape[0] + 1)))


@dataclass(frozen=True, eq=False)
class _CanonicalFrame:
    """Canonical coordinates of both sides, and the correlations that are more than noise."""

    x_map: Tensor
    t_map: Tensor
    correlations: Tensor

    @classmethod
    def of(cls, x: Tensor, t: Tensor) -> _CanonicalFrame:
        count = x.shape[0]
        x_white, t_white = _whitening(x), _whitening(t)
        left, found, right = torch.linalg.svd((x @ x_white).T @ (t @ t_white) / count)
        p, q = x_white.shape[1] / count, t_white.shape[1] / count
        # Independent samples show canonical correlations up to about sqrt(p) + sqrt(q) (Wachter 1980).
        kept = found[found > min(math.sqrt(p) + math.sqrt(q) + 0.02, 0.99)].clamp(max=1 - 1e-6)
        unbiased = ((kept.square() - p - q) / max(1 - p - q, 0.1)).clamp(min=1e-4)
        return cls(x_white @ left, t_white @ right.T, unbiased.sqrt())

    def of_x(self, x: Tensor) -> Tensor:
        """`[N, r]` float32 canonical coordinates."""
        return (x @ self.x_map).float()

    def of_t(self, t: Tensor) -> Tensor:
        """`[N, r]` float32 canonical coordinates."""
        return (t @ self.t_map).float()


def _whitening(values: Tensor) -> Tensor:
    eigenvalues, vectors = torch.linalg.eigh(values.T @ values / values.shape[0])
    kept = eigenvalues > 1e-6 * eigenvalues[-1]
    whitening: Tensor = vectors[:, kept] * eigenvalues[kept].rsqrt()
    return whitening


class _Critic(nn.Module):
    """The Gaussian log-density ratio of the canonical pairs, plus a network that starts at zero."""

    def __init__(self, frame: _CanonicalFrame, generator: torch.Generator) -> None:
        super().__init__()

        def weights(rows: int, columns: int, gain: float) -> nn.Parameter:
            return nn.Parameter(torch.randn(rows, columns, generator=generator) * math.sqrt(gain / columns))

        squared = frame.correlations.square()
        self.product = nn.Parameter((frame.correlations / (1 - squared)).float())
        self.square = nn.Parameter((squared / (2 * (1 - squared))).float())
        self.from_x = weights(WIDTH, frame.x_map.shape[1], 1.0)
        self.from_t = weights(WIDTH, frame.t_map.shape[1], 1.0)
        self.bias = nn.Parameter(torch.randn(WIDTH, generator=generator) * 0.5)
        self.hidden = weights(WIDTH, WIDTH, 2.0)
        self.hidden_bias = nn.Parameter(torch.zeros(WIDTH))
        self.out = nn.Parameter(torch.zeros(WIDTH))

    def gaussian_parameters(self) -> list[nn.Parameter]:
        """Those that are right from the start: they are not decayed."""
        return [self.product, self.square]

    def shifted(self, u: Tensor, v: Tensor, shifts: Sequence[int]) -> Tensor:
        """`[S, n]`: f(u_i, v_(i - shift)) for each shift; 0 gives the pairs themselves."""
        pairs = len(self.product)
        from_u, from_v = u @ self.from_x.T + self.bias, v @ self.from_t.T
        values = []
        for shift in shifts:
            other = v.roll(shift, 0)[:, :pairs]
            own = u[:, :pairs]
            gaussian = (own * other) @ self.product - (own.square() + other.square()) @ self.square
            hidden = torch.relu(from_u + from_v.roll(shift, 0))
            hidden = torch.relu(nn.functional.linear(hidden, self.hidden, self.hidden_bias))
            values.append(gaussian + hidden @ self.out)
        return torch.stack(values)


def _train(
    frame: _CanonicalFrame, u: Tensor, v: Tensor, fit: Tensor, check: Tensor, generator: torch.Generator, steps: int
) -> _Critic:
    """A critic that was fitted to the samples at `fit` and stopped at its best on those at `check`."""
    critic = _Critic(frame, generator)
    gaussian = critic.gaussian_parameters()
    network = [p for p in critic.parameters() if not any(p is known for known in gaussian)]
    optimizer = torch.optim.AdamW(
        [{"params": gaussian, "weight_decay": 0.0}, {"params": network, "weight_decay": WEIGHT_DECAY}], lr=LEARNING_RATE
    )
    own_u, own_v, check_u, check_v = u[fit], v[fit], u[check], v[check]
    batch = min(BATCH, len(fit))
    best, kept, waited, average = _bound([critic], check_u, check_v), _state(critic), 0, None
    for step in range(steps):
        for group in optimizer.param_groups:
            warm, cool = min(1.0, (step + 1) / 100), (1 + math.cos(math.pi * step / steps)) / 2
            group["lr"] = LEARNING_RATE * warm * (cool + 0.02)
        chosen = torch.randint(len(fit), (batch,), generator=generator)
        shifts = (torch.randperm(batch - 1, generator=generator)[:SHUFFLES] + 1).tolist()
        values = critic.shifted(own_u[chosen], own_v[chosen], [0, *shifts])
        log_mean = torch.logsumexp(values[1:].flatten(), dim=0) - math.log(values[1:].numel())
        now = log_mean.detach()
        average = now if average is None else torch.logaddexp(
            average + math.log(MOVING_AVERAGE), now + math.log(1 - MOVING_AVERAGE)
        )  # fmt: skip
        optimizer.zero_grad()
        (torch.exp(log_mean - average) - values[0].mean()).backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(critic.parameters(), 5.0)
        optimizer.step()
        if (step + 1) % JUDGED_EVERY == 0:
            found = _bound([critic], check_u, check_v)
            if found > best + 1e-4:
                best, kept, waited = found, _state(critic), 0
            else:
                waited += 1
                if waited >= PATIENCE:
                    break
    critic.load_state_dict(kept)
    return critic


def _state(critic: _Critic) -> dict[str, Tensor]:
    return {name: values.clone() for name, values in critic.state_dict().items()}


def _bound(critics: Sequence[_Critic], u: Tensor, v: Tensor) -> float:
    """The Donsker-Varadhan bound on samples that the critics were not fitted to; -inf where it is not finite."""
    joint, ratio = _evaluate(critics, u, v, 64)
    value = float(joint.mean() - torch.logsumexp(ratio, dim=0) + math.log(len(ratio)))
    return value if math.isfinite(value) else -math.inf


def _evaluate(critics: Sequence[_Critic], u: Tensor, v: Tensor, shifts: int) -> tuple[Tensor, Tensor]:
    """Per sample `[n]` float64: f of its own pair, and ln of the mean exp f of it with `shifts` others."""
    count = len(u)
    others = sorted(set(torch.linspace(1, count - 1, min(shifts, count - 1)).round().int().tolist()))
    with torch.no_grad():
        joint = torch.stack([critic.shifted(u, v, [0])[0] for critic in critics]).mean(dim=0)
        total = torch.full((count,), -math.inf, dtype=torch.float64)
        for start in range(0, len(others), 16):
            some = others[start : start + 16]
            values = torch.stack([critic.shifted(u, v, some) for critic in critics]).mean(dim=0)
            total = torch.logaddexp(total, torch.logsumexp(values.double(), dim=0))
    return joint.double(), total - math.log(len(others))


@dataclass(frozen=True, slots=True)
class Mine:
    """MINE on the leading components of X and of one released T."""

    revision: ClassVar[int] = 1
    seeds: int = SEEDS
    steps: int = STEPS
    name: str = "mine"

    def estimate(self, channel: Channel, generator: torch.Generator) -> Estimate:
        """Raises CollabplanError for fewer than 100 samples, or an unstable value."""
        require_samples(channel, MIN_SAMPLES)
        if bool(channel.distances.any()):
            released = channel.released(COMPONENTS, generator)
            found = mine_information(
                channel.inputs[:, :COMPONENTS], released, generator=generator, seeds=self.seeds, steps=self.steps
            )
        else:
            found = MineResult(0.0, 0.0, (0.0,) * FOLDS, len(channel))
        return Estimate(
            value=found.value,
            lower=found.lower,
            upper=None,
            meaning="bound" if channel.real_noise else "surrogate",
            saturated=found.value > math.log(len(channel)) - NEAR_CEILING_NATS,
            samples=len(channel),
            assumes=f"independent samples; a lower bound, from {COMPONENTS} components of either side",
        )
