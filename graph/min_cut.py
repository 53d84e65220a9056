"""The cheapest of all down-sets by minimum s-t cuts, also where the price of sending rises in steps.

DADS (Hu et al., INFOCOM 2019) reduces the choice of a cut to a minimum s-t cut in which each tensor is paid once,
however many units read it. That needs a price per tensor. But a message has no such price: TCP's slow start makes its
time a line with steps in its bytes. For each step, the cheapest cut of at most that many bytes is needed. This is a
minimum cut with one constraint. It is solved by Lagrangian relaxation (each relaxed problem is again a minimum cut, and
bounds all cuts from below) inside a branch and bound over units that are fixed to either side.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.sparse import csgraph

from .steps import Step
from .units import Mask, Units

Costs = NDArray[np.float64]

MOST_SOLVED = 500
"""The most minimum cuts that one search may solve. What it has found by then is not proven to be the cheapest."""

_INFINITE = 2**31 - 1
_SCALE = 2**30
_MOST_PRICES = 20


@dataclass(frozen=True, eq=False)
class Box:
    """The down-sets that contain `edge` (a down-set) and nothing of `cloud` (closed under descendants)."""

    edge: Mask
    cloud: Mask

    def holds(self, mask: Mask) -> bool:
        """True for a down-set of the box. A minimum cut lies outside where no down-set of the box can be cut."""
        return bool(mask[self.edge].all()) and not mask[self.cloud].any()


@dataclass(frozen=True, eq=False)
class Cheapest:
    """A down-set. `proven` is False where the search stopped before it had ruled out all others."""

    edge: Mask
    proven: bool


class Network:
    """The flow network of a unit graph. Its vertices are source, sink, units and tensors, in this order.

    Args:
        graph: the unit graph.
        crossable: by tensor, may it cross? Default: as the graph has it.
    """

    def __init__(self, graph: Units, crossable: Mask | None = None) -> None:
        self.graph = graph
        self.crossable = graph.crossable if crossable is None else crossable
        units, tensors = 2 + np.arange(graph.count), 2 + graph.count + np.arange(len(graph.tensors))
        self._size = 2 + graph.count + len(graph.tensors)
        read = graph.readers.tocoo()
        makers = units[graph.producers]
        backward = np.unique(np.stack([units[read.col], makers[read.row]]), axis=1)  # the edge is a down-set
        starts = np.concatenate([np.zeros_like(units), units, makers, tensors[read.row], backward[0]])
        ends = np.concatenate([units, np.ones_like(units), tensors, units[read.col], backward[1]])
        self._infinite = np.full(read.nnz + backward.shape[1], _INFINITE)
        places = sparse.csr_matrix((np.arange(1, len(starts) + 1), (starts, ends)), shape=(self._size, self._size))
        self._order, self._shape = places.data - 1, (places.indices, places.indptr)

    def cut(self, on_edge: Costs, on_cloud: Costs, sending: Costs, box: Box, most: float) -> Mask:
        """The edge side of the minimum cut in `box`.

        Args:
            on_edge, on_cloud: by unit, not negative.
            sending: by tensor, not negative.
            box: the down-sets to choose from.
            most: an upper bound on the lowest cost. Costs are resolved to 1e-9 of it.
        """
        scale = _SCALE / (most or float(on_edge.sum() + on_cloud.sum() + sending.sum()) or 1.0)
        to_units, to_sink, across = (
            np.minimum(np.rint(costs * scale), _SCALE + 1).astype(np.int64) for costs in (on_cloud, on_edge, sending)
        )
        to_units[box.edge], to_sink[box.edge] = _INFINITE, 0
        to_units[box.cloud], to_sink[box.cloud] = 0, _INFINITE
        across[~self.crossable] = _INFINITE
        capacities = np.concatenate([to_units, to_sink, across, self._infinite])[self._order].astype(np.int32)
        shape = (self._size, self._size)
        network = sparse.csr_matrix((capacities, *self._shape), shape=shape)
        flow = csgraph.maximum_flow(network, 0, 1).flow
        residual = sparse.csr_matrix(network.astype(np.int64) - flow.astype(np.int64))
        residual.data = (residual.data > 0).astype(np.int8)
        residual.eliminate_zeros()
        side = np.zeros(self._size, dtype=bool)
        side[csgraph.breadth_first_order(residual, 0, return_predecessors=False)] = True
        return side[2 : 2 + self.graph.count]


class SteppedSearch:
    """Searches all *proper* down-sets: more than inputs on the edge, and more than the output in the cloud.

    The cost of a down-set is `on_edge` over its units, `on_cloud` over the others, `sending` over the tensors that
    cross, and the step for the sum of their `sizes`. Unit costs may be negative, as differences of measurements are.

    Args:
        graph: the unit graph.
        crossable: by tensor, may it cross?
        on_edge, on_cloud: milliseconds by unit.
        sending: milliseconds by tensor.
        sizes: bytes by tensor.
        steps: ascending in bytes and milliseconds; the last one has no end.
        most_solved: the most minimum cuts to solve.
    """

    def __init__(
        self,
        graph: Units,
        crossable: Mask,
        on_edge: Costs,
        on_cloud: Costs,
        sending: Costs,
        sizes: Costs,
        steps: Sequence[Step],
        most_solved: int = MOST_SOLVED,
    ) -> None:
        self._graph, self._network = graph, Network(graph, crossable & graph.crossable)
        self._on_edge, self._on_cloud, self._sending, self._sizes = on_edge, on_cloud, sending, sizes
        self._steps, self._left = steps, most_solved
        self._slack = 1e-8 * float(np.abs(on_edge).sum() + np.abs(on_cloud).sum())
        self._best: Mask | None = None
        self._best_ms = math.inf

    def cheapest(self, known: Iterable[Mask] = ()) -> Cheapest | None:
        """The cheapest down-set: one of `known` if no other is cheaper; None where nothing can cross."""
        for mask in known:
            self._consider(mask)
        proven = True
        for step in self._steps:
            boxes = proper_boxes(self._graph)
            while boxes and self._left > 0:
                boxes += self._examine(boxes.pop(), step)
            proven = proven and not boxes
        return None if self._best is None else Cheapest(self._best, proven)

    def cost_ms(self, edge: Mask) -> float:
        """The cost of a down-set, infinite where something crosses that may not."""
        additive, size = self._additive(edge)
        return additive + next(step.ms for step in self._steps if size <= step.most_bytes)

    def _examine(self, box: Box, step: Step) -> list[Box]:
        """Look for the cheapest down-set in `box` within the step's bytes.

        Returns:
            The parts of the box that may still hold a cheaper one.
        """
        if (box.edge & box.cloud).any():
            return []
        high = self._solve(box, 0.0)
        if not box.holds(high):
            return []
        cost, size = self._additive(high)
        if self._hopeless(cost + step.ms) or size <= step.most_bytes:
            return []
        bracket = self._bracket(box, step, high)
        return [] if bracket is None else self._parts(box, *bracket)

    def _bracket(self, box: Box, step: Step, high: Mask) -> tuple[Mask, Mask] | None:
        """Adjust the price per byte until it is the slope between a small and a large down-set.

        Args:
            high: the cheapest in `box` at price 0, which exceeds the step's bytes.

        Returns:
            The cheapest found within the step's bytes (the box's own edge if none was) and beyond; None where a bound
            shows that nothing in the box is cheaper than the best.
        """
        total = max(float(np.abs(self._on_edge).sum() + np.abs(self._on_cloud).sum() + self._sending.sum()), 1e-9)
        price = 1e3 * total / max(float(self._sizes.sum()), 1.0)
        low: Mask | None = None
        for _ in range(_MOST_PRICES):
            found = self._solve(box, price)
            found_cost, found_size = self._additive(found)
            if self._hopeless(found_cost + price * (found_size - step.most_bytes) + step.ms):
                return None
            high_cost, high_size = self._additive(high)
            same_line = found_cost + price * found_size >= high_cost + price * high_size - self._slack
            if low is not None and same_line:
                break
            if found_size <= step.most_bytes:
                low = found
            elif low is None:
                break  # no price makes the message small enough
            else:
                high = found
            low_cost, low_size = self._additive(low)
            high_cost, high_size = self._additive(high)
            price = max((low_cost - high_cost) / max(high_size - low_size, 1e-9), 0.0)
        return (box.edge if low is None else low), high

    def _parts(self, box: Box, low: Mask, high: Mask) -> list[Box]:
        """The box divided by the side of a unit in which `low` and `high` differ; empty where none is left."""
        differ = np.flatnonzero(high ^ low)
        differ = differ[~(box.edge | box.cloud)[differ]]
        if not len(differ):
            return []
        unit = int(differ[len(differ) // 2])
        closure, heirs = self._graph.ancestors[:, unit], self._graph.ancestors[unit]
        return [Box(box.edge | closure, box.cloud), Box(box.edge, box.cloud | heirs)]

    def _hopeless(self, bound_ms: float) -> bool:
        return bound_ms >= self._best_ms - self._slack

    def _solve(self, box: Box, price: float) -> Mask:
        """The cheapest down-set in `box` at `price` more milliseconds per byte. It is a candidate for the best."""
        self._left -= 1
        shift = np.minimum(self._on_edge, self._on_cloud)
        on_edge, on_cloud = self._on_edge - shift, self._on_cloud - shift
        sending = self._sending + price * self._sizes
        bounds = []
        for mask in (box.edge, ~box.cloud):
            across = self._graph.crossing(mask)
            if self._network.crossable[across].all():
                bounds.append(float(on_edge[mask].sum() + on_cloud[~mask].sum() + sending[across].sum()))
        most = min(bounds, default=float(on_edge.sum() + on_cloud.sum() + sending.sum()))
        found = self._network.cut(on_edge, on_cloud, sending, box, most)
        if box.holds(found):
            self._consider(found)
        return found

    def _consider(self, edge: Mask) -> None:
        cost = self.cost_ms(edge)
        if cost < self._best_ms - self._slack and self._runs(edge):
            self._best, self._best_ms = edge, cost

    def _runs(self, edge: Mask) -> bool:
        """True where the cloud half can read a free batch size off something that crosses."""
        across = self._graph.crossing(edge)
        return not self._graph.traced.dynamic_batch or bool((across & self._graph.carries_batch).any())

    def _additive(self, edge: Mask) -> tuple[float, float]:
        """Cost without the step, and the bytes that cross."""
        across = self._graph.crossing(edge)
        if not self._network.crossable[across].all():
            return math.inf, 0.0
        cost = self._on_edge[edge].sum() + self._on_cloud[~edge].sum() + self._sending[across].sum()
        return float(cost), float(self._sizes[across].sum())


def proper_boxes(graph: Units) -> list[Box]:
    """Boxes whose union is the set of proper down-sets: some first unit on the edge, some last unit not."""
    inputs = graph.is_input
    middle = np.flatnonzero(~inputs[:-1])
    first = [unit for unit in middle if graph.ancestors[:, unit][~inputs].sum() == 1]
    last = [unit for unit in middle if graph.ancestors[unit][:-1].sum() == 1]
    return [Box(inputs | graph.ancestors[:, start], graph.ancestors[end].copy()) for start in first for end in last]
