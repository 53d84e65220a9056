"""`torch.cond` without control flow: both branches in the graph, and a `where` for each of their results.

The values are bit for bit those of the branch that the model takes. A predicate that reads the samples decides once for
the whole batch, so such a model has no free batch.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, fx

from ..records import TraceError
from .ancestors import ancestors
from .refusals import user_line
from .sizes import free_dims, same_sizes
from .traced_graph import FixedBatchError
from .weights import fetched

aten = torch.ops.aten


def is_branch(node: fx.Node) -> bool:
    """True for a `get_attr` node that holds a graph of its own, which is copied where it is called."""
    return node.op == "get_attr" and isinstance(_attribute_of(node), fx.GraphModule)


def inlined(
    call: fx.Node, graph: fx.Graph, new: dict[fx.Node, Any], copy: Callable[[fx.Node], None]
) -> tuple[tuple[Any, ...], list[str]]:
    """What a call of `torch.cond` returns, its branches copied into `graph`, and notes for the user.

    Args:
        call: the exported call of `torch.cond`.
        graph: the graph that is being made.
        new: what each node of the exported graph became. The branches' nodes are added.
        copy: copies one node that is a call.

    Raises:
        TraceError: the branches return different shapes or dtypes. FixedBatchError: one decision is made for all
            samples of a batch.
    """
    predicate, *branches, operands = call.args
    if isinstance(predicate, bool):
        return _body(branches[not predicate], operands, new, copy), []
    assert isinstance(predicate, fx.Node)
    value = predicate.meta["val"]
    if not isinstance(value, Tensor):
        raise FixedBatchError(f"torch.cond{user_line(call)} decides on a number, not a tensor")
    chosen = new[predicate]
    if _reads_samples(chosen):
        raise FixedBatchError(f"torch.cond{user_line(call)} decides once for all samples of a batch")
    if value.ndim:
        chosen = graph.call_function(aten.reshape.default, (chosen, []))
        chosen.meta.update(val=value.reshape(()), modules=())
    results = []
    pairs = zip(*(_body(branch, operands, new, copy) for branch in branches), strict=True)
    for wanted, pair in zip(call.meta["val"], pairs, strict=True):
        if not all(isinstance(part, fx.Node) and _alike(part.meta["val"], wanted) for part in pair):
            raise TraceError(
                f"the branches of torch.cond{user_line(call)} return different shapes or dtypes, or no tensors; let "
                "both return tensors of one shape and dtype"
            )
        made = graph.call_function(aten.where.self, (chosen, *pair))
        made.meta.update(val=wanted, modules=pair[0].meta["modules"], stack_trace=call.meta.get("stack_trace"))
        results.append(made)
    return tuple(results), [f"both branches of torch.cond{user_line(call)} are computed, and one result is discarded"]


def _body(branch: Any, operands: Any, new: dict[fx.Node, Any], copy: Callable[[fx.Node], None]) -> tuple[Any, ...]:
    """Copy a branch's nodes; what it returns."""
    inside = _attribute_of(branch).graph
    places = [node for node in inside.nodes if node.op == "placeholder"]
    new.update(zip(places, fx.map_arg(list(operands), lambda node: new[node]), strict=True))
    for node in inside.nodes:
        if node.op == "call_function":
            copy(node)
        elif node.op == "get_attr" and not is_branch(node):
            raise TraceError(f"a branch of torch.cond{user_line(branch)} holds a tensor of its own; make it a buffer")
    return tuple(fx.map_arg(inside.output_node().args[0], lambda node: new[node]))


def _reads_samples(node: fx.Node) -> bool:
    """True where a value depends on an input whose batch is free."""
    return any(free_dims(each.meta["val"]) for each in ancestors([node]) if each.op == "placeholder")


def _attribute_of(node: fx.Node) -> Any:
    """The object that a `get_attr` node reads."""
    return fetched(node.graph.owning_module, str(node.target))


def _alike(left: Any, right: Any) -> bool:
    """True for two tensors of one dtype and, at every batch size, one shape."""
    return isinstance(left, Tensor) and left.dtype == right.dtype and same_sizes(left.shape, right.shape)
