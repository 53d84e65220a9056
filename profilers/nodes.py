"""What each node of the traced graph costs, measured while the graph is interpreted.

The sum over nodes is not the model's latency: an interpreter runs between the nodes, caches are
warm in a different way, and a GPU idles at other places. The breakdown ranks nodes and guides interpolation.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx
from torch.utils import _pytree as pytree

from ..graph.naming import module_path
from ..graph.weights import parameter_counts
from ..records import NodeProfile
from .flops import FlopCount
from .steady import steady_timing
from .timers import Timer

WARM_UP_RUNS = 2
MIN_RUNS = 5
MAX_RUNS = 30


@dataclass(frozen=True, slots=True)
class NodeFacts:
    """What one run shows about one node.

    Attributes:
        output_bytes: the size of the result as a tensor, view or not.
        storages: the ids of the memory blocks that the result lies in; a view has those of what it views.
        flops: operations, 0 for a view; None: unknown.
    """

    output_bytes: int
    storages: tuple[int, ...]
    flops: int | None


@dataclass(frozen=True)
class GraphFacts:
    """By name, the facts of every node; by id, the bytes of every memory block."""

    nodes: dict[str, NodeFacts]
    storage_bytes: list[int]


def collect_facts(flat: fx.GraphModule, inputs: Sequence[Tensor]) -> GraphFacts:
    """Run the graph once and record sizes, shared memory and FLOPs."""
    collector = _Collector(flat)
    collector.run(*inputs)
    return GraphFacts(collector.facts, collector.storage_bytes)


class _Collector(fx.Interpreter):
    """Gives ids to memory blocks while they live. An address alone would not do: it is reused after a free."""

    def __init__(self, flat: fx.GraphModule) -> None:
        super().__init__(flat)
        self.facts: dict[str, NodeFacts] = {}
        self.storage_bytes: list[int] = []
        self._attributes: dict[int, int] = {}

    def run_node(self, n: fx.Node) -> Any:
        """Run the node under a FLOP count and record its result."""
        before = {}
        for source in n.all_input_nodes:
            for tensor, block in zip(_tensors(self.env[source]), self.facts[source.name].storages, strict=True):
                before[tensor.untyped_storage().data_ptr()] = block
        with FlopCount() as count:
            result = super().run_node(n)
        tensors = _tensors(result)
        blocks = tuple(self._block(tensor, before, attribute=n.op == "get_attr") for tensor in tensors)
        self.facts[n.name] = NodeFacts(
            output_bytes=sum(tensor.numel() * tensor.element_size() for tensor in tensors),
            storages=blocks,
            flops=0 if n.op != "call_function" or set(blocks) <= set(before.values()) else count.flops,
        )
        return result

    def _block(self, tensor: Tensor, before: dict[int, int], *, attribute: bool) -> int:
        storage = tensor.untyped_storage()
        address = storage.data_ptr()
        known = self._attributes if attribute else before
        if address in known and storage.nbytes():
            return known[address]
        block = len(self.storage_bytes)
        self.storage_bytes.append(storage.nbytes())
        if attribute:
            self._attributes[address] = block
        return block


def _tensors(value: Any) -> list[Tensor]:
    return [leaf for leaf in pytree.tree_leaves(value) if isinstance(leaf, Tensor)]


def time_nodes(
    flat: fx.GraphModule,
    inputs: Sequence[Tensor],
    timer: Timer,
    seconds: float,
    on_fraction: Callable[[float], None] | None = None,
) -> dict[str, list[float]]:
    """Milliseconds of every call in the graph, one sample per run, by node name.

    There are at least `MIN_RUNS` runs after the warm-up, then as many as fit into `seconds`, at most `MAX_RUNS`.

    Args:
        flat: the graph.
        inputs: its flat tensors, on the timer's device.
        timer: of that device.
        seconds: the budget.
        on_fraction: called after each run with the share that is done.
    """
    samples: dict[str, list[float]] = {node.name: [] for node in flat.graph.nodes if node.op == "call_function"}
    for _ in range(WARM_UP_RUNS):
        _NodeTimer(flat, timer).measure(inputs)
    start = time.monotonic()
    for run in range(MAX_RUNS):
        if run >= MIN_RUNS and time.monotonic() - start > seconds:
            break
        for name, elapsed_ms in _NodeTimer(flat, timer).measure(inputs).items():
            samples[name].append(elapsed_ms)
        if on_fraction:
            on_fraction(max((run + 1) / MAX_RUNS, min(1.0, (time.monotonic() - start) / max(seconds, 1e-9))))
    return samples


class _NodeTimer(fx.Interpreter):
    """One timed run. Marks are read after the run, so that a GPU need not wait at every node."""

    def __init__(self, flat: fx.GraphModule, timer: Timer) -> None:
        super().__init__(flat)
        self._timer = timer
        self._marks: dict[str, tuple[Any, Any]] = {}

    def measure(self, inputs: Sequence[Tensor]) -> dict[str, float]:
        """Milliseconds of each call, by node name."""
        self._timer.synchronize()
        self.run(*inputs)
        self._timer.synchronize()
        return {name: self._timer.elapsed_ms(start, end) for name, (start, end) in self._marks.items()}

    def run_node(self, n: fx.Node) -> Any:
        """Run the node. The clock covers the operator, not the look-up of its arguments."""
        if n.op != "call_function":
            return super().run_node(n)
        args, kwargs = self.fetch_args_kwargs_from_env(n)
        start = self._timer.mark()
        result = self.call_function(n.target, args, kwargs)
        self._marks[n.name] = (start, self._timer.mark())
        return result


def node_profiles(flat: fx.GraphModule, facts: GraphFacts, samples: dict[str, list[float]]) -> tuple[NodeProfile, ...]:
    """The records of all calls, in the order of the graph."""
    counts = parameter_counts(flat)
    return tuple(
        NodeProfile(
            name=node.name,
            operator=operator_name(node.target),
            module=module_path(node),
            timing=steady_timing(samples[node.name]),
            output_bytes=facts.nodes[node.name].output_bytes,
            flops=facts.nodes[node.name].flops,
            parameter_count=sum(counts.get(name, 0) for name in {str(each.target) for each in node.all_input_nodes}),
        )
        for node in flat.graph.nodes
        if node.op == "call_function"
    )


def quickest_ms(nodes: Iterable[NodeProfile]) -> dict[str, float]:
    """By name, the quickest run of each node, by which cuts are ranked and interpolated."""
    return {node.name: min(node.timing.samples_ms, default=node.timing.p50_ms) for node in nodes}


def operator_name(target: Any) -> str:
    """`aten.conv2d.default`, or the function's own name."""
    if isinstance(target, torch._ops.OpOverload):
        return str(target)
    return f"{target.__module__.lstrip('_')}.{target.__name__}"
