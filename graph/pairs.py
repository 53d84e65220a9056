"""Complex tensors cross as pairs of real numbers.

Defenses, attacks and the wire work on real numbers. So every complex tensor that depends on private values is viewed as
its pairs (`view_as_real`) and read back from them (`view_as_complex`). Both are views of the same memory: nothing is
computed, and the pairs cross.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, fx

from .traced_graph import NodeKind

aten = torch.ops.aten
_TO_PAIRS = aten.view_as_real.default


def see_complex_as_pairs(flat: fx.GraphModule, kinds: Mapping[str, NodeKind]) -> None:
    """Put the two views after every node that makes a complex tensor of private values. Changes `flat`.

    Inputs stay as they are: where one crosses, there is nothing left to defend.

    Args:
        flat: a normal graph.
        kinds: by node name, what its result depends on.
    """
    for node in list(flat.graph.nodes):
        if node.op != "call_function" or kinds[node.name] != "value" or not is_complex(node):
            continue
        if node.target is aten.view_as_complex.default or all(user.target is _TO_PAIRS for user in node.users):
            continue
        resolved = _after(node, aten.resolve_conj.default, node)  # only a resolved tensor has pairs in memory
        pairs = _after(resolved, _TO_PAIRS, node)
        again = _after(pairs, aten.view_as_complex.default, node)
        node.replace_all_uses_with(again, delete_user_cb=lambda user, made=resolved: user is not made)
    flat.recompile()


def is_complex(node: fx.Node) -> bool:
    """True for a node whose result is one complex tensor."""
    value = node.meta.get("val")
    return isinstance(value, Tensor) and value.is_complex()


def _after(node: fx.Node, target: Any, origin: fx.Node) -> fx.Node:
    with node.graph.inserting_after(node):
        made = node.graph.call_function(target, (node,))
    made.meta.update(origin.meta)
    made.meta["val"] = target(node.meta["val"])
    return made
