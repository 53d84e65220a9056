"""Fine-tunes the cloud half under the chosen defense; the device's half stays as it is.

By default the half learns to answer on defended activations what the undefended model answers (distillation: Hinton,
Vinyals & Dean 2015), which needs no labels. Masks, noise and rounding are drawn afresh for every batch. Running
statistics of normalisation layers stay frozen, as the exported graph has them.

Where the defense keeps fewer directions than all, their matrices are trained along with the half: those that were
fitted are the best to first order, and a few numbers are worth more when both sides agree on what to say with them.
What rounding, masks and noise do to a code passes gradients as if it did nothing (the straight-through estimator:
Bengio, Leonard & Courville, arXiv 1308.3432, 2013). Projections of the whole can be trained against a linear reader
too (`linear_reader.py`), who sees the codes before masks and noise, as many releases would show them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.utils import _pytree as pytree

from ..defenses.pipeline import Defense
from ..defenses.projection import ProjectionMatrices, axis_of, vectors_of
from ..estimators.activations import EdgeActivations
from ..estimators.secrets import private_inputs
from ..graph import Cut, from_samples, to_samples
from ..graph.halves import tunable
from ..graph.precision import widened
from ..records import CollabplanError, Crossing, Tuning
from ..records.revisions import Part
from ..targets.data import Data, InputScaling
from .linear_reader import LinearReader
from .losses import distilled, supervised
from .readings import TOP1, Reading, first_rows

HELD_OUT = 0.1
"""Share of the training data that decides whether anything was gained."""

DRAWS = 3
"""Of the masks, where that is decided."""

ENCODER_PACE, DECODER_PACE = 50.0, 5.0
"""Learning rates of the directions' matrices, in units of the half's and relative to the size of their numbers."""

_DIRECTIONS = "directions:"


FINE_TUNING = Part("fine-tuning")
"""Raise its revision whenever the same training data give other weights."""

RECENT = 0.2
"""Weight of the newest batch where the size of codes is followed."""


@dataclass(frozen=True, eq=False)
class Tuned:
    """What was learnt.

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
        """From what `tensors` gave; None where nothing was learnt."""
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
    """The cloud half's parameters, and the defense's directions; None where nothing was gained on what was held out.

    What is to be gained is a lower loss; where directions are trained against a reader, a smaller share that it reads:
    what that costs, the accuracy says.

    Args:
        activations: runs the edge half; its halves are not changed.
        defense: calibrated. Its ranges hold for the directions that are returned too, whose codes have the same size.
        data: what the model was trained on, in any order.
        generator: of the order of samples and of the defense's draws.
        scaling: of the private inputs, which directions of the whole are trained against where `tuning` has a penalty.
        reading: how outputs are read; None: nothing is known, and distillation compares them by squared error.
        step: called after every batch with the share of the training that is done.

    Raises:
        CollabplanError: the cloud half has nothing to tune, labels are missing, the loss is not finite, or there is a
            penalty and no private input that could be reconstructed.
    """
    if tuning.loss == "cross-entropy" and data.labels is None:
        raise CollabplanError("fine-tuning with cross-entropy needs labels in train_data; distillation needs none")
    cloud = activations.halves(cut).cloud
    start = {name: value.detach() for name, value in tunable(cloud).items()}
    if not start:
        raise CollabplanError(
            f"the cloud half at {cut.name} has no parameters that could be tuned: none, or whole numbers alone"
        )
    order = torch.randperm(len(data), generator=generator)[: tuning.samples]
    held_count = max(1, int(HELD_OUT * len(order)))
    held, own = data.take(order[:held_count]), data.take(order[held_count:])
    student = _Student(cloud, tuning, reading, activations)
    # Steps are smaller than half precision can tell: its weights are learnt in float32, and run in their own dtype.
    tuned = {name: widened(value).clone().requires_grad_(True) for name, value in start.items()}
    matrices = None if defense.matrices is None else _Matrices(defense, defense.matrices)
    groups = [{"params": list(tuned.values())}, *([] if matrices is None else matrices.groups(tuning.rate))]
    against = _Against(activations, defense, scaling, own) if trains_against(tuning, defense) else None
    optimiser = torch.optim.Adam(groups, tuning.rate)
    steps = tuning.epochs * -(-len(own) // activations.batch_size)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)
    for _ in range(tuning.epochs):
        for batch, crossed in _crossed(activations, cut, own, torch.randperm(len(own), generator=generator)):
            optimiser.zero_grad()
            codes: Sequence[Tensor] = ()
            if matrices is None:
                received = defense.simulate(crossed, generator)
            else:
                received, codes = matrices.simulate(crossed, generator)
            loss = student.loss(tuned, batch, crossed, received)
            if against is not None:
                loss = loss + tuning.penalty * against.reader.read(against.codes(codes, batch), against.inputs(batch))
            if not bool(torch.isfinite(loss)):
                raise CollabplanError(f"fine-tuning at {cut.name} diverged; give a smaller learning rate")
            loss.backward()  # type: ignore[no-untyped-call]
            optimiser.step()
            schedule.step()
            step(schedule.last_epoch / steps)
    weights, bound = {name: value.detach().to(start[name].dtype) for name, value in tuned.items()}, defense
    if matrices is not None:
        everything = _crossed(activations, cut, own, torch.arange(len(own)))
        bound = replace(defense, matrices=matrices.finished(crossed for _, crossed in everything))
    seed = int(torch.randint(2**62, (), generator=generator))

    def loss_of(weights: Mapping[str, Tensor], defense: Defense) -> float:
        """Summed held-out loss, over the same masks whatever was learnt."""
        draws, total = torch.Generator().manual_seed(seed), 0.0
        with torch.no_grad():
            for _ in range(DRAWS):
                for batch, crossed in _crossed(activations, cut, held, torch.arange(len(held))):
                    received = defense.simulate(crossed, draws)
                    total += float(student.loss(weights, batch, crossed, received)) * len(batch)
        return total

    def read_of(directions: ProjectionMatrices | None, against: _Against) -> float:
        """The share of the held-out inputs that the linear reader reads."""
        assert directions is not None
        crossings = _crossed(activations, cut, held, torch.arange(len(held)))
        codes = ((batch, directions.encoded_in_graph(defense.crossing, crossed)) for batch, crossed in crossings)
        return against.reader.share((against.codes(each, batch), against.inputs(batch)) for batch, each in codes)

    if against is None:
        gained = loss_of(weights, bound) < loss_of(start, defense)
    else:
        gained = read_of(bound.matrices, against) < read_of(defense.matrices, against)
    return Tuned(weights, bound.matrices) if gained else None


def trains_against(tuning: Tuning, defense: Defense) -> bool:
    """Whether directions are trained against a linear reader: a penalty is asked for, and some are of the whole."""
    projection = defense.record.projection
    return tuning.penalty > 0 and defense.matrices is not None and projection is not None and bool(projection.rank)


def _behind(defense: Defense) -> Defense:
    """What acts on the codes of the projection."""
    return defense.after(1)


class _Against:
    """Whom directions of the whole are trained against."""

    def __init__(self, activations: EdgeActivations, defense: Defense, scaling: InputScaling, data: Data) -> None:
        self._traced, self._scaling = activations.traced, scaling
        assert defense.matrices is not None
        narrowed = defense.matrices.encode
        self._narrowed = [(at, code) for at, code in enumerate(_behind(defense).crossing) if code.node in narrowed]
        self.reader = LinearReader(self.inputs(batch) for batch in data.batches(activations.batch_size))

    def inputs(self, batch: Data) -> tuple[Tensor, ...]:
        """The private inputs, each `[n, d]`."""
        return private_inputs(batch, self._traced, self._scaling)

    def codes(self, codes: Sequence[Tensor], batch: Data) -> Tensor:
        """What the reader sees of the codes in the graph's layout: `[n, k]`, all directions of the whole."""
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


class _Matrices:
    """Projections that learn, under the rest of their defense.

    Their numbers are held in units of their own size, or one learning rate could not be right for all cuts; and codes
    are brought to the size that the defense's ranges are for, whatever the matrices have become.
    """

    def __init__(self, defense: Defense, directions: ProjectionMatrices) -> None:
        self.defense, self.rest, self.mean = defense, _behind(defense), directions.mean
        self.parts = {"encode": directions.encode, "decode": directions.decode}
        self.sizes = {
            part: {node: each.square().mean().sqrt().clamp(min=_SMALLEST) for node, each in given.items()}
            for part, given in self.parts.items()
        }
        self.learnt = {
            part: {node: (each / self.sizes[part][node]).requires_grad_(True) for node, each in given.items()}
            for part, given in self.parts.items()
        }
        self.squares = {node: torch.ones(len(each)) for node, each in directions.encode.items()}

    def groups(self, rate: float) -> list[dict[str, Any]]:
        """What an optimiser needs, `rate` being the cloud half's learning rate."""
        paces = {"encode": ENCODER_PACE, "decode": DECODER_PACE}
        return [{"params": list(self.learnt[part].values()), "lr": rate * pace} for part, pace in paces.items()]

    @property
    def directions(self) -> ProjectionMatrices:
        """As they stand."""
        encode, decode = (
            {node: each * self.sizes[part][node] for node, each in self.learnt[part].items()} for part in self.learnt
        )
        return ProjectionMatrices(self.mean, encode, decode)

    def simulate(
        self, tensors: tuple[Tensor, ...], generator: torch.Generator
    ) -> tuple[tuple[Tensor, ...], list[Tensor]]:
        """As `Defense.simulate`, with gradients; and the codes before the rest of the defense acts on them."""
        directions, sizes = self.directions, []
        codes = list(directions.encoded_in_graph(self.defense.crossing, tensors))
        for at, code in enumerate(self.rest.crossing):
            if code.node in self.squares:
                recent = _squares(code, codes[at].detach())
                self.squares[code.node] = (1 - RECENT) * self.squares[code.node] + RECENT * recent
                sizes.append(self.squares[code.node].sqrt().clamp(min=_SMALLEST))
                codes[at] = _scaled(code, codes[at], 1 / sizes[-1])
        clean = list(codes)
        with torch.no_grad():
            felt = self.rest.simulate(codes, generator)
        for at, code in enumerate(self.rest.crossing):
            if code.node in self.squares:
                codes[at] = _scaled(code, codes[at] + (felt[at] - codes[at]).detach(), sizes.pop(0))
            else:
                codes[at] = felt[at]
        return directions.decoded_in_graph(self.defense.crossing, codes), clean

    @torch.no_grad()
    def finished(self, batches: Iterable[tuple[Tensor, ...]]) -> ProjectionMatrices:
        """The directions, their codes brought to size over all `batches` of what crosses."""
        directions, total, count = self.directions, dict.fromkeys(self.squares, torch.zeros(())), 0
        for tensors in batches:
            codes = directions.encoded_in_graph(self.defense.crossing, tensors)
            for code, given in zip(self.rest.crossing, codes, strict=True):
                if code.node in total:
                    total[code.node] = total[code.node] + _squares(code, given)
            count += 1
        sizes = {node: (each / count).sqrt().clamp(min=_SMALLEST) for node, each in total.items()}
        return ProjectionMatrices(
            self.mean,
            {node: each / sizes[node][:, None] for node, each in directions.encode.items()},
            {node: each * sizes[node] for node, each in directions.decode.items()},
        )


_SMALLEST = 1e-6


def _squares(code: Crossing, given: Tensor) -> Tensor:
    """Mean square of each direction's code, over samples and positions."""
    return widened(vectors_of(code, given)).square().mean(dim=0)


def _scaled(code: Crossing, given: Tensor, factors: Tensor) -> Tensor:
    """Codes, each direction's multiplied by its factor."""
    assert code.layout is not None  # codes are of private tensors, which have one
    axis = 1 + axis_of(code)
    scaled = (to_samples(given, code.layout).movedim(axis, -1) * factors).movedim(-1, axis)
    return from_samples(scaled.to(given.dtype), code.layout)


@dataclass(frozen=True, eq=False)
class _Student:
    cloud: nn.Module
    tuning: Tuning
    reading: Reading | None
    activations: EdgeActivations

    def loss(
        self, weights: Mapping[str, Tensor], batch: Data, crossed: tuple[Tensor, ...], received: tuple[Tensor, ...]
    ) -> Tensor:
        """Of one batch, of which `received` is what the cloud half reads: a scalar."""
        own = {name: weights[name].to(value.dtype) for name, value in tunable(self.cloud).items()}
        ran = self.activations.rows_run(len(batch))
        outputs = _wide(first_rows(functional_call(self.cloud, own, received), len(batch), ran))
        if self.tuning.loss == "cross-entropy":
            assert batch.labels is not None
            return supervised(self.reading, outputs, batch.labels)
        with torch.no_grad():
            wanted = _wide(first_rows(self.cloud(*crossed), len(batch), ran))
        return distilled(self.reading, outputs, wanted)


def _wide(outputs: Any) -> Any:
    """Outputs whose fractions are float32 or wider, so that a loss of half precision does not overflow."""
    return pytree.tree_map_only(Tensor, lambda leaf: widened(leaf) if leaf.is_floating_point() else leaf, outputs)
