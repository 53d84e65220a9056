"""The one place that runs edge halves over data: one pass per cut, kept within a byte budget."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from ..graph import Cut, Halves, InputSpec, TracedGraph, from_samples, split, to_samples
from ..records import CollabplanError, Crossing
from .data import Data

Key = tuple[str, str, str]


@dataclass(frozen=True, slots=True)
class CacheFigures:
    """What the cache did: for tests, and for saying why a search is slow."""

    held_bytes: int
    hits: int
    passes: int


class EdgeActivations:
    """What crosses each cut for given data, as rows per sample on the CPU.

    Kept under (cut id, weights hash, content of the data), least recently used first out. What exceeds
    `cache_bytes` by itself is never kept: it is computed again on each use, so group the work by cut.
    """

    def __init__(
        self,
        traced: TracedGraph,
        *,
        cache_bytes: int = 4_000_000_000,
        batch_size: int = 64,
        device: str | torch.device = "cpu",
    ) -> None:
        if batch_size < 1 or cache_bytes < 0:
            raise CollabplanError(f"batch size and cache bytes must be positive, got {batch_size} and {cache_bytes}")
        self.traced = traced
        self.cache_bytes = int(cache_bytes)
        self.batch_size = batch_size if traced.dynamic_batch else traced.traced_batch
        self.device = torch.device(device)
        self._kept: OrderedDict[Key, tuple[Tensor, ...]] = OrderedDict()
        self._halves: dict[str, Halves] = {}
        self._hits = self._passes = 0

    def halves(self, cut: Cut) -> Halves:
        """The two halves of `cut`, made once; they share the model's weights."""
        if cut.id not in self._halves:
            self._halves[cut.id] = split(self.traced, cut)
        return self._halves[cut.id]

    def rows(self, cut: Cut, data: Data) -> tuple[Tensor, ...]:
        """What crosses `cut`, in its order: `[N, *sample_shape]` each, undefended.

        A public crossing that has no samples comes as it is.

        Raises:
            CollabplanError: the data do not fit the model's inputs.
        """
        key = (cut.id, self.traced.identity.weights_hash, data.content_hash)
        if key in self._kept:
            self._hits += 1
            self._kept.move_to_end(key)
            return self._kept[key]
        parts = list(self._compute(cut, data))
        rows = tuple(
            torch.cat([part[position] for part in parts]) if crossing.layout is not None else parts[0][position]
            for position, crossing in enumerate(cut.crossing)
        )
        self._keep(key, rows)
        return rows

    def batches(self, cut: Cut, data: Data) -> Iterator[tuple[Data, tuple[Tensor, ...]]]:
        """`(samples, what crosses for them)`, batch after batch, tensors in the graph's own layout.

        Reads the cache where the rows are kept or will fit, and otherwise never holds more than one batch.
        With a graph of fixed batch size the last batch is filled up with copies of its last sample, and
        `samples` says how many rows of the result count.
        """
        fits = self.row_bytes(cut) * len(data) <= self.cache_bytes
        source = self._slices(cut, self.rows(cut, data)) if fits else self._compute(cut, data)
        for samples, rows in zip(data.batches(self.batch_size), source, strict=True):
            yield samples, self.to_graph(cut, rows)

    def to_graph(self, cut: Cut, rows: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        """Rows back in the graph's own layout, as the defense and the cloud half take them."""
        return tuple(
            row if crossing.layout is None else from_samples(self._fill(row), crossing.layout)
            for row, crossing in zip(rows, cut.crossing, strict=True)
        )

    def row_bytes(self, cut: Cut) -> int:
        """Bytes that one sample's crossing takes in the cache."""
        return sum(crossing.sample_elements * crossing.element_bytes for crossing in cut.crossing)

    def affordable_samples(self, cut: Cut) -> int:
        """How many samples' rows fit the budget at once (at least one)."""
        return max(1, self.cache_bytes // max(1, self.row_bytes(cut)))

    @property
    def figures(self) -> CacheFigures:
        """Bytes held now, and hits and passes so far."""
        return CacheFigures(sum(map(_bytes, self._kept.values())), self._hits, self._passes)

    def _compute(self, cut: Cut, data: Data) -> Iterator[tuple[Tensor, ...]]:
        """Rows of successive batches, from one pass of the edge half."""
        specs = self.traced.tensor_inputs
        if len(specs) != len(data.inputs):
            names = ", ".join(spec.name for spec in specs)
            raise CollabplanError(f"the model has {len(specs)} tensor inputs ({names}), the data {len(data.inputs)}")
        self._passes += 1
        program = self.halves(cut).edge.graph_module
        for batch in data.batches(self.batch_size):
            arguments = [self._argument(spec, tensor) for spec, tensor in zip(specs, batch.inputs, strict=True)]
            with torch.no_grad():
                crossed = program(*arguments)  # type: ignore[operator]
            yield tuple(
                _row(crossing, tensor, len(batch)) for crossing, tensor in zip(cut.crossing, crossed, strict=True)
            )

    def _argument(self, spec: InputSpec, tensor: Tensor) -> Tensor:
        """One input of a batch `[n, ...]` as the graph reads it."""
        if tensor.dtype != spec.dtype:
            raise CollabplanError(
                f"input {spec.name!r} must be {spec.dtype}, the data are {tensor.dtype}; convert them"
            )
        if spec.batch_dim is None:
            if not bool((tensor == tensor[:1]).all()):
                raise CollabplanError(f"input {spec.name!r} has no batch in the model, but differs between samples")
            return tensor[0].to(self.device)
        return self._fill(tensor).movedim(0, spec.batch_dim).to(self.device)

    def _fill(self, rows: Tensor) -> Tensor:
        missing = 0 if self.traced.dynamic_batch else self.batch_size - rows.shape[0]
        return rows if missing <= 0 else torch.cat([rows, rows[-1:].expand(missing, *rows.shape[1:])])

    def _slices(self, cut: Cut, rows: tuple[Tensor, ...]) -> Iterator[tuple[Tensor, ...]]:
        count = max(
            (row.shape[0] for row, c in zip(rows, cut.crossing, strict=True) if c.layout is not None), default=1
        )
        for start in range(0, count, self.batch_size):
            yield tuple(
                row if crossing.layout is None else row[start : start + self.batch_size]
                for row, crossing in zip(rows, cut.crossing, strict=True)
            )

    def _keep(self, key: Key, rows: tuple[Tensor, ...]) -> None:
        size = _bytes(rows)
        if size > self.cache_bytes:
            return
        held = sum(map(_bytes, self._kept.values()))
        while held + size > self.cache_bytes:
            held -= _bytes(self._kept.popitem(last=False)[1])
        self._kept[key] = rows


def _row(crossing: Crossing, tensor: Tensor, count: int) -> Tensor:
    tensor = tensor.detach()
    if crossing.layout is None:
        return tensor.cpu()
    return to_samples(tensor, crossing.layout)[:count].cpu().contiguous()


def _bytes(rows: tuple[Tensor, ...]) -> int:
    return sum(row.numel() * row.element_size() for row in rows)
