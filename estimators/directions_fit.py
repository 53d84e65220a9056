"""Which directions the cloud half uses: second moments of its gradient, weighed by how much what crosses varies.

With mean m and covariance S of the vectors at a cut, over samples and positions, and the second moments G = E[J^T J] of
the Jacobian J of the outputs, here by random projections of these, the encoder of k directions is V^T S^(-1/2) and the
decoder S^(1/2) V, where V holds the k leading eigenvectors of S^(1/2) G S^(1/2). To first order no other k directions
lose less of the outputs (Zahm, Constantine, Prieur & Marzouk, SIAM Journal on Scientific Computing 42, 2020: the
generalized eigenproblem of G with the inverse covariance). Every code has variance 1.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from ..graph import Cut, to_samples
from ..records import Crossing, CutError
from .activations import EdgeActivations
from .data import Data
from .directions import Directions, axis_of, can_narrow, channels_of, code_of

PROBES = 4
"""Random projections of the outputs per batch."""

FIT_SAMPLES = 1024

DEAD = 1e-10
"""Share of the greatest variance below which a direction counts as constant."""


@dataclass(frozen=True, eq=False)
class FittedDirections:
    """All directions of a cut's tensors, the most used first: `narrowed` takes the leading ones."""

    crossing: tuple[Crossing, ...]
    every: Directions

    def narrowed(self, kept: float) -> Directions:
        """The share `kept` of the directions, at least one."""
        count = {c.node: code_of(c, kept).sample_shape[axis_of(c)] for c in self.crossing if c.node in self.every.mean}
        return Directions(
            dict(self.every.mean),
            {node: self.every.encode[node][:k].contiguous() for node, k in count.items()},
            {node: self.every.decode[node][:, :k].contiguous() for node, k in count.items()},
        )


@torch.enable_grad()
def fit_directions(activations: EdgeActivations, cut: Cut, data: Data, generator: torch.Generator) -> FittedDirections:
    """The directions of what crosses, by how much the cloud half uses them.

    Args:
        activations: runs the edge half.
        data: the first 1,024 samples count; labels are not looked at.
        generator: of the outputs' projections.

    Raises:
        CutError: no gradient of the cloud half's outputs reaches what crosses.
    """
    narrow = [at for at, crossing in enumerate(cut.crossing) if can_narrow(crossing)]
    widths = {at: channels_of(cut.crossing[at]) for at in narrow}
    used = {at: torch.zeros(width, width, dtype=torch.float64) for at, width in widths.items()}
    second = {at: torch.zeros(width, width, dtype=torch.float64) for at, width in widths.items()}
    first = {at: torch.zeros(width, dtype=torch.float64) for at, width in widths.items()}
    count = dict.fromkeys(narrow, 0)
    cloud = activations.halves(cut).cloud
    for _, crossed in activations.batches(cut, data.take(range(min(FIT_SAMPLES, len(data))))):
        for at in narrow:
            vectors = _vectors(cut.crossing[at], crossed[at])
            first[at] += vectors.sum(dim=0)
            second[at] += vectors.T @ vectors
            count[at] += len(vectors)
        watched = [each.detach().clone().requires_grad_(at in widths) for at, each in enumerate(crossed)]
        outputs = [
            leaf
            for leaf in pytree.tree_leaves(cloud(*watched))
            if isinstance(leaf, Tensor) and leaf.is_floating_point() and leaf.requires_grad
        ]
        if not outputs:
            raise CutError(f"no gradient crosses {cut.name}, so nothing tells which directions the cloud half uses")
        for probe in range(PROBES):
            # Outputs are compared by their own spread, or one in large units would decide alone.
            total = torch.stack([
                (torch.randn(o.shape, generator=generator).to(o) * o).sum() / o.detach().std().clamp(min=1e-12)
                for o in outputs
            ]).sum()  # fmt: skip
            found = torch.autograd.grad(
                total, [watched[at] for at in narrow], retain_graph=probe + 1 < PROBES, materialize_grads=True
            )
            for at, gradient in zip(narrow, found, strict=True):
                vectors = _vectors(cut.crossing[at], gradient)
                used[at] += vectors.T @ vectors
    parts: dict[str, dict[str, Tensor]] = {"mean": {}, "encode": {}, "decode": {}}
    for at in narrow:
        crossing = cut.crossing[at]
        mean = first[at] / count[at]
        encode, decode = _ordered(used[at], second[at] / count[at] - torch.outer(mean, mean))
        dtype = getattr(torch, crossing.dtype)
        for part, value in (("mean", mean), ("encode", encode), ("decode", decode)):
            parts[part][crossing.node] = value.to(dtype)
    return FittedDirections(cut.crossing, Directions(**parts))


def _ordered(used: Tensor, covariance: Tensor) -> tuple[Tensor, Tensor]:
    """Encoder and decoder `[C, C]` over all directions, the most used first; float64."""
    variance, axes = torch.linalg.eigh(covariance)
    alive = variance > DEAD * variance.max().clamp(min=torch.finfo(variance.dtype).tiny)
    root = torch.where(alive, variance.clamp(min=0).sqrt(), 0.0)
    inverse = torch.where(alive, 1 / root.clamp(min=torch.finfo(root.dtype).tiny), 0.0)
    half = axes * root @ axes.T
    weight = half @ used @ half
    leading = torch.linalg.eigh((weight + weight.T) / 2).eigenvectors.flip(1)
    return leading.T @ (axes * inverse @ axes.T), half @ leading


def _vectors(crossing: Crossing, tensor: Tensor) -> Tensor:
    """A crossing tensor in the graph's layout as `[samples x positions, C]` float64."""
    assert crossing.layout is not None  # `can_narrow` asks for one
    rows = to_samples(tensor.detach(), crossing.layout)
    return rows.movedim(1 + axis_of(crossing), -1).flatten(0, -2).double()
