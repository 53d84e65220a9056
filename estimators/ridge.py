"""The leakage index: what a ridge regression reconstructs of the inputs from the released tensors.

index = 1 - MSE / MSE_prior, where the prior answers with the mean. The attacker is *adaptive* and has other samples:
for each tested sample it trains on all others, leave-one-out in closed form,

    error_i = (Q Y)_i / (Q_ii - 1 / (N penalty)),    Q = (K + penalty)^-1

with K the centred kernel of the features that were not dropped and Y the centred inputs
(Allen's PRESS for kernel ridge; Rasmussen & Williams, *Gaussian Processes*, eq. 5.12). It knows which elements were
dropped, and trains on the undropped activations of the others. This knowledge is exact wherever zeros are rare (before
a ReLU, after a pooling, in a transformer), and conservative elsewhere. Under noise it is tested on noisy releases and
trained on all releases at once, whose average is the clean kernel with a greater penalty, which grows like the number
of samples. Kernel (linear or Gaussian) and penalty are chosen on part of the samples.

Everything is in dual form (N x N), whatever the number of features or pixels.

What it does not mean: a decoder, a prior over images, or many releases of one input recover more where the map is not
linear. `high` includes an extrapolation of the same attackers to more data, and nothing else.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ..records import CollabplanError, Interval
from ..records.revisions import Part
from .sandwich import half_width
from .secrets import Components
from .t_interval import t_half_width

RIDGE_INDEX = Part("ridge-index", 5)
"""Raise its revision whenever the same releases give another leakage index, `gram.py` included."""

MIN_SAMPLES = 20

PENALTIES = (1e-2, 0.1, 0.3, 1.0, 3.0, 10.0, 100.0)
"""Relative to the kernel's mean eigenvalue. The prior is always one more choice. Lower ones are below float32."""

GREATEST = 1e3
"""Tried without noise where the greatest of `PENALTIES` was chosen, with other numbers of samples."""

NOISY_PENALTIES = (*PENALTIES[:-1], 30.0, 100.0, 300.0, 1e3, 3e3, 1e4, 3e4, 1e5)
"""Penalties under noise, which adds a penalty of its own, without limit: one that is 3 times off costs much."""

BESIDE = (0.5, 1.0, 2.0)
"""Under noise, the multiples of a penalty that are tried with every number of samples."""

EVENNESS = 0.1
"""Features are divided by sqrt(variance + EVENNESS * mean variance)."""

WIDTH = 4.0
"""Gaussian kernel: exp(-D / (WIDTH * mean D))."""

AVERAGED_WIDTHS = (0.5, 1.0, WIDTH)
"""Where noise is averaged: narrow kernels read more of few numbers, wide ones as much as a linear one of many."""

JUDGING_COMPONENTS = 128
"""Leading principal components of the input that choose kernel and penalty. Reported errors are over all."""

JUDGING_SAMPLES = 400
"""The fewest samples that choose kernel and penalty, if there are more."""

JUDGED = 250
"""How many of them are left out, one by one."""

ATTACKER_SAMPLES = 10_000
"""What `high` extrapolates to: as many images as an attack at standard effort learns from."""

TESTED = 500
"""The most samples that are tested, leave-one-out. The interval is over them."""


@dataclass(frozen=True, eq=False)
class Kernels:
    """The linear kernels of one draw of masks.

    Attributes:
        train: `[N, N]` among clean rows.
        test: `[T, N]` from noisy releases of the first T = `tested_count(N)` rows to the clean ones; None without
            noise.
        averaged: the releases are means of several, and read by Gaussian kernels.
    """

    train: Tensor
    test: Tensor | None = None
    averaged: bool = False

    @property
    def widths(self) -> tuple[float | None, ...]:
        """Of the Gaussian kernels that are tried; None is the linear one."""
        if self.averaged:
            return AVERAGED_WIDTHS
        return (None, WIDTH) if self.test is None else (None,)

    def mean_of(self, releases: int) -> Kernels:
        """The kernels of the mean of so many releases: noise shrinks by their root."""
        if self.test is None:
            return self
        clean = self.train[: len(self.test)]
        return Kernels(self.train, clean + (self.test - clean) / math.sqrt(releases), averaged=True)


@dataclass(frozen=True, slots=True)
class RidgeIndex:
    """The index of the input that leaks most.

    Attributes:
        index: from 0 to 1.
        by_samples: (samples, index of the same attackers with as many), ascending; the last is of all samples.
        extrapolation: the part of `index.high` that extrapolates to more samples.
        varies: False where the release is the same for all samples.
    """

    index: Interval
    by_samples: tuple[tuple[int, float], ...]
    extrapolation: float
    varies: bool


@dataclass(frozen=True, slots=True)
class _Attacker:
    width: float | None
    penalty: float

    def penalties(self, more: float, *, noisy: bool) -> tuple[float, ...]:
        """What is tried with `more` times the samples that the penalty was chosen on.

        Who trains on all releases at once has the noise as a penalty: that of n samples is n times that of one. Without
        noise, about as many samples as features need a greater penalty than fewer samples suggest.
        """
        if noisy:
            return tuple(self.penalty * more * factor for factor in BESIDE)
        position = PENALTIES.index(self.penalty)
        return (*PENALTIES, GREATEST)[position : position + (1 if more == 1 else 2)]


def tested_count(samples: int) -> int:
    """The number of samples that are tested, of `samples`."""
    return min(samples, TESTED)


def ridge_index(draws: Sequence[Kernels], inputs: Components) -> RidgeIndex:
    """The leakage index of released rows.

    Args:
        draws: kernels, of one draw of masks each; samples in random order.
        inputs: the private inputs of the same samples in the same order. The one that leaks most counts.

    Raises:
        CollabplanError: fewer than 20 samples, or kernels and inputs of different numbers of samples.
    """
    count = len(inputs)
    if count < MIN_SAMPLES:
        raise CollabplanError(f"the leakage index needs at least {MIN_SAMPLES} samples, got {count}; give more data")
    if any(draw.train.shape[0] != count for draw in draws):
        raise CollabplanError(
            f"{count} private inputs, but kernels of {[draw.train.shape[0] for draw in draws]} samples"
        )
    found = [_of_one_input(draws, scores) for scores in inputs.scores]
    return max(found, key=lambda item: (item.index.high, item.index.value))


def _of_one_input(draws: Sequence[Kernels], scores: Tensor) -> RidgeIndex:
    curves = [_learning_curve(draw, scores) for draw in draws]
    sizes = [size for size, _ in curves[0]]
    # Per size: the mean over draws of index, per-sample influence, and spread between disjoint subsamples.
    levels = [[dict(curve)[size] for curve in curves] for size in sizes]
    by_samples = [sum(level.index for level in at) / len(at) for at in levels]
    full = levels[-1]
    value = by_samples[-1]
    half = half_width(torch.stack([level.influence for level in full]).mean(dim=0)) if value > 0 else 0.0
    spreads = [level.spread for level in levels[0]]
    half = max(half, sum(spreads) / len(spreads) if len(sizes) > 1 and value > 0 else 0.0)
    if len(draws) > 2:
        half = max(half, _half_width([level.index for level in full]))
    more = extrapolation(by_samples, sizes[-1]) if len(sizes) > 1 and value > 0 else 0.0
    clipped = min(max(value, 0.0), 1.0)
    low, high = max(value - half, 0.0), min(max(value + half + more, 0.0), 1.0)
    index = Interval(value=clipped, low=min(low, clipped), high=max(high, clipped))
    curve = tuple((size, min(max(item, 0.0), 1.0)) for size, item in zip(sizes, by_samples, strict=True))
    return RidgeIndex(index, curve, more, any(float(draw.train.diagonal().max()) > 0 for draw in draws))


def extrapolation(values: Sequence[float], samples: int) -> float:
    """What `ATTACKER_SAMPLES` add to the index, from its `values` with a quarter, half and all of the `samples`.

    If the error falls like n^-a, each doubling adds 2^-a times what the one before added. The exponent a is fitted to
    the last two doublings, between 0 and 1; the result is never less than what n^-1 gives for unlimited data.
    """
    first, last = values[-2] - values[-3], values[-1] - values[-2]
    if last <= 0:
        return 0.0
    factor = min(max(last / first, 0.5), 1.0) if first > 0 else 1.0
    doublings = max(math.log2(ATTACKER_SAMPLES / samples), 0.0)
    more = doublings if factor == 1.0 else factor * (1 - factor**doublings) / (1 - factor)
    return last * max(more, 1.0)


@dataclass(frozen=True, eq=False)
class _Level:
    """The index at one number of samples: value, influence of each tested sample, spread over disjoint subsamples."""

    index: float
    influence: Tensor
    spread: float


def _learning_curve(kernels: Kernels, scores: Tensor) -> list[tuple[int, _Level]]:
    """The index with a quarter, half and all of the samples, always tested on the same ones."""
    count = len(scores)
    tested = tested_count(count)
    parts = [4, 2, 1] if count >= 4 * MIN_SAMPLES else [1]
    judging = next((part for part in parts if count // part >= JUDGING_SAMPLES), 1)
    attacker = _choose(kernels, scores, slice(0, count, judging))
    prior = _prior(scores)[:tested]
    curve = []
    for part in parts:
        errors = torch.empty(tested, dtype=torch.float64)
        shares = []
        for start in range(part):
            subset = slice(start, count, part)
            own = torch.arange(start, tested, part)
            errors[own] = _errors(kernels, scores, subset, attacker, judging / part)
            shares.append(_index(errors[own], prior[own]))
        index = _index(errors, prior)
        influence = ((1 - index) * prior - errors) / float(prior.mean()) if float(prior.sum()) else torch.zeros(tested)
        curve.append((count // part, _Level(index, influence, _half_width(shares) if part > 1 else 0.0)))
    return curve


def _choose(kernels: Kernels, scores: Tensor, subset: slice) -> _Attacker | None:
    """The attacker with the least leave-one-out error on `subset`; None if the prior does better."""
    leading = scores[:, :JUDGING_COMPONENTS]
    best, least = None, math.inf
    for width in kernels.widths:
        penalties = PENALTIES if kernels.test is None else NOISY_PENALTIES
        fit = _Fit(kernels, leading, subset, width, judging=kernels.test is None or kernels.averaged)
        least, last = min(least, float(fit.prior.sum())), math.inf
        for penalty in penalties:
            loss = float(fit.errors(penalty).sum())
            if loss < least:
                best, least = _Attacker(width, penalty), loss
            if kernels.averaged and loss > last:
                break  # it has one minimum, and time counts
            last = loss
    return best


def _errors(kernels: Kernels, scores: Tensor, subset: slice, attacker: _Attacker | None, more: float) -> Tensor:
    """Squared leave-one-out errors of the tested samples of `subset`, over all components.

    Under noise, and with other samples than the attacker was chosen on, several penalties are tried: the best counts.

    Args:
        kernels: of all samples.
        scores: of all samples.
        subset: the samples that the attacker has.
        attacker: None for the prior.
        more: the subset's size, in multiples of the number of samples that the attacker was chosen on.
    """
    if attacker is None:
        return _prior(scores[subset])[: len(range(tested_count(len(scores)))[subset])]
    fit = _Fit(kernels, scores, subset, attacker.width)
    tried = attacker.penalties(more, noisy=kernels.test is not None)
    return min((fit.errors(penalty) for penalty in tried), key=lambda errors: float(errors.sum()))


class _Fit:
    """Kernel ridge on a subset of the samples, leave-one-out at its first ones, which are tested or judge."""

    def __init__(
        self, kernels: Kernels, scores: Tensor, subset: slice, width: float | None, *, judging: bool = False
    ) -> None:
        own = range(tested_count(len(scores)))[subset]
        # In reverse order the tested ones come last, and half of the inverse that they need is 0.
        kernel = kernels.train[subset, subset].float().flip(0, 1)
        known = len(kernel) if kernels.test is None else len(own)
        self.tested = min(known, JUDGED) if judging else len(own)
        test = None if kernels.test is None else kernels.test[subset, subset].float().flip(0, 1)[-self.tested :]
        if width is not None:
            kernel, test = _gaussian(kernel, test, width)
        row_mean, mean = kernel.mean(dim=0), kernel.mean()
        self.test = None
        if test is not None:
            self.test = test - test.mean(dim=1, keepdim=True) - row_mean + mean
        self.train = kernel - row_mean[None, :] - row_mean[:, None] + mean
        self.scale = float(self.train.diagonal().mean())
        self.wanted = (scores[subset] - scores[subset].mean(dim=0)).float().flip(0)

    @property
    def prior(self) -> Tensor:
        """Squared errors of the mean of all other samples, `[T]`."""
        return _prior(self.wanted.double())[-self.tested :].flip(0)

    def errors(self, penalty: float) -> Tensor:
        """Squared errors of the tested samples, `[T]`."""
        if self.scale <= 0:
            return self.prior
        wanted, tested = self.wanted, self.tested
        count, penalty = len(wanted), penalty * self.scale
        penalised = self.train.clone()
        penalised.diagonal().add_(penalty)
        factor = torch.linalg.cholesky(penalised)
        # The last columns of the inverse: L'^-1 of [0; L_TT^-1].
        corner = torch.eye(tested, dtype=wanted.dtype)
        last = torch.zeros(count, tested, dtype=wanted.dtype)
        last[-tested:] = torch.linalg.solve_triangular(factor[-tested:, -tested:], corner, upper=False)
        inverse = torch.linalg.solve_triangular(factor.T, last, upper=True)
        # The intercept is not penalised: its direction, the constant, is removed from the inverse.
        inverse -= 1 / (count * penalty)
        own = inverse[-tested:].diagonal()[:, None]
        if self.test is None:
            left_out: Tensor = ((inverse.T @ wanted) / own).square().sum(dim=1, dtype=torch.float64)
            return left_out.flip(0)
        solved = torch.cholesky_solve(wanted, factor)
        through_itself = (self.test * inverse.T).sum(dim=1, keepdim=True) + 1 / count
        errors: Tensor = wanted[-tested:] - self.test @ solved + through_itself / own * solved[-tested:]
        return errors.square().sum(dim=1, dtype=torch.float64).flip(0)


def _gaussian(linear: Tensor, test: Tensor | None, width: float) -> tuple[Tensor, Tensor | None]:
    """Gaussian kernels from linear ones `[N, N]` and `[T, N]`; the tested rows are the last T.

    Noise adds its own squared norm to every distance. That is much the same for all, and an attacker whose rows are as
    noisy takes no notice of it: it is left out.
    """
    norms = linear.diagonal()
    distances = (norms[:, None] + norms[None, :] - 2 * linear).clamp_(min=0)
    scale = -width * (float(distances.mean()) or 1.0)
    if test is not None:
        noise = test - linear[-len(test) :]
        own = noise.diagonal(offset=len(linear) - len(test))
        test = torch.exp((distances[-len(test) :] + 2 * (own[:, None] - noise)) / scale)
    return torch.exp(distances / scale), test


def _prior(scores: Tensor) -> Tensor:
    """Squared leave-one-out errors of the mean, `[n]`."""
    count = scores.shape[0]
    return (scores - scores.mean(dim=0)).square().sum(dim=1) * (count / (count - 1)) ** 2


def _index(errors: Tensor, prior: Tensor) -> float:
    total = float(prior.sum())
    return 1.0 - float(errors.sum()) / total if total > 0 else 0.0


def _half_width(values: Sequence[float]) -> float:
    """Half of the 95 % t interval of the mean of independent figures."""
    return t_half_width(float(torch.tensor(values, dtype=torch.float64).std(unbiased=True)), len(values))
