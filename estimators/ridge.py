"""The leakage index: what a ridge regression reconstructs of the inputs from the released tensors.

index = 1 - MSE / MSE_prior on held-out samples, where the prior answers with the training mean. The
attacker is *adaptive*: it is trained on defended, quantized activations of other samples, and picks its kernel and
its regularisation on its own training samples. Tried are:

- a linear ridge, with two weightings of the features. Under element dropout it is trained on all masks at once:
  with T = m * h the expected normal matrix is (1 - p)^2 H'H + p (1 - p) diag(sum h^2), so a ridge on the undropped
  H whose penalty grows with each feature's mean square is the limit of infinitely many releases of every training
  sample. (Measured on digits behind a random ReLU layer, p = 0.9: index 0.41 against 0.15 for the textbook ridge on one
  release per sample.) Under channel dropout it is trained on one release per sample.
- a Gaussian kernel ridge on released rows, one fresh mask per sample, for what is not linear.

Everything is in dual form (N x N), whatever the number of features or pixels.

What it does not mean: it is a *lower* bound on what a real attacker recovers, who may own more data, a decoder, or
many releases of one input. `high` includes an extrapolation to unlimited training data of the same attackers,
nothing else.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from scipy.special import stdtrit
from torch import Tensor

from ..records import CollabplanError, DefenseSpec, Interval
from .defenses import Defense
from .inputs import Components
from .wire import Affine, WireRows, gram, moments, wire_rows

FOLDS = 5
BLOCKS = 4
"""Disjoint blocks of each tested fold, for the interval."""

MIN_SAMPLES = 20

PENALTIES = torch.logspace(-8, 1, 10, dtype=torch.float64)
"""Candidate penalties, relative to the trace of the centred training kernel. The prior alone is always one more."""

JUDGING = 512
"""Leading principal components that a penalty is chosen by. Errors that count are over all of them."""

EVENNESS = (0.1, 1e-5)
"""Features are weighed by 1 / sqrt(v + evenness * mean v); both are tried. Where features differ much in their mean,
the sharper weights find more than twice as much (0.26 against 0.11 at rate 0.7 behind a random ReLU layer)."""

WIDTH = 2.0
"""Gaussian kernel: exp(-D / (WIDTH * mean D))."""


@dataclass(frozen=True, slots=True)
class RidgeIndex:
    """The index of the input that leaks most, and how much of `high` is extrapolation to unlimited data."""

    index: Interval
    extrapolation: float
    samples: int


@dataclass(frozen=True, eq=False)
class Attacker:
    """Kernels of one attacker, `[N, N]`: among its training features, and from released rows to those."""

    name: str
    train: Tensor
    test: Tensor


def ridge_index(
    rows: Sequence[Tensor], inputs: Components, defense: Defense, *, generator: torch.Generator, draws: int
) -> RidgeIndex:
    """The leakage index of released `rows`.

    Args:
        rows: one `[N, *sample_shape]` per private crossing, as the edge half computes them.
        inputs: the private inputs of the same samples.
        defense: over private crossings (`Defense.private`), calibrated.
        draws: fresh masks; each tests another fifth of the samples and trains on the rest.

    Raises:
        CollabplanError: fewer than 20 samples, or rows and inputs of different number.
    """
    count = len(inputs)
    if count < MIN_SAMPLES:
        raise CollabplanError(f"the leakage index needs at least {MIN_SAMPLES} samples, got {count}; give more data")
    if any(part.shape[0] != count for part in rows):
        raise CollabplanError(f"{count} private inputs, but rows of {[part.shape[0] for part in rows]} samples")
    if draws < 1:
        raise CollabplanError(f"the leakage index needs at least one draw, got {draws}")
    clean = wire_rows(defense, undropped(defense).release(rows, generator))
    if not _varies(moments(clean)[1]):
        return RidgeIndex(Interval(value=0.0, low=0.0, high=0.0), 0.0, count)
    order = torch.randperm(count, generator=generator)
    folds = [order[position::FOLDS] for position in range(FOLDS)]
    cast = _Cast(rows, defense, clean)
    outcomes = [
        _test_fold(cast.attackers(generator), inputs, folds, draw % FOLDS)
        for draw in range(draws if defense.rate else min(draws, FOLDS))
    ]
    found = [_summarise([outcome[position] for outcome in outcomes]) for position in range(len(inputs.scores))]
    index, extrapolation = max(found, key=lambda item: (item[0].high, item[0].value))
    return RidgeIndex(index, extrapolation, count)


def undropped(defense: Defense) -> Defense:
    """The same quantizers without dropout."""
    spec = DefenseSpec(dropout="none", rate=0.0, bits=defense.spec.bits, ranges=defense.spec.ranges)
    return Defense(spec, defense.crossing)


def _varies(variances: Sequence[Tensor]) -> bool:
    return any(bool((variance > 0).any()) for variance in variances)


class _Cast:
    """Makes the attackers for one draw of masks after another; what does not depend on the draw is kept."""

    def __init__(self, rows: Sequence[Tensor], defense: Defense, clean: WireRows) -> None:
        self.rows, self.defense, self.clean = rows, defense, clean
        self.means, self.variances, self.squares = moments(clean)
        self.rates = _rates_per_chunk(defense, clean)
        noise = [
            square if rate else variance
            for square, variance, rate in zip(self.squares, self.variances, self.rates, strict=True)
        ]
        self.maps = [_weigh(self.means, self.variances, noise, evenness) for evenness in EVENNESS]
        # Dropped channels are noise that is shared within a channel: the closed form over all masks is not diagonal.
        self.all_masks = not defense.rate or defense.spec.dropout == "element"
        self.kernels = [gram(clean, m, clean, m) for m in self.maps] if self.all_masks else []

    def attackers(self, generator: torch.Generator) -> list[Attacker]:
        """The attackers for one draw of fresh masks over all samples."""
        if not self.defense.rate:
            return [*(Attacker("linear", kernel, kernel) for kernel in self.kernels), _gaussian(self.kernels[0])]
        released = wire_rows(self.defense, self.defense.release(self.rows, generator), like=self.clean)
        means, variances, _ = moments(released)
        if not _varies(variances):  # every element was dropped: any weights will do
            means, variances = self.means, self.variances
        own_maps = [_weigh(means, variances, variances, evenness) for evenness in EVENNESS]
        own_kernel = gram(released, own_maps[0], released, own_maps[0])
        if not self.all_masks:
            sharp = gram(released, own_maps[1], released, own_maps[1])
            linear = [Attacker("linear", kernel, kernel) for kernel in (own_kernel, sharp)]
        else:
            linear = [
                Attacker("linear", kernel, gram(released, self._shrunk(whole), self.clean, whole))
                for kernel, whole in zip(self.kernels, self.maps, strict=True)
            ]
        return [*linear, _gaussian(own_kernel)]

    def _shrunk(self, whole: Affine) -> Affine:
        """The map for released rows: divided by 1 - p, they have the undropped row as their mean."""
        return Affine(
            [centre * (1 - rate) for centre, rate in zip(whole.centre, self.rates, strict=True)],
            [weight / (1 - rate) for weight, rate in zip(whole.weight, self.rates, strict=True)],
        )


def _rates_per_chunk(defense: Defense, clean: WireRows) -> list[float]:
    rates = []
    for position, crossing in enumerate(defense.crossing):
        part = WireRows((clean.parts[position],), (clean.zeros[position],), (clean.units[position],))
        rates += [defense.rate if defense.drops(crossing) else 0.0] * sum(1 for _ in part.chunks())
    return rates


def _weigh(means: Sequence[Tensor], variances: Sequence[Tensor], noise: Sequence[Tensor], evenness: float) -> Affine:
    """Centre on the mean, weigh by 1 / sqrt(v + evenness * mean v) with v = `noise`; constant features get 0."""
    kept = [torch.where(variance > 0, v, torch.zeros_like(v)) for v, variance in zip(noise, variances, strict=True)]
    features = sum(int((variance > 0).sum()) for variance in variances)
    typical = sum(float(v.double().sum()) for v in kept) / features
    weights = [
        torch.where(variance > 0, (v + evenness * typical).rsqrt(), torch.zeros_like(v))
        for v, variance in zip(kept, variances, strict=True)
    ]
    return Affine(means, weights)


def _gaussian(products: Tensor) -> Attacker:
    norms = products.diagonal()
    distances = (norms[:, None] + norms[None, :] - 2 * products).clamp_(min=0)
    scale = float(distances.mean()) or 1.0
    kernel = torch.exp(distances / (-WIDTH * scale))
    return Attacker("gaussian", kernel, kernel)


@dataclass(frozen=True, eq=False)
class _FoldErrors:
    """Squared errors of one input's tested samples, `[n]` each, in the order of the fold."""

    attack: Tensor
    attack_with_less: Tensor
    prior: Tensor
    trained_on: tuple[int, int]


def _test_fold(
    attackers: Sequence[Attacker], inputs: Components, folds: Sequence[Tensor], fold: int
) -> list[_FoldErrors]:
    """Choose kernel and penalty on training samples, train on all of them, test on the held-out fold."""
    test, check = folds[fold], folds[(fold + 1) % FOLDS]
    fit = torch.cat([f for position, f in enumerate(folds) if position not in (fold, (fold + 1) % FOLDS)])
    train = torch.cat([fit, check])
    solvers = [_Solver(attacker, fit) for attacker in attackers]
    results = []
    refitted: dict[int, _Solver] = {}
    for scores in inputs.scores:
        choices = [solver.choose(scores, check) for solver in solvers]
        best = min(range(len(solvers)), key=lambda position: choices[position][1])
        if best not in refitted:
            refitted[best] = _Solver(attackers[best], train)
        chosen = choices[best][0]
        results.append(
            _FoldErrors(
                attack=refitted[best].errors(scores, test, chosen),
                attack_with_less=solvers[best].errors(scores, test, chosen),
                prior=(scores[test] - scores[train].mean(dim=0)).square().sum(dim=1),
                trained_on=(len(fit), len(train)),
            )
        )
    return results


class _Solver:
    """Kernel ridge trained on `rows`, for every penalty at once through one eigendecomposition."""

    def __init__(self, attacker: Attacker, rows: Tensor) -> None:
        self.attacker, self.rows = attacker, rows
        kernel = attacker.train[rows][:, rows]
        self.row_mean, self.mean = kernel.mean(dim=0), kernel.mean()
        centred = kernel - self.row_mean[None, :] - self.row_mean[:, None] + self.mean
        values, self.vectors = torch.linalg.eigh((centred + centred.T) / 2)
        self.values = values.clamp(min=0)
        self.trace = float(self.values.sum())

    def choose(self, scores: Tensor, check: Tensor) -> tuple[int, float]:
        """The best penalty on `check`, as its position (`len(PENALTIES)`: the prior alone), and its loss there.

        One penalty serves all components: a choice per component was no stronger anywhere we measured, and
        weaker on few samples.
        """
        leading = scores[:, :JUDGING]
        wanted = leading[check] - leading[self.rows].mean(dim=0)
        projected, targets = self._project(check), self._targets(leading)
        losses = [float((self._predict(projected, targets, p) - wanted).square().sum()) for p in range(len(PENALTIES))]
        losses.append(float(wanted.square().sum()))
        best = min(range(len(losses)), key=losses.__getitem__)
        return best, losses[best]

    def errors(self, scores: Tensor, test: Tensor, penalty: int) -> Tensor:
        """Squared error per sample of `test` over all components, `[n]`."""
        wanted = scores[test] - scores[self.rows].mean(dim=0)
        if penalty < len(PENALTIES):
            wanted = wanted - self._predict(self._project(test), self._targets(scores), penalty)
        return wanted.square().sum(dim=1)

    def _project(self, rows: Tensor) -> Tensor:
        kernel = self.attacker.test[rows][:, self.rows]
        centred = kernel - kernel.mean(dim=1, keepdim=True) - self.row_mean[None, :] + self.mean
        projected: Tensor = centred @ self.vectors
        return projected

    def _targets(self, scores: Tensor) -> Tensor:
        own = scores[self.rows]
        targets: Tensor = self.vectors.T @ (own - own.mean(dim=0))
        return targets

    def _predict(self, projected: Tensor, targets: Tensor, penalty: int) -> Tensor:
        if self.trace == 0:
            return torch.zeros(projected.shape[0], targets.shape[1], dtype=torch.float64)
        predicted: Tensor = (projected / (self.values + float(PENALTIES[penalty]) * self.trace)) @ targets
        return predicted


def _summarise(outcomes: Sequence[_FoldErrors]) -> tuple[Interval, float]:
    """The index over all tested samples, its interval over disjoint blocks, and the extrapolation inside `high`."""
    value = _index([o.attack for o in outcomes], [o.prior for o in outcomes])
    fewer = _index([o.attack_with_less for o in outcomes], [o.prior for o in outcomes])
    small, large = outcomes[0].trained_on
    # Held-out error falls like 1/n: index(inf) = index(n2) + (index(n2) - index(n1)) n1 / (n2 - n1).
    extrapolation = max(0.0, (value - fewer) * small / (large - small)) if value > 0 else 0.0
    blocks = [
        _index([attack], [prior])
        for outcome in outcomes
        for attack, prior in zip(outcome.attack.chunk(BLOCKS), outcome.prior.chunk(BLOCKS), strict=True)
    ]
    half = _half_width(blocks)
    if len(outcomes) > 2:
        # Blocks of one fold share its attacker and masks: where folds scatter more than blocks say, folds count.
        half = max(half, _half_width([_index([o.attack], [o.prior]) for o in outcomes]))
    clipped = min(max(value, 0.0), 1.0)
    low, high = max(value - half, 0.0), min(max(value + half + extrapolation, 0.0), 1.0)
    return Interval(value=clipped, low=min(low, clipped), high=max(high, clipped)), extrapolation


def _index(attack: Sequence[Tensor], prior: Sequence[Tensor]) -> float:
    denominator = float(torch.cat(list(prior)).sum())
    return 1.0 - float(torch.cat(list(attack)).sum()) / denominator if denominator > 0 else 0.0


def _half_width(values: Sequence[float]) -> float:
    """Half of the 95 % t interval of a mean."""
    count = len(values)
    spread = torch.tensor(values, dtype=torch.float64).std(unbiased=True)
    return float(stdtrit(count - 1, 0.975)) * float(spread) / math.sqrt(count)
