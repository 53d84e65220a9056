"""Trains the matrices of a projection along with the cloud half.

Fitted matrices are the best to first order; a few numbers are worth more when both sides agree on what to say with
them. What rounding, masks and noise do to a code passes gradients as if it did nothing (the straight-through estimator:
Bengio, Leonard & Courville, arXiv 1308.3432, 2013).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

from ..defenses.pipeline import Defense
from ..defenses.projection import ProjectionMatrices, axis_of, vectors_of
from ..graph import from_samples, to_samples
from ..graph.precision import widened
from ..records import Crossing

ENCODER_PACE, DECODER_PACE = 50.0, 5.0
"""Learning rates of the matrices, in units of the cloud half's and relative to the size of their numbers."""

RECENT = 0.2
"""Weight of the newest batch in the running size of codes."""


class TrainedProjection:
    """A projection in training, under the rest of its defense.

    Its numbers are held in units of their own size, so that one learning rate is right for all cuts. Codes are brought
    to the size that the defense's ranges are for, whatever the matrices have become.
    """

    def __init__(self, defense: Defense, matrices: ProjectionMatrices) -> None:
        self.defense, self.rest, self.mean = defense, defense.after(1), matrices.mean
        self.parts = {"encode": matrices.encode, "decode": matrices.decode}
        self.sizes = {
            part: {node: each.square().mean().sqrt().clamp(min=_SMALLEST) for node, each in given.items()}
            for part, given in self.parts.items()
        }
        self.trained = {
            part: {node: (each / self.sizes[part][node]).requires_grad_(True) for node, each in given.items()}
            for part, given in self.parts.items()
        }
        self.squares = {node: torch.ones(len(each)) for node, each in matrices.encode.items()}

    def groups(self, rate: float) -> list[dict[str, Any]]:
        """What an optimiser needs, `rate` being the cloud half's learning rate."""
        paces = {"encode": ENCODER_PACE, "decode": DECODER_PACE}
        return [{"params": list(self.trained[part].values()), "lr": rate * pace} for part, pace in paces.items()]

    @property
    def matrices(self) -> ProjectionMatrices:
        """As they stand."""
        encode, decode = (
            {node: each * self.sizes[part][node] for node, each in self.trained[part].items()} for part in self.trained
        )
        return ProjectionMatrices(self.mean, encode, decode)

    def simulate(
        self, tensors: tuple[Tensor, ...], generator: torch.Generator
    ) -> tuple[tuple[Tensor, ...], list[Tensor]]:
        """As `Defense.simulate`, with gradients; and the codes before the rest of the defense acts on them."""
        matrices, sizes = self.matrices, []
        codes = list(matrices.encoded_in_graph(self.defense.crossing, tensors))
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
        return matrices.decoded_in_graph(self.defense.crossing, codes), clean

    @torch.no_grad()
    def finished(self, batches: Iterable[tuple[Tensor, ...]]) -> ProjectionMatrices:
        """The trained matrices, their codes brought to size over all `batches` of what crosses."""
        matrices, total, count = self.matrices, dict.fromkeys(self.squares, torch.zeros(())), 0
        for tensors in batches:
            codes = matrices.encoded_in_graph(self.defense.crossing, tensors)
            for code, given in zip(self.rest.crossing, codes, strict=True):
                if code.node in total:
                    total[code.node] = total[code.node] + _squares(code, given)
            count += 1
        sizes = {node: (each / count).sqrt().clamp(min=_SMALLEST) for node, each in total.items()}
        return ProjectionMatrices(
            self.mean,
            {node: each / sizes[node][:, None] for node, each in matrices.encode.items()},
            {node: each * sizes[node] for node, each in matrices.decode.items()},
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
