"""The attackers of token recovery: the nearest of known references, a ridge regression, a small network.

Each chooses the token that is most likely a posteriori: what it reads is weighed against how common each token is at
its place, so an attacker that reads nothing answers with the prior.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

PENALTIES = (1e-4, 1e-3, 1e-2, 0.1, 1.0, 10.0)
"""Relative to the mean eigenvalue."""

GRAM_PRODUCT = 2e10
"""The most rows x features^2 of a regression; beyond it, rows are left out."""

DUAL_ROWS = 2000
SHRINKAGE = 0.1
"""Shrinkage of the residuals' covariance towards a multiple of the identity."""

CLASSES = 1000
"""The most tokens that the network tells apart, the commonest; rarer ones are left to the other attackers."""

HIDDEN = 256
NETWORK_WORK = 6e10
"""Multiplications of a training, which stops earlier if held-out rows gain nothing."""

BATCH_ROWS = 256
LOOKS = 40
"""The most evaluations on held-out rows in a training."""

PATIENCE = 6
RATE, DECAY = 2e-3, 1e-2
CHUNK = 512


@dataclass(frozen=True, eq=False)
class Examples:
    """Rows with their tokens, as numbers of candidates.

    Attributes:
        features: `[n, R, F]`, what is read of each row, of about unit variance.
        wanted: `[n, R, S]` int64, the candidates in each row; -1 for an empty slot, or a token that does not count.
    """

    features: Tensor
    wanted: Tensor


def nearest(seen: Tensor, weights: Tensor | None, references: Tensor, log_prior: Tensor) -> Tensor:
    """The likeliest of C references under Gaussian errors.

    Args:
        seen: `[n, F]`.
        weights: `[n, F]`, one over the variance of each number's error, 0 if it was dropped; None for 1 everywhere.
        references: `[C, F]`.
        log_prior: `[C]`.

    Returns:
        `[n]`, indices of references.
    """
    middle = references.mean(dim=0)
    seen, references = seen - middle, references - middle
    found = []
    for start in range(0, len(seen), CHUNK):
        values = seen[start : start + CHUNK]
        if weights is None:
            likelihood = values @ references.T - references.square().sum(dim=1) / 2
        else:
            own = weights[start : start + CHUNK]
            likelihood = (own * values) @ references.T - own @ references.square().T / 2
        found.append((likelihood + log_prior).argmax(dim=1))
    return torch.cat(found)


Predictor = Callable[[Tensor], Tensor]
"""From features `[n, R, F]` to an attacker's answers, `[n, R, S]` of candidates."""


def ridge(
    train: Examples,
    held: Examples,
    vectors: Tensor,
    log_prior: Tensor,
    slots: Tensor,
    *,
    penalties: Sequence[float] = PENALTIES,
    widest: int | None = None,
) -> Predictor:
    """Regression of each token's vector on its row, then the likeliest token.

    Args:
        train: to learn from; may hold several releases of the same sequences.
        held: chooses the penalty, and tells the size of prediction errors.
        vectors: `[C, E]`.
        log_prior: `[L, C]` by position.
        slots: `[R, S]`: the positions in each row, -1 for an empty slot.
        penalties: to choose from.
        widest: leading components of the vectors to regress; `WIDEST` by default.
    """
    vectors = _whitened(vectors, WIDEST if widest is None else min(widest, WIDEST))
    parts = [_RidgeSlots(train, held, vectors, alike, penalties) for alike in _alike(slots)]

    def predict(features: Tensor) -> Tensor:
        answers = torch.full((*features.shape[:2], slots.shape[1]), -1)
        for part in parts:
            for slot, read in zip(part.slots, part.read(features[:, part.rows]), strict=True):
                for at, row in enumerate(part.rows.tolist()):
                    prior = log_prior[slots[row, slot]]
                    answers[:, row, slot] = nearest(read[:, at], None, part.references, prior)
        return answers

    return predict


def readable(train: Examples, held: Examples, vectors: Tensor, slots: Tensor) -> float:
    """The share of the tokens' variance that a quick ridge reads of the held-out examples, to compare readings."""
    vectors = _whitened(vectors, NARROW)
    parts = [_RidgeSlots(train, held, vectors, alike, PENALTIES[2::2]) for alike in _alike(slots)]
    return 1 - sum(part.missed for part in parts) / (sum(part.guessed for part in parts) or 1.0)


def _whitened(vectors: Tensor, width: int) -> Tensor:
    """`[C, E]` centred, with variance 1; only the leading `width` components."""
    centred = vectors - vectors.mean(dim=0)
    if centred.shape[1] > width:
        _, directions = torch.linalg.eigh(centred.T @ centred)
        centred = centred @ directions[:, -width:]
    return centred / centred.square().mean().sqrt().clamp(min=1e-12)


WIDEST = 128
"""Leading components of the tokens' vectors that are regressed."""

NARROW = 16
"""Leading components that suffice to compare readings."""


def _alike(slots: Tensor) -> list[tuple[list[int], Tensor]]:
    """Groups of slots that are used in the same rows, with these rows: one regression serves each group."""
    found: dict[tuple[bool, ...], list[int]] = {}
    for slot in range(slots.shape[1]):
        found.setdefault(tuple((slots[:, slot] >= 0).tolist()), []).append(slot)
    return [(own, torch.tensor(rows).nonzero()[:, 0]) for rows, own in found.items()]


class _RidgeSlots:
    """One regression for slots that are used in the same rows.

    Attributes:
        missed: squared error of the regression on held-out examples.
        guessed: squared error of the mean on them.
    """

    def __init__(
        self,
        train: Examples,
        held: Examples,
        vectors: Tensor,
        alike: tuple[list[int], Tensor],
        penalties: Sequence[float],
    ) -> None:
        self.slots, self.rows = alike
        self.width = vectors.shape[1]
        features, wanted = self._flat(train)
        single = len(self.slots) == 1
        used = (wanted >= 0).any(dim=1).nonzero()[:, 0] if single else torch.arange(len(wanted))
        most = max(int(GRAM_PRODUCT / features.shape[1] ** 2), DUAL_ROWS)
        used = used[:: max(1, -(-len(used) // most))]
        features, targets = features[used], self._targets(wanted[used], vectors)
        self.mean = targets.mean(dim=0)
        held_features, held_wanted = self._flat(held)
        truth = self._targets(held_wanted, vectors)
        counted = (held_wanted >= 0).repeat_interleave(self.width, dim=1)
        self.missed = math.inf
        self.guessed = float(((self.mean - truth) * counted).square().sum())
        for weights in ridges(features, targets - self.mean, penalties):
            missed = (held_features @ weights + self.mean - truth) * counted
            if float(missed.square().sum()) < self.missed:
                self.missed, self.weights, misses = float(missed.square().sum()), weights, missed
        misses = misses.reshape(-1, self.width)[(held_wanted >= 0).reshape(-1)]
        self.scale = _inverse_root(misses, self.width)
        self.references = vectors @ self.scale

    def read(self, features: Tensor) -> Tensor:
        """From rows `[n, R, F]`, the predicted vectors `[slots, n, R, E]` in units of their error."""
        read = (features @ self.weights + self.mean).reshape(*features.shape[:2], len(self.slots), self.width)
        scaled: Tensor = (read @ self.scale).movedim(2, 0)
        return scaled

    def _flat(self, examples: Examples) -> tuple[Tensor, Tensor]:
        features = examples.features[:, self.rows].flatten(0, 1)
        return features, examples.wanted[:, self.rows][:, :, self.slots].flatten(0, 1)

    def _targets(self, wanted: Tensor, vectors: Tensor) -> Tensor:
        """`[m, slots * E]`; a token that does not count has the mean of all vectors."""
        found = vectors[wanted.clamp(min=0)] * (wanted >= 0)[:, :, None]
        return found.flatten(1)


def ridges(features: Tensor, targets: Tensor, penalties: Sequence[float]) -> Iterator[Tensor]:
    """Weights `[F, d]` of a regression without intercept, penalty by penalty."""
    rows, width = features.shape
    dual = width > rows
    if dual and rows > DUAL_ROWS:
        features, targets = features[:DUAL_ROWS], targets[:DUAL_ROWS]
    gram = features @ features.T if dual else features.T @ features
    right = targets if dual else features.T @ targets
    scale = float(gram.diagonal().mean()) or 1.0
    for penalty in penalties:
        penalised = gram.clone()
        penalised.diagonal().add_(penalty * scale)
        solved = torch.cholesky_solve(right, torch.linalg.cholesky(penalised))
        yield features.T @ solved if dual else solved


def _inverse_root(misses: Tensor, width: int) -> Tensor:
    """`[E, E]`: brings errors such as `misses` `[m, E]` to unit covariance."""
    covariance = misses.T @ misses / max(len(misses), 1)
    typical = float(covariance.diagonal().mean())
    share = max(SHRINKAGE, min(1.0, width / max(len(misses), 1)))
    covariance = (1 - share) * covariance + torch.eye(width) * (share * typical + 1e-8)
    values, vectors = torch.linalg.eigh(covariance.double())
    root: Tensor = (vectors * values.clamp(min=1e-12).rsqrt()) @ vectors.T
    return root.float()


class _Network:
    """The sum of a linear classifier and one with a hidden layer, with a head for each slot of a row."""

    def __init__(self, width: int, slots: int, classes: int, log_prior: Tensor, generator: torch.Generator) -> None:
        self.slots, self.classes = slots, classes

        def weights(rows: int, columns: int) -> Tensor:
            drawn: Tensor = torch.randn(rows, columns, generator=generator) / rows**0.5
            return drawn

        self.parameters = [
            weights(width, HIDDEN),
            torch.zeros(HIDDEN),
            weights(HIDDEN, slots * classes) * 0.1,
            log_prior.clone().repeat(slots),
            torch.zeros(width, slots * classes),
        ]

    def __call__(self, features: Tensor) -> Tensor:
        """Rows `[m, F]` as logits `[m, S, K]`."""
        first, bias, second, prior, straight = self.parameters
        hidden = torch.nn.functional.gelu(features @ first + bias)
        return (hidden @ second + features @ straight + prior).reshape(-1, self.slots, self.classes)


def classifier(draw: Callable[[], Examples], held: Examples, candidates: int, generator: torch.Generator) -> Predictor:
    """A small network with the same weights at every row, trained on releases.

    Args:
        draw: gives examples to learn from, newly released each time if releases differ.
        held: for early stopping.
        candidates: C.
        generator: of weights and order; on the CPU.
    """
    examples = draw()
    counts = torch.bincount(examples.wanted[examples.wanted >= 0], minlength=candidates)
    classes = counts.argsort(descending=True, stable=True)[: min(CLASSES, int((counts > 0).sum()))]
    class_of = torch.full((candidates + 1,), -1)
    class_of[classes] = torch.arange(len(classes))
    log_prior = (counts[classes] / counts.sum()).log()
    width, slots = examples.features.shape[2], examples.wanted.shape[2]
    network = _Network(width, slots, len(classes), log_prior, generator)
    _train(network, draw, examples, held, class_of, generator)

    def predict(features: Tensor) -> Tensor:
        with torch.no_grad():
            chosen = [network(rows).argmax(dim=2) for rows in torch.split(features.flatten(0, 1), 4 * CHUNK)]
        return classes[torch.cat(chosen)].reshape(*features.shape[:2], slots)

    return predict


def _train(
    network: _Network,
    draw: Callable[[], Examples],
    examples: Examples,
    held: Examples,
    class_of: Tensor,
    generator: torch.Generator,
) -> None:
    """Train until the work is spent or the held-out loss stops falling; keep the best weights."""
    work = 6 * sum(each.numel() for each in network.parameters)
    budget = NETWORK_WORK / work
    for each in network.parameters:
        each.requires_grad_(True)
    optimiser = torch.optim.AdamW(network.parameters, lr=RATE, weight_decay=DECAY)
    held_rows, held_classes = _usable(held, class_of)
    best, kept, waited, seen = math.inf, [each.detach().clone() for each in network.parameters], 0, 0.0
    for look in range(LOOKS):
        rows, wanted = _usable(examples, class_of)
        if not len(rows) or seen >= budget:
            break
        for chosen in torch.split(torch.randperm(len(rows), generator=generator), BATCH_ROWS):
            if seen >= budget:
                break
            loss = _loss(network, rows[chosen], wanted[chosen])
            for group in optimiser.param_groups:
                group["lr"] = RATE * max(0.02, 1 - seen / budget)
            optimiser.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimiser.step()
            seen += len(chosen)
        with torch.no_grad():
            lost = float(_loss(network, held_rows, held_classes)) if len(held_rows) else -float(look)
        if lost < best:
            best, kept, waited = lost, [each.detach().clone() for each in network.parameters], 0
        else:
            waited += 1
        if waited >= PATIENCE:
            break
        examples = draw()
    network.parameters = kept


def _usable(examples: Examples, class_of: Tensor) -> tuple[Tensor, Tensor]:
    """Rows `[m, F]` that hold a class, with their classes `[m, S]`, -1 for none."""
    wanted = class_of[examples.wanted.flatten(0, 1)]
    used = (wanted >= 0).any(dim=1)
    return examples.features.flatten(0, 1)[used], wanted[used]


def _loss(network: _Network, rows: Tensor, wanted: Tensor) -> Tensor:
    return torch.nn.functional.cross_entropy(network(rows).flatten(0, 1), wanted.flatten(), ignore_index=-1)
