"""Fine-tunes the cloud half under the chosen defense; the device's half stays as it is.

By default the half learns to answer on defended activations what the undefended model answers (distillation: Hinton,
Vinyals & Dean 2015), which needs no labels. Masks, noise and rounding are drawn afresh for every batch. Running
statistics of normalisation layers stay frozen, as the exported graph has them.

A projection is trained along with the half (`trained_projection.py`). One of a rank of the whole tensor can be trained
against a linear reader too (`linear_reader.py`), who sees the codes before masks and noise, as many releases would show
them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.utils import _pytree as pytree

from ..attacks.time_limit import check_time
from ..defenses.pipeline import Defense
from ..defenses.projection import ProjectionMatrices, vectors_of
from ..estimators.activations import EdgeActivations
from ..estimators.secrets import private_inputs
from ..graph import Cut
from ..graph.halves import tunable
from ..graph.precision import widened
from ..records import CollabplanError, Tuning
from ..records.revisions import Part
from ..targets.data import Data, InputScaling
from .linear_reader import LinearReader
from .losses import distilled, supervised
from .readings import TOP1, Reading, first_rows
from .trained_projection import TrainedProjection

HELD_OUT = 0.1
"""Share of the training data that decides whether training gained anything."""

DRAWS = 3
"""Draws of the masks that the held-out loss is summed over."""

_DIRECTIONS = "directions:"


FINE_TUNING = Part("fine-tuning")
"""Raise its revision whenever the same training data give other weights."""


@dataclass(frozen=True, eq=False)
class Tuned:
    """What training gave.

    Attributes:
        weights: the cloud half's parameters, by name.
        matrices: of the defense's projection; None where it has none.
    """

    weights: dict[str, Tensor]
    matrices: ProjectionMatrices | None = None

    @property
    def tensors(self) -> dict[str, Tensor]:
        """Both as one file holds them."""
        directions = {} if self.matrices is None else self.matrices.tensors
        named = {**self.weights, **{_DIRECTIONS + name: value for name, value in directions.items()}}
        return {name: value.contiguous() for name, value in named.items()}

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, Tensor]) -> Tuned | None:
        """From what `tensors` gave; None where training gained nothing."""
        weights = {name: value for name, value in tensors.items() if not name.startswith(_DIRECTIONS)}
        directions = {
            name.removeprefix(_DIRECTIONS): value for name, value in tensors.items() if name.startswith(_DIRECTIONS)
        }
        return cls(weights, ProjectionMatrices.from_tensors(directions) if directions else None) if weights else None


def fine_tune(
    activations: EdgeActivations,
    cut: Cut,
    defense: Defense,
    data: Data,
    tuning: Tuning,
    generator: torch.Generator,
    *,
    scaling: InputScaling,
    reading: Reading | None = TOP1,
    step: Callable[[float], None] = lambda _: None,
) -> Tuned | None:
    """Train the cloud half's parameters, and the defense's projection; None if nothing is gained on held-out samples.

    The gain is a lower loss. Where a projection is trained against a reader, it is a smaller share that the reader
    recovers; what that costs shows in the accuracy.

    Args:
        activations: runs the edge half; its halves are not changed.
        defense: calibrated. Its ranges hold for the trained projection too, whose codes have the same size.
        data: what the model was trained on, in any order.
        generator: of the order of samples and of the defense's draws.
        scaling: of the private inputs, for a projection that is trained against a reader.
        reading: how outputs are read; None: nothing is known, and distillation compares them by squared error.
        step: called after every batch with the share of the training that is done.

    Raises:
        CollabplanError: the cloud half has nothing to tune, labels are missing, the loss is not finite, or there is a
            penalty and no private input that could be reconstructed.
    """
    if tuning.loss == "cross-entropy" and data.labels is None:
        raise CollabplanError("fine-tuning with cross-entropy needs labels in train_data; distillation needs none")
    order = torch.randperm(len(data), generator=generator)[: tuning.samples]
    held_count = max(1, int(HELD_OUT * len(order)))
    held, own = data.take(order[:held_count]), data.take(order[held_count:])
    training = _Training(activations, cut, defense, own, tuning, scaling, reading)
    training.run(generator, step)
    seed = int(torch.randint(2**62, (), generator=generator))
    return training.result if training.gains(held, seed) else None


class _Training:
    """Trains one cloud half, and the projection of its defense, on `data`."""

    def __init__(
        self,
        activations: EdgeActivations,
        cut: Cut,
        defense: Defense,
        data: Data,
        tuning: Tuning,
        scaling: InputScaling,
        reading: Reading | None,
    ) -> None:
        self.activations, self.cut, self.defense, self.data, self.tuning = activations, cut, defense, data, tuning
        cloud = activations.halves(cut).cloud
        self.start = {name: value.detach() for name, value in tunable(cloud).items()}
        if not self.start:
            raise CollabplanError(
                f"the cloud half at {cut.name} has no parameters that could be tuned: none, or whole numbers alone"
            )
        self.student = _Student(cloud, tuning, reading, activations)
        # Steps are smaller than half precision can tell: its weights are learnt in float32, and run in their own dtype.
        self.tuned = {name: widened(value).clone().requires_grad_(True) for name, value in self.start.items()}
        self.matrices = None if defense.matrices is None else TrainedProjection(defense, defense.matrices)
        self.opponent = _Opponent(activations, defense, scaling, data) if trains_against(tuning, defense) else None
        self.bound = defense

    def run(self, generator: torch.Generator, step: Callable[[float], None]) -> None:
        """All epochs; `bound` is then the defense with the trained projection."""
        groups: list[dict[str, Any]] = [{"params": list(self.tuned.values())}]
        groups += [] if self.matrices is None else self.matrices.groups(self.tuning.rate)
        optimiser = torch.optim.Adam(groups, self.tuning.rate)
        steps = self.tuning.epochs * -(-len(self.data) // self.activations.batch_size)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)
        for _ in range(self.tuning.epochs):
            for batch, crossed in self._crossed(self.data, torch.randperm(len(self.data), generator=generator)):
                check_time()
                optimiser.zero_grad()
                loss = self._loss(batch, crossed, generator)
                if not bool(torch.isfinite(loss)):
                    raise CollabplanError(f"fine-tuning at {self.cut.name} diverged; give a smaller learning rate")
                loss.backward()  # type: ignore[no-untyped-call]
                optimiser.step()
                schedule.step()
                step(schedule.last_epoch / steps)
        if self.matrices is not None:
            everything = self._crossed(self.data, torch.arange(len(self.data)))
            finished = self.matrices.finished(crossed for _, crossed in everything)
            self.bound = replace(self.defense, matrices=finished)

    def _loss(self, batch: Data, crossed: tuple[Tensor, ...], generator: torch.Generator) -> Tensor:
        """Of one batch: a scalar with gradients."""
        codes: Sequence[Tensor] = ()
        if self.matrices is None:
            received = self.defense.simulate(crossed, generator)
        else:
            received, codes = self.matrices.simulate(crossed, generator)
        loss = self.student.loss(self.tuned, batch, crossed, received)
        if self.opponent is None:
            return loss
        read = self.opponent.reader.read(self.opponent.codes(codes, batch), self.opponent.inputs(batch))
        return loss + self.tuning.penalty * read

    @property
    def result(self) -> Tuned:
        """The trained parameters in the cloud half's own dtypes, with the trained projection."""
        weights = {name: value.detach().to("cpu", self.start[name].dtype) for name, value in self.tuned.items()}
        return Tuned(weights, self.bound.matrices)

    def gains(self, held: Data, seed: int) -> bool:
        """Whether training gained anything on held-out samples."""
        if self.opponent is None:
            before = self._held_loss(self.start, self.defense, held, seed)
            return self._held_loss(self.result.weights, self.bound, held, seed) < before
        return self._held_share(self.bound, held) < self._held_share(self.defense, held)

    @torch.no_grad()
    def _held_loss(self, weights: Mapping[str, Tensor], defense: Defense, held: Data, seed: int) -> float:
        """Summed held-out loss, over the same masks whatever was trained."""
        draws, total = torch.Generator().manual_seed(seed), 0.0
        for _ in range(DRAWS):
            for batch, crossed in self._crossed(held, torch.arange(len(held))):
                received = defense.simulate(crossed, draws)
                total += float(self.student.loss(weights, batch, crossed, received)) * len(batch)
        return total

    def _held_share(self, defense: Defense, held: Data) -> float:
        """The share of the held-out inputs that the linear reader recovers."""
        assert self.opponent is not None
        assert defense.matrices is not None
        seen = []
        for batch, crossed in self._crossed(held, torch.arange(len(held))):
            codes = defense.matrices.encoded_in_graph(defense.crossing, crossed)
            seen.append((self.opponent.codes(codes, batch), self.opponent.inputs(batch)))
        return self.opponent.reader.share(iter(seen))

    def _crossed(self, data: Data, order: Tensor) -> Iterator[tuple[Data, tuple[Tensor, ...]]]:
        return _crossed(self.activations, self.cut, data, order)


def trains_against(tuning: Tuning, defense: Defense) -> bool:
    """Whether the projection is trained against a linear reader: it has a rank, and a penalty is asked for."""
    projection = defense.record.projection
    return tuning.penalty > 0 and defense.matrices is not None and projection is not None and bool(projection.rank)


class _Opponent:
    """The linear reader that a projection is trained against."""

    def __init__(self, activations: EdgeActivations, defense: Defense, scaling: InputScaling, data: Data) -> None:
        self._traced, self._scaling = activations.traced, scaling
        assert defense.matrices is not None
        narrowed = defense.matrices.encode
        self._narrowed = [(at, code) for at, code in enumerate(defense.after(1).crossing) if code.node in narrowed]
        self.reader = LinearReader(self.inputs(batch) for batch in data.batches(activations.batch_size))

    def inputs(self, batch: Data) -> tuple[Tensor, ...]:
        """The private inputs, each `[n, d]`."""
        return private_inputs(batch, self._traced, self._scaling)

    def codes(self, codes: Sequence[Tensor], batch: Data) -> Tensor:
        """What the reader sees of the codes in the graph's layout: `[n, k]`, of the whole tensor."""
        rows = [vectors_of(code, codes[at], whole=True) for at, code in self._narrowed]
        return widened(torch.cat(rows, dim=1))[: len(batch)]


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
    tuning: Tuning
    reading: Reading | None
    activations: EdgeActivations

    def loss(
        self, weights: Mapping[str, Tensor], batch: Data, crossed: tuple[Tensor, ...], received: tuple[Tensor, ...]
    ) -> Tensor:
        """The loss of one batch, a scalar. `received` is what the cloud half reads of it."""
        own = {name: weights[name].to(value) for name, value in tunable(self.cloud).items()}
        ran, device = self.activations.rows_run(len(batch)), self.activations.device
        outputs = _wide(
            first_rows(functional_call(self.cloud, own, tuple(each.to(device) for each in received)), len(batch), ran)
        )
        if self.tuning.loss == "cross-entropy":
            assert batch.labels is not None
            return supervised(self.reading, outputs, batch.labels)
        with torch.no_grad():
            wanted = _wide(first_rows(self.cloud(*(each.to(device) for each in crossed)), len(batch), ran))
        return distilled(self.reading, outputs, wanted)


def _wide(outputs: Any) -> Any:
    """Outputs whose fractions are float32 or wider, so that a loss of half precision does not overflow."""
    return pytree.tree_map_only(Tensor, lambda leaf: widened(leaf) if leaf.is_floating_point() else leaf, outputs)
