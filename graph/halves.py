"""Makes the two halves of a cut. Both are functional graphs over the model's own weights (shared, not copied)."""

from __future__ import annotations

import copy
import operator
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.utils import _pytree as pytree

from ..records import Crossing, CutError
from .ancestors import ancestors
from .sizes import per_sample
from .structures import Cut, Halves, TracedGraph
from .weights import INDEX_DTYPES

aten = torch.ops.aten


class EdgeHalf(nn.Module):
    """Takes the model's args and kwargs, returns the crossing tensors in the order of the cut."""

    def __init__(self, graph_module: fx.GraphModule, traced: TracedGraph) -> None:
        super().__init__()
        self.graph_module = graph_module
        self.bind = traced.module.bind

    def forward(self, *args: Any, **kwargs: Any) -> tuple[Tensor, ...]:
        """The crossing tensors. Raises TraceError where the inputs are not those of the trace."""
        crossing: tuple[Tensor, ...] = self.graph_module(*self.bind(args, kwargs))  # type: ignore[operator]
        return crossing


class CloudHalf(nn.Module):
    """Takes the crossing tensors, returns the model's own output structure."""

    def __init__(
        self, graph_module: fx.GraphModule, output_structure: pytree.TreeSpec, crossing: tuple[Crossing, ...]
    ) -> None:
        super().__init__()
        self.graph_module = graph_module
        self.output_structure = output_structure
        self.crossing = crossing

    def forward(self, *tensors: Tensor) -> Any:
        """The model's output.

        Raises:
            CutError: another number of tensors than cross, or another dtype.
        """
        if len(tensors) != len(self.crossing):
            names = ", ".join(crossing.name for crossing in self.crossing)
            raise CutError(f"the cloud half takes {len(self.crossing)} tensors ({names}), got {len(tensors)}")
        for tensor, crossing in zip(tensors, self.crossing, strict=True):
            if str(tensor.dtype) != f"torch.{crossing.dtype}":
                raise CutError(f"crossing {crossing.name!r} must be {crossing.dtype}, got {tensor.dtype}")
        return pytree.tree_unflatten(self.graph_module(*tensors), self.output_structure)


def with_weights(cloud: nn.Module, weights: Mapping[str, Tensor]) -> nn.Module:
    """A copy of the cloud half with these values for its tunable parameters; the original is left alone.

    Raises:
        CutError: names or shapes that are not those of its tunable parameters.
    """
    known = {name: tuple(parameter.shape) for name, parameter in tunable(cloud).items()}
    given = {name: tuple(value.shape) for name, value in weights.items()}
    if known != given:
        wrong = sorted(name for name in {**known, **given} if known.get(name) != given.get(name))
        raise CutError(f"these are no weights of this cloud half: {wrong[0]} and {len(wrong) - 1} more differ")
    assert isinstance(cloud, CloudHalf)
    made = CloudHalf(copy.deepcopy(cloud.graph_module), cloud.output_structure, cloud.crossing).eval()
    with torch.no_grad():
        for name, parameter in tunable(made).items():
            parameter.copy_(weights[name])
    return made


def tunable(cloud: nn.Module) -> dict[str, Tensor]:
    """The parameters of a half that can be trained, by name: those of fractions, also where the model froze them."""
    return {
        name: parameter
        for name, parameter in cloud.named_parameters()
        if parameter.is_floating_point() or parameter.is_complex()
    }


def shared_tensors(halves: Halves) -> tuple[str, ...]:
    """Weights that both halves need, as the cloud half names them: tied, or views of the same memory.

    Single numbers, integers (indices) and booleans (masks) are constants of the code, and not counted.
    """
    edge, cloud = (_tensors(half) for half in (halves.edge, halves.cloud))
    return tuple(
        name
        for name, tensor in cloud.items()
        if tensor.numel() > 1
        and tensor.dtype not in INDEX_DTYPES
        and (name in edge or any(_overlap(tensor, other) for other in edge.values()))
    )


def _tensors(half: nn.Module) -> dict[str, Tensor]:
    graph = half.graph_module
    assert isinstance(graph, nn.Module)
    return {**dict(graph.named_parameters()), **dict(graph.named_buffers())}


def _overlap(left: Tensor, right: Tensor) -> bool:
    """True where two tensors lie in the same memory, or one of them in a part of the other's."""
    if left.device != right.device or not (left.numel() and right.numel()):
        return False
    starts, ends = [], []
    for tensor in (left, right):
        last = sum((size - 1) * stride for size, stride in zip(tensor.shape, tensor.stride(), strict=True))
        starts.append(tensor.data_ptr())
        ends.append(tensor.data_ptr() + (last + 1) * tensor.element_size())
    return max(starts) < min(ends)


def split(traced: TracedGraph, cut: Cut) -> Halves:
    """The two halves of `traced` at `cut`; `cloud(*edge(...))` equals the model bit for bit.

    Raises:
        CutError: the cut belongs to another graph, or the batch size cannot be read off what crosses.
    """
    if cut.units.traced is not traced:
        raise CutError(f"cut {cut.name!r} belongs to another traced graph; take it from candidate_cuts of this one")
    nodes = {node.name: node for node in traced.flat.graph.nodes}
    crossing = [nodes[record.node] for record in cut.crossing]
    edge = _edge_graph(traced, crossing)
    cloud = _cloud_graph(traced, cut, crossing)
    structure: pytree.TreeSpec = traced.module.output_structure  # type: ignore[assignment]
    return Halves(
        cut,
        EdgeHalf(fx.GraphModule(traced.flat, edge), traced).eval(),
        CloudHalf(fx.GraphModule(traced.flat, cloud), structure, cut.crossing).eval(),
    )


def _edge_graph(traced: TracedGraph, crossing: list[fx.Node]) -> fx.Graph:
    graph = fx.Graph()
    new: dict[fx.Node, fx.Node] = {}
    needed = ancestors(crossing)
    for node in traced.flat.graph.nodes:
        if node.op == "placeholder" or (node in needed and node.op != "output"):
            new[node] = graph.node_copy(node, lambda source: new[source])
    graph.output(tuple(new[node] for node in crossing))
    return graph


def _cloud_graph(traced: TracedGraph, cut: Cut, crossing: list[fx.Node]) -> fx.Graph:
    graph = fx.Graph()
    new: dict[fx.Node, Any] = {}
    for node in crossing:
        made = graph.placeholder(node.name)
        made.meta.update(node.meta)
        new[node] = made
    output = next(iter(reversed(traced.flat.graph.nodes)))
    rebuilt = {node for node in traced.flat.graph.nodes if _is_batch(traced, node)}
    needed = ancestors([output], stop={*crossing, *rebuilt})
    for node in traced.flat.graph.nodes:
        if node in new or node is output or node not in needed:
            continue
        if node in rebuilt:
            new[node] = _batch_from(traced, graph, crossing, new, cut)
        else:
            new[node] = graph.node_copy(node, lambda source: new[source])
    graph.output(fx.map_arg(output.args[0], lambda node: new[node]))
    graph.eliminate_dead_code(lambda node: node.op in ("placeholder", "output"))
    return graph


def _is_batch(traced: TracedGraph, node: fx.Node) -> bool:
    """True for the node that reads the batch size off an input: either half reads it off what it has."""
    return node.target is aten.sym_size.int and traced.kinds[node.name] == "shape"


def _batch_from(
    traced: TracedGraph, graph: fx.Graph, crossing: list[fx.Node], new: dict[fx.Node, Any], cut: Cut
) -> fx.Node:
    """The batch size, read off the shape of a tensor that crosses."""
    for node in crossing:
        for dimension, size in enumerate(node.meta["val"].shape):
            groups = per_sample(size, traced.batch_symbol)
            if groups is not None:
                made = graph.call_function(aten.sym_size.int, (new[node], dimension))
                return made if groups == 1 else graph.call_function(operator.floordiv, (made, groups))
    raise CutError(f"cut {cut.name!r} lets no tensor cross that carries the batch size")
