"""Names that users recognise: of operators, of the modules around a node, and of the tensors that can cross."""

from __future__ import annotations

import operator
from collections.abc import Sequence

import torch
from torch import fx

from .free_views import FREE_VIEWS

_CONTAINERS = {"torch.nn.modules.container.Sequential", "torch.nn.modules.container.ModuleList"}


def operation_of(node: fx.Node) -> str:
    """The operator's name, and the index for one result of several: `conv2d`, `split.1`."""
    if node.target is operator.getitem:
        return f"{operation_of(node.args[0])}.{node.args[1]}"  # type: ignore[arg-type]
    schema = getattr(node.target, "_schema", None)
    return str(schema.name.split("::")[-1]) if schema else str(getattr(node.target, "__name__", node.target))


def place_of(node: fx.Node) -> str:
    """The node's innermost module and its operator, for messages: `layer1.bn (batch_norm)`."""
    if node.target is operator.getitem:
        return place_of(node.all_input_nodes[0])
    modules = node.meta.get("modules", ())
    return f"{modules[-1][0]} ({operation_of(node)})" if modules else operation_of(node)


def module_path(node: fx.Node) -> str:
    """The user's innermost module that the node comes from (`layer1.0.conv1`), empty at the top."""
    modules = node.meta.get("modules") or ()
    return plain_path(str(modules[-1][0])) if modules else ""


def plain_path(path: str) -> str:
    """A module path without the mark of a repeated call (`relu@1` is the second call of `relu`)."""
    return ".".join(part.split("@")[0] for part in path.split("."))


def dtype_name(dtype: torch.dtype | None) -> str:
    """`float32`, as records spell a dtype.

    Examples:
        >>> dtype_name(torch.float32)
        'float32'
    """
    return str(dtype).removeprefix("torch.")


def tensor_names(graph: fx.Graph, nodes: Sequence[fx.Node]) -> list[str]:
    """A distinct name for each of `nodes`.

    It is the outermost module (containers aside) that ends with the node, else the innermost module and the operator.
    A name that occurs again gets a number: `relu#2`.
    """
    ends = _module_ends(graph)
    counts: dict[str, int] = {}
    names = []
    for node in nodes:
        name = _tensor_name(node, ends)
        counts[name] = counts.get(name, 0) + 1
        names.append(name if counts[name] == 1 else f"{name}#{counts[name]}")
    return names


def _module_ends(graph: fx.Graph) -> dict[str, fx.Node]:
    """By module path, the tensor that the module's last node is or is a free view of."""
    last: dict[str, fx.Node] = {}
    for node in graph.nodes:
        for path, _kind in node.meta.get("modules", ()):
            last[path] = node
    ends = {}
    for path, node in last.items():
        while node.target in FREE_VIEWS and isinstance(node.args[0], fx.Node):
            node = node.args[0]
        if any(path == own for own, _ in node.meta.get("modules", ())):
            ends[path] = node
    return ends


def _tensor_name(node: fx.Node, ends: dict[str, fx.Node]) -> str:
    if node.op == "placeholder":
        return str(node.meta["input"])
    modules = node.meta.get("modules", ())
    for path, kind in modules:
        if kind not in _CONTAINERS and ends.get(path) is node:
            return plain_path(path)
    operation = operation_of(node)
    return f"{plain_path(modules[-1][0])}.{operation}" if modules else operation
