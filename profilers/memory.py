"""What the edge half of a cut holds: parameters, bytes of weights, peak memory.

Peak memory is computed by liveness over shapes, or measured by CUDA's allocator. Liveness counts the
weights that the half reads, the model's inputs, and every intermediate tensor from its creation to its last
use; views share their block. It leaves out the workspace of operators, the allocator's overhead, Python and torch, so
it is a lower bound on what a device needs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, fx

from ..graph import Cut
from ..graph.ancestors import transitive_closure
from ..graph.weights import parameter_counts, stored_bytes, stored_tensors
from .nodes import GraphFacts

Mask = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class EdgeMemory:
    """What the edge half of one cut holds, at the batch size of the facts.

    Attributes:
        parameter_count: numbers that count as parameters (see `graph.weights`).
        weight_bytes: bytes of all stored tensors.
        peak_bytes: the most bytes in use at once.
    """

    parameter_count: int
    weight_bytes: int
    peak_bytes: int


class EdgeUse:
    """The nodes, weights and memory blocks that the edge half of any cut uses.

    Arrays over all nodes and all memory blocks are built once, so that thousands of cuts are cheap.

    Args:
        flat: the graph.
        facts: of one run of it.
    """

    def __init__(self, flat: fx.GraphModule, facts: GraphFacts) -> None:
        self.nodes = list(flat.graph.nodes)
        self.index = {node.name: position for position, node in enumerate(self.nodes)}
        self._ancestors = transitive_closure(
            [[self.index[source.name] for source in node.all_input_nodes] for node in self.nodes]
        )
        self._parameters = parameter_counts(flat)
        self._stored = {name: stored_bytes(tensor) for name, tensor in stored_tensors(flat).items()}
        self._bytes = np.array(facts.storage_bytes, dtype=np.int64)
        self._blocks = {node.name: facts.nodes[node.name].storages for node in self.nodes}
        self._is_weight = self._made_by("get_attr")
        self._is_input = self._made_by("placeholder")
        uses = [
            (position, block)
            for position, node in enumerate(self.nodes)
            for used in (node, *node.all_input_nodes)
            for block in self._blocks[used.name]
        ]
        self._use_node = np.array([position for position, _ in uses], dtype=np.int64)
        self._use_block = np.array([block for _, block in uses], dtype=np.int64)

    def _made_by(self, op: str) -> Mask:
        marked = np.zeros(len(self._bytes), dtype=bool)
        for node in self.nodes:
            if node.op == op:
                marked[list(self._blocks[node.name])] = True
        return marked

    def nodes_of(self, cut: Cut) -> list[fx.Node]:
        """The nodes that a cut's edge half reads or computes, in order: all that the crossing tensors depend on."""
        return [self.nodes[position] for position in np.flatnonzero(self._mask(cut))]

    def totals(self, cuts: Iterable[Cut], costs: Mapping[str, float]) -> dict[str, float]:
        """By cut id, the sum of `costs` (by node name) over the nodes of the cut's edge half."""
        weights = np.array([costs.get(node.name, 0.0) for node in self.nodes])
        return {cut.id: float(weights[self._mask(cut)].sum()) for cut in cuts}

    def _mask(self, cut: Cut) -> Mask:
        rows = [self.index[crossing.node] for crossing in cut.crossing]
        return np.asarray(self._ancestors[rows].any(axis=0), dtype=bool)

    def memory(self, cut: Cut) -> EdgeMemory:
        """Parameters, weights, and peak memory by liveness, of the cut's edge half."""
        mask = self._mask(cut)
        read = {str(node.target) for node in self.nodes_of(cut) if node.op == "get_attr"}
        used = np.zeros(len(self._bytes), dtype=bool)
        used[self._use_block[mask[self._use_node]]] = True
        weight_bytes = sum(self._stored[name] for name in read)
        input_bytes = int(self._bytes[self._is_input].sum())
        made = used & ~self._is_weight & ~self._is_input
        return EdgeMemory(
            parameter_count=sum(self._parameters.get(name, 0) for name in read),
            weight_bytes=weight_bytes,
            peak_bytes=weight_bytes + input_bytes + self._peak(mask, made, (c.node for c in cut.crossing)),
        )

    def _peak(self, mask: Mask, made: Mask, crossing: Iterable[str]) -> int:
        """The most bytes alive at once among the blocks `made`. A block ends with its last use, unless it crosses."""
        selected = mask[self._use_node]
        nodes, blocks = self._use_node[selected], self._use_block[selected]
        first = np.full(len(self._bytes), len(self.nodes), dtype=np.int64)
        last = np.zeros(len(self._bytes), dtype=np.int64)
        np.minimum.at(first, blocks, nodes)
        np.maximum.at(last, blocks, nodes)
        for name in crossing:
            last[list(self._blocks[name])] = len(self.nodes)
        change = np.zeros(len(self.nodes) + 2, dtype=np.int64)
        np.add.at(change, first[made], self._bytes[made])
        np.subtract.at(change, last[made] + 1, self._bytes[made])
        return int(np.cumsum(change).max(initial=0))


def measured_peak_bytes(
    device: torch.device, edge: Callable[..., Any], inputs: Sequence[Tensor], weight_bytes: int
) -> int:
    """Peak bytes of one run of an edge half by CUDA's allocator.

    The whole model's weights are on the device while it is profiled. So the bytes that the run adds are
    counted, plus the half's own weights and inputs.

    Args:
        device: a CUDA device.
        edge: the edge half's graph.
        inputs: its flat tensors, on the device.
        weight_bytes: of the half.
    """
    torch.cuda.synchronize(device)
    torch.cuda.reset_peak_memory_stats(device)
    before = torch.cuda.memory_allocated(device)
    result = edge(*inputs)
    torch.cuda.synchronize(device)
    added = torch.cuda.max_memory_allocated(device) - before
    del result
    held = sum(tensor.untyped_storage().nbytes() for tensor in inputs)
    return weight_bytes + held + max(added, 0)
