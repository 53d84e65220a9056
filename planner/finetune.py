"""Fine-tunes the cloud half under the chosen defense; the device's half stays as it is.

By default the half learns to answer on defended activations what the undefended model answers (distillation: Hinton,
Vinyals & Dean 2015), which needs no labels. Masks, noise and rounding are drawn afresh for every batch. Running
statistics of normalisation layers stay frozen, as the exported graph has them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.functional import cross_entropy, kl_div, log_softmax, mse_loss, softmax
from torch.utils import _pytree as pytree

from ..estimators.activations import EdgeActivations
from ..estimators.data import Data
from ..estimators.defenses import Defense
from ..graph.structures import Cut
from ..records import CollabplanError, Tuning
from .accuracy import find_logits, first_rows

TEMPERATURE = 2.0
"""Of distillation, on both sides."""

HELD_OUT = 0.1
"""Share of the training data that decides whether anything was gained."""

DRAWS = 3
"""Of the masks, where that is decided."""


def fine_tune(
    activations: EdgeActivations,
    cut: Cut,
    defense: Defense,
    data: Data,
    tuning: Tuning,
    generator: torch.Generator,
    *,
    classifies: bool = True,
) -> dict[str, Tensor] | None:
    """The cloud half's parameters by name, tuned; None where nothing was gained on what was held out.

    Args:
        activations: runs the edge half; its halves are not changed.
        defense: calibrated.
        data: what the model was trained on, in any order.
        generator: of the order of samples and of the defense's draws.
        classifies: the outputs are logits; else distillation compares them by squared error.

    Raises:
        CollabplanError: the cloud half has nothing to tune, labels are missing, or the loss is not finite.
    """
    if tuning.loss == "cross-entropy" and data.labels is None:
        raise CollabplanError("fine-tuning with cross-entropy needs labels in train_data; distillation needs none")
    cloud = activations.halves(cut).cloud
    start = {name: value.detach() for name, value in cloud.named_parameters()}
    if not start:
        raise CollabplanError(f"the cloud half at {cut.name} has no parameters that could be tuned")
    order = torch.randperm(len(data), generator=generator)[: tuning.samples]
    held_count = max(1, int(HELD_OUT * len(order)))
    held, own = data.take(order[:held_count]), data.take(order[held_count:])
    student = _Student(cloud, defense, tuning, classifies)
    tuned = {name: value.clone().requires_grad_(True) for name, value in start.items()}
    optimiser = torch.optim.Adam(tuned.values(), tuning.rate)
    steps = tuning.epochs * -(-len(own) // activations.batch_size)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)
    for _ in range(tuning.epochs):
        for batch, crossed in _crossed(activations, cut, own, torch.randperm(len(own), generator=generator)):
            optimiser.zero_grad()
            loss = student.loss(tuned, batch, crossed, generator)
            if not bool(torch.isfinite(loss)):
                raise CollabplanError(f"fine-tuning at {cut.name} diverged; give a smaller learning rate")
            loss.backward()  # type: ignore[no-untyped-call]
            optimiser.step()
            schedule.step()
    found = {name: value.detach() for name, value in tuned.items()}
    seed = int(torch.randint(2**62, (), generator=generator))
    before, after = (_judged(student, activations, cut, held, weights, seed) for weights in (start, found))
    return found if after < before else None


def _judged(
    student: _Student, activations: EdgeActivations, cut: Cut, held: Data, weights: Mapping[str, Tensor], seed: int
) -> float:
    """Mean held-out loss, over the same masks whatever the weights."""
    draws = torch.Generator().manual_seed(seed)
    total = 0.0
    with torch.no_grad():
        for _ in range(DRAWS):
            for batch, crossed in _crossed(activations, cut, held, torch.arange(len(held))):
                total += float(student.loss(weights, batch, crossed, draws)) * len(batch)
    return total


def _crossed(
    activations: EdgeActivations, cut: Cut, data: Data, order: Tensor
) -> Iterator[tuple[Data, tuple[Tensor, ...]]]:
    """Batches in that order, with what crosses undefended; the edge half runs once where the cache holds its rows."""
    if activations.row_bytes(cut) * len(data) > activations.cache_bytes:
        yield from activations.batches(cut, data.take(order))
        return
    rows = activations.rows(cut, data)
    for chosen in torch.split(order, activations.batch_size):
        picked = (row if c.layout is None else row[chosen] for row, c in zip(rows, cut.crossing, strict=True))
        yield data.take(chosen), activations.to_graph(cut, tuple(picked))


@dataclass(frozen=True, eq=False)
class _Student:
    cloud: nn.Module
    defense: Defense
    tuning: Tuning
    classifies: bool

    def loss(
        self, weights: Mapping[str, Tensor], batch: Data, crossed: tuple[Tensor, ...], generator: torch.Generator
    ) -> Tensor:
        """Of one batch: a scalar."""
        outputs = functional_call(self.cloud, dict(weights), self.defense.simulate(crossed, generator))
        outputs = first_rows(outputs, len(batch))
        if self.tuning.loss == "cross-entropy":
            assert batch.labels is not None
            return cross_entropy(find_logits(outputs), batch.labels)
        with torch.no_grad():
            wanted = first_rows(self.cloud(*crossed), len(batch))
        if self.classifies:
            given, right = (find_logits(each) / TEMPERATURE for each in (outputs, wanted))
            return kl_div(log_softmax(given, 1), softmax(right, 1), reduction="batchmean") * TEMPERATURE**2
        pairs = zip(_floats(outputs), _floats(wanted), strict=True)
        return torch.stack([mse_loss(a, b) / b.var(unbiased=False).clamp(min=1e-12) for a, b in pairs]).sum()


def _floats(outputs: Any) -> list[Tensor]:
    return [leaf for leaf in pytree.tree_leaves(outputs) if isinstance(leaf, Tensor) and leaf.is_floating_point()]
