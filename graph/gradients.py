"""Are the gradients alive that white-box attacks need? A dead gradient reads as privacy and is none."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, fx

from .structures import Cut, TracedGraph


def dead_gradients(traced: TracedGraph, cuts: Sequence[Cut]) -> dict[str, tuple[str, ...]]:
    """Floating crossings that depend on a floating input but that no gradient reaches.

    Returns:
        By crossing name, the operators without a derivative that stand between (`argmax`, `round`...
        that go through integers). Empty where every gradient is alive.
    """
    tracker = _Tracker(traced)
    inputs = [tensor.detach().clone().requires_grad_(tensor.is_floating_point()) for tensor in traced.example_inputs]
    with torch.enable_grad():
        tracker.run(*inputs)
    wanted = {record.node: record.name for cut in cuts for record in cut.crossing if record.is_floating}
    return {wanted[name]: tuple(sorted(blockers)) for name, blockers in tracker.dead.items() if name in wanted}


class _Tracker(fx.Interpreter):
    """Runs the graph with gradients and notes where they end."""

    def __init__(self, traced: TracedGraph) -> None:
        super().__init__(traced.flat)
        self.blockers: dict[fx.Node, frozenset[str]] = {}
        self.reached: dict[fx.Node, bool] = {}
        self.dead: dict[str, frozenset[str]] = {}

    def run_node(self, n: fx.Node) -> Any:
        result = super().run_node(n)
        if n.op == "get_attr":
            result = result.detach()  # a gradient towards the weights is no gradient towards the input
        sources = n.all_input_nodes
        live = _requires_gradient(result)
        blockers = frozenset().union(*(self.blockers.get(source, frozenset()) for source in sources))
        if not live and any(self.reached.get(source, False) for source in sources) and n.op == "call_function":
            blockers |= {str(n.target)}
        self.blockers[n], self.reached[n] = blockers, live
        if isinstance(result, Tensor) and result.is_floating_point() and not live and blockers:
            self.dead[n.name] = blockers
        return result


def _requires_gradient(result: Any) -> bool:
    if isinstance(result, Tensor):
        return result.requires_grad
    return isinstance(result, (list, tuple)) and any(_requires_gradient(item) for item in result)
