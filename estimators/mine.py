"""MINE: mutual information by a neural critic, evaluated on samples that it was not trained on. It is no bound.

Belghazi et al., "Mutual Information Neural Estimation" (ICML 2018): the Donsker-Varadhan bound

    I(X; T) >= E_joint[f(x, t)] - ln E_product[exp f(x, t)]        (eq. 6)

for any critic f and true expectations. The critic is trained with the bias-corrected gradient (a moving average in the
denominator, eq. 12). Additions to the paper:

- Each side's coordinates are mapped to normal scores by rank: the information stays, heavy tails go.
- Training starts at the critic that is optimal for Gaussians, from those canonical correlations of the training samples
  that exceed noise. A network that starts at 0 learns the rest.
- Cross-fitting: each half of the samples is the test of critics that were trained and stopped early on the other.
  Critics of several seeds are averaged: an average of critics is a critic.

What it does not mean: the inequality holds for expectations, and the second one is estimated by the logarithm of a mean
over held-out pairs. By Jensen's inequality that logarithm is too low on average, so the figure is too high: not even in
expectation is it a lower bound (McAllester & Stratos, "Formal limitations on the measurement of mutual information",
AISTATS 2020). Nor is it an upper one, which privacy would need. It cannot exceed the logarithm of the
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
from torch import Tensor

from ..records import CollabplanError
from .interface import Channel, Estimate
from .kde import require_samples
from .mine_critic import STEPS, CanonicalFrame, evaluate, train_critic
from .sandwich import NEAR_CEILING_NATS, half_width

COMPONENTS = 64
"""Leading principal components of X and of T that are used."""

FOLDS = 2
SEEDS = 2
MIN_SAMPLES = 100
VALIDATION_SHARE = 0.2

TEST_SHIFTS = 200
"""Shifts of the held-out samples that the second term is averaged over."""

UNSTABLE_NATS = 1.0
"""An estimate whose folds differ by more, and by more than half of their mean, is refused."""


@dataclass(frozen=True, slots=True)
class MineResult:
    """A held-out estimate.

    Attributes:
        value: in nats, at least 0.
        lower: the lower end of its scatter over samples, 97.5 %.
        folds: the value of each fold.
        samples: how many pairs there were.
    """

    value: float
    lower: float
    folds: tuple[float, ...]
    samples: int


def mine_information(
    x: Tensor, t: Tensor, *, generator: torch.Generator, seeds: int = SEEDS, steps: int = STEPS
) -> MineResult:
    """A held-out estimate of I(X; T) from paired samples; no bound.

    Args:
        x: `[N, dx]`.
        t: `[N, dt]`, the same samples.
        generator: divides the samples, initialises the critics and draws batches; on the CPU.
        seeds: critics to average per fold.
        steps: the most of each training, which stops early when held-out samples gain nothing.

    Raises:
        CollabplanError: samples that do not pair or are too few, NaN or infinity, or folds that disagree: then the
            value is unstable and means nothing.
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
        frame = CanonicalFrame.of(x[others[stop:]], t[others[stop:]])
        u, v = frame.of_x(x), frame.of_t(t)
        critics = [train_critic(frame, u, v, others[stop:], others[:stop], generator, steps) for _ in range(seeds)]
        joint, ratio = evaluate(critics, u[tested], v[tested], TEST_SHIFTS)
        log_mean = float(torch.logsumexp(ratio, dim=0)) - math.log(len(ratio))
        values.append(float(joint.mean()) - log_mean)
        influences.append(joint - torch.exp(ratio - log_mean))
    return judged(values, torch.cat(influences), count)


def judged(values: Sequence[float], influences: Tensor, count: int) -> MineResult:
    """The mean of the folds' values, with an interval.

    Args:
        values: of each fold, in nats.
        influences: `[N]`, of each sample.
        count: samples.

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


@dataclass(frozen=True, slots=True)
class Mine:
    """MINE on the leading components of X and of one released T.

    Attributes:
        seeds: critics to average per fold.
        steps: the most of each training.
    """

    revision: ClassVar[int] = 2
    seeds: int = SEEDS
    steps: int = STEPS
    name: str = "mine"

    def estimate(self, channel: Channel, generator: torch.Generator) -> Estimate:
        """The estimate. Raises CollabplanError for fewer than 100 samples, or an unstable value."""
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
            meaning="surrogate",
            saturated=found.value > math.log(len(channel)) - NEAR_CEILING_NATS,
            samples=len(channel),
            assumes=f"independent samples; no bound; from {COMPONENTS} components of either side",
        )
