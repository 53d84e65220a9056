"""Which directions the cloud half uses: second moments of its gradient, weighed by how much what crosses varies.

With mean m and covariance S of the vectors at a cut, over samples (and positions, or of whole samples), and the second
moments G = E[J^T J] of the Jacobian J of the outputs, here by random projections of these, the encoder of k directions
is V^T S^(-1/2) and the decoder S^(1/2) V, where V holds the k leading eigenvectors of S^(1/2) G S^(1/2). To first order
no other k directions lose less of the outputs (Zahm, Constantine, Prieur & Marzouk, SIAM Journal on Scientific
Computing 42, 2020: the generalized eigenproblem of G with the inverse covariance). Every code has variance 1.

All of it is computed along the principal axes of S. Whole samples that are wider than many have as many axes as there
are samples, found from their products with each other.
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from ..defenses.pipeline import Defense
from ..defenses.projection import ProjectionMatrices, can_narrow, count_of, vectors_of, width_of
from ..defenses.seeds import generator_for
from ..graph import Cut
from ..graph.precision import widened
from ..records import CollabplanError, Crossing, CutError, DefenseRecord, ProjectionRecord
from ..targets.data import Data
from .activations import EdgeActivations

PROBES = 4
"""Random projections of the outputs per batch."""

FIT_SAMPLES = 1024

TOGETHER = 64
"""Directions computed at once. Fixed blocks keep the leading ones bit-identical, whatever the number asked for."""

DEAD = 1e-10
"""Share of the greatest variance below which a direction counts as constant."""


@dataclass(frozen=True, eq=False)
class FittedProjection:
    """The directions of a cut's tensors, the most used first: `narrowed` takes the leading ones."""

    crossing: tuple[Crossing, ...]
    every: ProjectionMatrices

    def narrowed(self, projection: ProjectionRecord) -> ProjectionMatrices:
        """The leading directions that `projection` keeps, of the kind (share or rank) that was fitted.

        Raises:
            CollabplanError: more are asked for than were found.
        """
        count = {
            c.node: count_of(c, projection)
            for c in self.crossing
            if can_narrow(c, projection) and c.node in self.every.encode
        }
        for node, k in count.items():
            if k > len(self.every.encode[node]):
                raise CollabplanError(
                    f"{len(self.every.encode[node])} directions of {node} were found, not {k}; keep fewer, or give "
                    "more validation data"
                )
        return ProjectionMatrices(
            {node: self.every.mean[node] for node in count},
            {node: self.every.encode[node][:k].contiguous() for node, k in count.items()},
            {node: self.every.decode[node][:, :k].contiguous() for node, k in count.items()},
        )


class ProjectionFits:
    """Fits projections to one set of data, each cut and kind once, however many shares and ranks are asked for.

    Args:
        activations: runs the edge halves.
        data: what is fitted to; see `fit_projection`.
        ranks: all ranks that will be asked for.
        seed: of the fits: the same for a cut whatever is asked for.
    """

    def __init__(self, activations: EdgeActivations, data: Data, ranks: Iterable[int], seed: int) -> None:
        self._activations, self._data, self._seed = activations, data, seed
        self._most = max(ranks, default=0)
        self._fitted: dict[tuple[str, bool], FittedProjection | None] = {}

    @classmethod
    def of(
        cls, activations: EdgeActivations, data: Data, defenses: Iterable[DefenseRecord], seed: int
    ) -> ProjectionFits:
        """For all projections of `defenses`."""
        projections = [each.projection for each in defenses]
        return cls(activations, data, [each.rank for each in projections if each is not None and each.rank], seed)

    def matrices(self, cut: Cut, projection: ProjectionRecord) -> ProjectionMatrices | None:
        """The matrices of `projection` at `cut`; None where there is nothing to leave out.

        That is where no tensor can be narrowed, and where no gradient of the cloud half tells directions apart.

        Raises:
            CollabplanError: the data have fewer directions than are kept.
        """
        fitted = self._fit(cut, projection)
        return None if fitted is None else fitted.narrowed(projection)

    def bound(self, record: DefenseRecord, cut: Cut) -> tuple[Defense, str]:
        """`record` at `cut` with its matrices, not yet calibrated; and a note where its projection is left out.

        Raises:
            CollabplanError: the data have fewer directions than are kept.
        """
        defense = Defense.for_cut(record, cut)
        projection = defense.record.projection
        if projection is None:
            return defense, ""
        matrices = self.matrices(cut, projection)
        if matrices is not None:
            return defense.with_matrices(matrices), ""
        note = f"{cut.name} cannot be narrowed by {projection.text}; it is measured without"
        return Defense.for_cut(record.without("projection"), cut), note

    def _fit(self, cut: Cut, projection: ProjectionRecord) -> FittedProjection | None:
        if not any(can_narrow(crossing, projection) for crossing in cut.crossing):
            return None
        key = (cut.id, whole := projection.rank is not None)
        if key not in self._fitted:
            self._fitted[key] = None
            generator = generator_for(self._seed, cut.id, "directions")
            with suppress(CutError):
                self._fitted[key] = self._activations.batch.attempt(
                    lambda: fit_projection(
                        self._activations, cut, self._data, generator, whole=self._most if whole else 0
                    )
                )
        return self._fitted[key]


@torch.enable_grad()
def fit_projection(
    activations: EdgeActivations, cut: Cut, data: Data, generator: torch.Generator, *, whole: int = 0
) -> FittedProjection:
    """The directions of what crosses, by how much the cloud half uses them.

    Args:
        activations: runs the edge half.
        data: the first 1,024 samples count; labels are not looked at.
        generator: of the outputs' projections.
        whole: how many directions of whole tensors; 0 takes all of the channels at every position.

    Raises:
        CutError: no gradient of the cloud half's outputs reaches what crosses.
    """
    some = ProjectionRecord(rank=2) if whole else ProjectionRecord(share=0.5)
    narrow = [at for at, crossing in enumerate(cut.crossing) if can_narrow(crossing, some)]
    taken = data.take(range(min(FIT_SAMPLES, len(data))))
    spreads: dict[int, _Positions | _Samples] = {
        at: _Samples() if whole else _Positions.of(width_of(cut.crossing[at], some)) for at in narrow
    }
    for _, crossed in activations.batches(cut, taken):
        for at in narrow:
            spreads[at].add(vectors_of(cut.crossing[at], crossed[at].detach(), whole=whole > 0).double())
    axes = {at: spread.axes().but_for_rounding(cut.crossing[at]) for at, spread in spreads.items()}
    used = {at: torch.zeros(len(each.stds), len(each.stds), dtype=torch.float64) for at, each in axes.items()}
    cloud = activations.halves(cut).cloud
    for _, crossed in activations.batches(cut, taken):
        watched = [each.detach().clone().requires_grad_(at in used) for at, each in enumerate(crossed)]
        outputs = [
            widened(leaf)
            for leaf in pytree.tree_leaves(cloud(*(each.to(activations.device) for each in watched)))
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
                along = vectors_of(cut.crossing[at], gradient, whole=whole > 0).double() @ axes[at].axes
                used[at] += along.T @ along
    parts: dict[str, dict[str, Tensor]] = {"mean": {}, "encode": {}, "decode": {}}
    for at in narrow:
        crossing = cut.crossing[at]
        encode, decode = axes[at].ordered(used[at], whole or None)
        dtype = torch.promote_types(getattr(torch, crossing.dtype), torch.float32)
        for part, value in (("mean", axes[at].mean), ("encode", encode), ("decode", decode)):
            parts[part][crossing.node] = value.to(dtype)
    return FittedProjection(cut.crossing, ProjectionMatrices(**parts))


@dataclass(frozen=True, eq=False)
class _Axes:
    """Principal axes `[C, r]` of vectors, their standard deviations `[r]` and their mean `[C]`; float64."""

    mean: Tensor
    axes: Tensor
    stds: Tensor

    @classmethod
    def of(cls, mean: Tensor, axes: Tensor, variance: Tensor) -> _Axes:
        alive = variance > DEAD * variance.max().clamp(min=torch.finfo(variance.dtype).tiny)
        return cls(mean, axes, torch.where(alive, variance.clamp(min=0).sqrt(), 0.0))

    @classmethod
    def of_covariance(cls, mean: Tensor, covariance: Tensor) -> _Axes:
        variance, axes = torch.linalg.eigh(covariance)
        return cls.of(mean, axes, variance)

    def but_for_rounding(self, crossing: Crossing) -> _Axes:
        """The same, where what varies no more than a tensor of this dtype is rounded is constant: in half precision
        rounding noise would else be released, magnified to variance 1."""
        least = torch.finfo(getattr(torch, crossing.dtype)).eps * self.stds.max()
        return replace(self, stds=torch.where(self.stds > least, self.stds, 0.0))

    def ordered(self, used: Tensor, most: int | None) -> tuple[Tensor, Tensor]:
        """Encoder `[k, C]` and decoder `[C, k]` over all directions (or `most`), the most used first.

        Args:
            used: second moments `[r, r]` of the gradient along the axes.
        """
        inverse = torch.where(self.stds > 0, 1 / self.stds.clamp(min=torch.finfo(self.stds.dtype).tiny), 0.0)
        weight = self.stds[:, None] * used * self.stds
        leading = torch.linalg.eigh((weight + weight.T) / 2).eigenvectors.flip(1)
        most = leading.shape[1] if most is None else most
        blocks = leading.split(TOGETHER, dim=1)[: -(-most // TOGETHER)]
        encode, decode = (
            torch.cat([self.axes * scale @ block for block in blocks], dim=1)[:, :most]
            for scale in (inverse, self.stds)
        )
        return encode.T, decode


@dataclass(eq=False)
class _Positions:
    """Moments of many short vectors."""

    first: Tensor
    second: Tensor
    count: int = 0

    @classmethod
    def of(cls, width: int) -> _Positions:
        return cls(torch.zeros(width, dtype=torch.float64), torch.zeros(width, width, dtype=torch.float64))

    def add(self, vectors: Tensor) -> None:
        self.first += vectors.sum(dim=0)
        self.second += vectors.T @ vectors
        self.count += len(vectors)

    def axes(self) -> _Axes:
        mean = self.first / self.count
        return _Axes.of_covariance(mean, self.second / self.count - torch.outer(mean, mean))


@dataclass(eq=False)
class _Samples:
    """Whole samples, which may be wider than there are many."""

    rows: list[Tensor] = field(default_factory=list)

    def add(self, vectors: Tensor) -> None:
        self.rows.append(vectors)

    def axes(self) -> _Axes:
        rows = torch.cat(self.rows)
        mean = rows.mean(dim=0)
        rows = rows - mean
        count, width = rows.shape
        if width <= count:
            return _Axes.of_covariance(mean, rows.T @ rows / count)
        # The mean was taken away, so that there is an axis fewer than samples.
        squares, sides = (each[..., 1:] for each in torch.linalg.eigh(rows @ rows.T))
        squares = squares.clamp(min=torch.finfo(squares.dtype).tiny)
        return _Axes.of(mean, rows.T @ (sides / squares.sqrt()), squares / count)
