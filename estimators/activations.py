"""Runs edge halves over data within a byte budget: one pass per cut, or one pass for many cuts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx

from ..graph import Cut, Halves, TracedGraph, from_samples, split, to_samples
from ..graph.batch_size import BatchSize
from ..records import CollabplanError, Crossing, CutError
from ..records.byte_cache import ByteBoundedCache
from ..records.memory import ARRAY_BYTES, UNBOUNDED, MemoryBudget
from ..targets.data import Data

Key = tuple[str, str, str]


@dataclass(frozen=True, slots=True)
class CacheFigures:
    """What the cache did: for tests, and to explain a slow search."""

    held_bytes: int
    hits: int
    passes: int


class EdgeActivations:
    """What crosses each cut for given data, as rows per sample on the CPU.

    Rows are cached by (cut id, weights hash, content of the data); the least recently used go first. Rows larger than
    `cache_bytes` are computed again on each use, so group the work by cut.

    Args:
        traced: the model.
        cache_bytes: the most bytes of rows to keep.
        memory: where rows lie; those beyond its budget are on the disk.
        batch_size: samples per forward pass, until the device's memory runs out (`graph.batch_size`).
        device: where the model runs.

    Raises:
        CollabplanError: a batch size below 1, or negative bytes.
    """

    def __init__(
        self,
        traced: TracedGraph,
        *,
        cache_bytes: int = ARRAY_BYTES,
        memory: MemoryBudget = UNBOUNDED,
        batch_size: int = 64,
        device: str | torch.device = "cpu",
    ) -> None:
        if batch_size < 1 or cache_bytes < 0:
            raise CollabplanError(f"batch size and cache bytes must be positive, got {batch_size} and {cache_bytes}")
        self.traced = traced
        self.cache_bytes, self.memory = int(cache_bytes), memory
        self.batch = BatchSize(traced.samples_at_once(batch_size), fixed=not traced.dynamic_batch)
        self.device = torch.device(device)
        self._kept = ByteBoundedCache[Key, tuple[Tensor, ...]](self.cache_bytes, _bytes)
        self._halves: dict[str, Halves] = {}
        self._hits = self._passes = 0

    @property
    def batch_size(self) -> int:
        """Samples per forward pass, now."""
        return self.batch.size

    def halves(self, cut: Cut) -> Halves:
        """The two halves of `cut`, made once. They share the model's weights."""
        if cut.id not in self._halves:
            self._halves[cut.id] = split(self.traced, cut)
        return self._halves[cut.id]

    def rows(self, cut: Cut, data: Data) -> tuple[Tensor, ...]:
        """What crosses `cut`, in the order of its crossings: `[N, *sample_shape]` each, undefended.

        A public crossing without a batch comes as it is.

        Args:
            cut: of the traced graph.
            data: N samples.

        Raises:
            CollabplanError: the data do not fit the model's inputs.
        """
        key = (cut.id, self.traced.identity.weights_hash, data.content_hash)
        kept = self._kept.get(key)
        if kept is not None:
            self._hits += 1
            return kept
        rows = self.computed(cut, data)
        self._kept.put(key, rows)
        return rows

    def computed(self, cut: Cut, data: Data) -> tuple[Tensor, ...]:
        """What `rows` gives, without the cache: for inputs that are used once. Raises CollabplanError as `rows`."""
        kept, start = _Kept(len(data), self.memory), 0
        for batch, rows in self._compute(cut, data):
            for crossing, row in zip(cut.crossing, rows, strict=True):
                kept.write(crossing, row, start)
            start += len(batch)
        return tuple(kept.rows[crossing.node] for crossing in cut.crossing)

    def batches(self, cut: Cut, data: Data) -> Iterator[tuple[Data, tuple[Tensor, ...]]]:
        """`(samples, what crosses for them)`, batch by batch, tensors in the graph's own layout.

        Uses the cache if the rows fit, and otherwise never holds more than one batch. With a graph of fixed batch size
        the last batch is filled with copies of its last sample; `samples` says how many rows of the result count.
        """
        fits = self.row_bytes(cut) * len(data) <= self.cache_bytes
        for samples, rows in self._slices(cut, data) if fits else self._compute(cut, data):
            yield samples, self.to_graph(cut, rows)

    def sweep(self, cuts: Iterable[Cut], data: Data) -> Iterator[tuple[Cut, tuple[Tensor, ...]]]:
        """`(cut, rows)` for every cut, input to output: the values of `rows(cut, data)`, bit for bit.

        As many cuts as `cache_bytes` holds, less what the cache holds already, share one forward pass; a wider cut has
        a pass of its own. A tensor that crosses several cuts is held once. Nothing is cached: yielded rows that no
        later cut of the pass needs belong to the caller.

        Args:
            cuts: of the traced graph, in any order.
            data: N samples.

        Raises:
            CutError: a cut of another graph.
            CollabplanError: the data do not fit the model's inputs.
        """
        ordered = sorted(cuts, key=lambda cut: cut.depth)
        for cut in ordered:
            if cut.units.traced is not self.traced:
                raise CutError(f"cut {cut.name!r} belongs to another traced graph; take it from candidate_cuts of this")
        for group in self._groups(ordered, len(data)):
            held = self._capture(group, data)
            uses = Counter(crossing.node for cut in group for crossing in cut.crossing)
            for cut in group:
                uses.subtract(crossing.node for crossing in cut.crossing)
                # No name for the rows here: this frame would hold them while the caller works.
                yield cut, tuple(held[c.node] if uses[c.node] else held.pop(c.node) for c in cut.crossing)

    def _groups(self, cuts: list[Cut], count: int) -> list[list[Cut]]:
        """Cuts of neighbouring depths whose tensors fit the budget together."""
        budget = self.cache_bytes - self.figures.held_bytes
        groups: list[list[Cut]] = []
        nodes: set[str] = set()
        held = 0
        for cut in cuts:
            added = sum(_row_bytes(crossing) for crossing in cut.crossing if crossing.node not in nodes) * count
            if not groups or held + added > budget:
                groups.append([])
                nodes, held = set(), 0
                added = self.row_bytes(cut) * count
            groups[-1].append(cut)
            nodes |= {crossing.node for crossing in cut.crossing}
            held += added
        return groups

    def _capture(self, cuts: list[Cut], data: Data) -> dict[str, Tensor]:
        """What crosses any of `cuts` by node name, from one pass over the data."""
        crossings = {crossing.node: crossing for cut in cuts for crossing in cut.crossing}
        capture = _Capture(self.traced.flat, crossings, _Kept(len(data), self.memory))
        self._passes += 1

        def run(some: slice) -> None:
            capture.place = some
            with torch.no_grad():
                capture.run(*self.arguments(data.part(some)), enable_io_processing=False)

        for _ in self.batch.over(len(data), run):
            pass
        return capture.kept.rows

    def to_graph(self, cut: Cut, rows: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        """Rows back in the graph's own layout, as the defense and the cloud half take them."""
        return tuple(
            row
            if crossing.layout is None
            else from_samples(_filled(self.traced, row, self.batch_size), crossing.layout)
            for row, crossing in zip(rows, cut.crossing, strict=True)
        )

    def row_bytes(self, cut: Cut) -> int:
        """Bytes of one sample's rows in the cache."""
        return sum(map(_row_bytes, cut.crossing))

    def affordable_samples(self, cut: Cut) -> int:
        """Samples whose rows fit the budget at once, at least one."""
        return max(1, self.cache_bytes // max(1, self.row_bytes(cut)))

    @property
    def figures(self) -> CacheFigures:
        """Bytes held now, and hits and passes so far."""
        return CacheFigures(self._kept.held_bytes, self._hits, self._passes)

    def _compute(self, cut: Cut, data: Data) -> Iterator[tuple[Data, tuple[Tensor, ...]]]:
        """Successive batches with their rows, from one pass of the edge half."""
        self._passes += 1
        program = self.halves(cut).edge.graph_module

        def run(some: slice) -> tuple[Data, tuple[Tensor, ...]]:
            batch = data.part(some)
            with torch.no_grad():
                crossed = program(*self.arguments(batch))  # type: ignore[operator]
            return batch, tuple(
                _row(crossing, tensor, len(batch)) for crossing, tensor in zip(cut.crossing, crossed, strict=True)
            )

        yield from self.batch.over(len(data), run)

    def rows_run(self, count: int) -> int:
        """How many samples the graph runs for a batch of `count`: more if its batch size is fixed."""
        return count if self.traced.dynamic_batch else max(count, self.batch_size)

    def arguments(self, batch: Data) -> list[Tensor]:
        """One batch as the graph reads it: see `graph_arguments`. Raises CollabplanError as it does."""
        return graph_arguments(self.traced, batch, batch_size=self.batch_size, device=self.device)

    def _slices(self, cut: Cut, data: Data) -> Iterator[tuple[Data, tuple[Tensor, ...]]]:
        """Successive batches with their rows, from the cache."""
        rows, start = self.rows(cut, data), 0
        while start < len(data):
            some = slice(start, min(start + self.batch_size, len(data)))
            yield (
                data.part(some),
                tuple(
                    row if crossing.layout is None else row[some]
                    for row, crossing in zip(rows, cut.crossing, strict=True)
                ),
            )
            start = some.stop


def graph_arguments(
    traced: TracedGraph, batch: Data, *, batch_size: int, device: str | torch.device = "cpu"
) -> list[Tensor]:
    """One batch as the graph reads it: one tensor per placeholder, on `device`; gradients flow through.

    Args:
        traced: the model.
        batch: at most `batch_size` samples.
        batch_size: a graph of fixed batch size gets as many samples, copies of the last one added.
        device: where the graph runs.

    Raises:
        CollabplanError: the data do not fit the model's inputs.
    """
    specs = traced.tensor_inputs
    if len(specs) != len(batch.inputs):
        names = ", ".join(spec.name for spec in specs)
        raise CollabplanError(f"the model has {len(specs)} tensor inputs ({names}), the data {len(batch.inputs)}")
    found = []
    for spec, tensor in zip(specs, batch.inputs, strict=True):
        if tensor.dtype != spec.dtype:
            raise CollabplanError(
                f"input {spec.name!r} must be {spec.dtype}, the data are {tensor.dtype}; convert them"
            )
        if spec.batch_dim is None:
            if not bool((tensor == tensor[:1]).all()):
                raise CollabplanError(f"input {spec.name!r} has no batch in the model, but differs between samples")
            found.append(tensor[0].to(device))
        else:
            found.append(_filled(traced, tensor, batch_size).movedim(0, spec.batch_dim).to(device))
    return found


def _filled(traced: TracedGraph, rows: Tensor, batch_size: int) -> Tensor:
    """`rows` `[n, ...]`, with copies of the last one up to a fixed batch size."""
    missing = 0 if traced.dynamic_batch else batch_size - rows.shape[0]
    return rows if missing <= 0 else torch.cat([rows, rows[-1:].expand(missing, *rows.shape[1:])])


class _Kept:
    """Rows of `count` samples by node name, batch after batch."""

    def __init__(self, count: int, memory: MemoryBudget) -> None:
        self.rows: dict[str, Tensor] = {}
        self._count, self._memory = count, memory

    def write(self, crossing: Crossing, rows: Tensor, start: int) -> None:
        """Keep `rows` `[n, ...]` of the samples from `start` on; a crossing without samples is kept as it is."""
        if crossing.layout is None:
            self.rows.setdefault(crossing.node, rows)
            return
        if crossing.node not in self.rows:
            self.rows[crossing.node] = self._memory.empty((self._count, *rows.shape[1:]), rows.dtype)
        self.rows[crossing.node][start : start + len(rows)] = rows


class _Capture(fx.Interpreter):
    """Runs what the wanted tensors depend on, and writes their rows to their place among all samples."""

    def __init__(self, flat: fx.GraphModule, crossings: dict[str, Crossing], kept: _Kept) -> None:
        super().__init__(flat)
        self.crossings, self.kept = crossings, kept
        self.place = slice(0, 0)
        self.needed = _ancestors(node for node in flat.graph.nodes if node.name in crossings)

    def run_node(self, n: fx.Node) -> Any:
        if n.op != "placeholder" and n not in self.needed:
            return None
        result = super().run_node(n)
        if n.name in self.crossings:
            crossing = self.crossings[n.name]
            self.kept.write(crossing, _row(crossing, result, self.place.stop - self.place.start), self.place.start)
        return result


def _ancestors(nodes: Iterable[fx.Node]) -> frozenset[fx.Node]:
    """The nodes, and everything that they depend on."""
    found: set[fx.Node] = set()
    queue = list(nodes)
    while queue:
        node = queue.pop()
        if node not in found:
            found.add(node)
            queue.extend(node.all_input_nodes)
    return frozenset(found)


def _row(crossing: Crossing, tensor: Tensor, count: int) -> Tensor:
    tensor = tensor.detach()
    if crossing.layout is None:
        return tensor.cpu()
    return to_samples(tensor, crossing.layout)[:count].cpu().contiguous()


def _row_bytes(crossing: Crossing) -> int:
    return crossing.sample_elements * crossing.element_bytes


def _bytes(rows: tuple[Tensor, ...]) -> int:
    return sum(row.numel() * row.element_size() for row in rows)
