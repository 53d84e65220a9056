"""What the result of each node depends on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import fx

from .sizes import counts_on_batch
from .traced_graph import InputSpec, NodeKind

if TYPE_CHECKING:
    import sympy

_ORDER: tuple[NodeKind, ...] = ("constant", "shape", "public", "value")


def classify(graph: fx.Graph, specs: Sequence[InputSpec], batch: sympy.Expr | None) -> dict[str, NodeKind]:
    """By node name: private values, public inputs alone, shapes alone, or nothing.

    The size of a tensor whose shape depends on values depends on those values.

    Args:
        graph: a normal graph.
        specs: the model's inputs.
        batch: the symbol that counts samples; None: the batch is fixed.
    """
    public = {spec.name for spec in specs if spec.public}
    kinds: dict[str, NodeKind] = {}
    for node in graph.nodes:
        if node.op == "placeholder":
            kinds[node.name] = "public" if node.meta["input"] in public else "value"
        elif node.op == "get_attr":
            kinds[node.name] = "constant"
        elif node.target is torch.ops.aten.sym_size.int and counts_on_batch(node.meta["val"], batch):
            kinds[node.name] = "shape"
        else:
            below = [kinds[source.name] for source in node.all_input_nodes]
            kinds[node.name] = max(below, key=_ORDER.index, default="constant")
    return kinds
