"""The two halves of a cut, and the weights they hold."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.utils import _pytree as pytree

from ..records import Crossing, CutError
from .cut import Cut
from .traced_graph import TracedGraph
from .weights import INDEX_DTYPES


@dataclass(frozen=True, eq=False)
class Halves:
    """The two programs that a cut makes: `cloud(*edge(*args, **kwargs))` equals the model bit for bit.

    Neither mutates its arguments. Both share their weights with the model.

    Attributes:
        cut: the cut that they were made at.
        edge: takes the model's args and kwargs, returns the crossing tensors in the order of `cut.crossing`.
        cloud: takes the crossing tensors, returns the model's own output structure.
    """

    cut: Cut
    edge: nn.Module
    cloud: nn.Module


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
            CutError: the number or a dtype of `tensors` is not that of what crosses.
        """
        if len(tensors) != len(self.crossing):
            names = ", ".join(crossing.name for crossing in self.crossing)
            raise CutError(f"the cloud half takes {len(self.crossing)} tensors ({names}), got {len(tensors)}")
        for tensor, crossing in zip(tensors, self.crossing, strict=True):
            if str(tensor.dtype) != f"torch.{crossing.dtype}":
                raise CutError(f"crossing {crossing.name!r} must be {crossing.dtype}, got {tensor.dtype}")
        return pytree.tree_unflatten(self.graph_module(*tensors), self.output_structure)


def with_weights(cloud: nn.Module, weights: Mapping[str, Tensor]) -> nn.Module:
    """A copy of the cloud half with other values for its tunable parameters. The original keeps its own.

    Args:
        cloud: the cloud half of `split`.
        weights: by name, a value for each of its tunable parameters, in the parameter's shape.

    Raises:
        CutError: the names or shapes are not those of its tunable parameters.

    Examples:
        >>> from collabplan.graph import candidate_cuts, split, trace, with_weights
        >>> traced = trace(torch.nn.Linear(2, 1, bias=False), torch.ones(1, 2))
        >>> cloud = split(traced, candidate_cuts(traced)[0]).cloud
        >>> with_weights(cloud, {"graph_module.weight": torch.ones(1, 2)})(torch.ones(1, 2)).item()
        2.0
    """
    known = {name: tuple(parameter.shape) for name, parameter in tunable(cloud).items()}
    given = {name: tuple(value.shape) for name, value in weights.items()}
    if known != given:
        wrong = sorted(name for name in {**known, **given} if known.get(name) != given.get(name))
        more = f" and {len(wrong) - 1} more" if len(wrong) > 1 else ""
        raise CutError(f"these are no weights of this cloud half: {wrong[0]}{more} differ in name or shape")
    assert isinstance(cloud, CloudHalf)
    made = CloudHalf(copy.deepcopy(cloud.graph_module), cloud.output_structure, cloud.crossing).eval()
    with torch.no_grad():
        for name, parameter in tunable(made).items():
            parameter.copy_(weights[name])
    return made


def tunable(cloud: nn.Module) -> dict[str, Tensor]:
    """The parameters of a half that can be trained, by name: floating and complex ones, frozen or not."""
    return {
        name: parameter
        for name, parameter in cloud.named_parameters()
        if parameter.is_floating_point() or parameter.is_complex()
    }


def shared_tensors(halves: Halves) -> tuple[str, ...]:
    """Weights that both halves need, as the cloud half names them: tied, or views of the same memory.

    Single numbers, integers (indices) and booleans (masks) are constants of the code, and not counted.

    Args:
        halves: as `split` made them.

    Examples:
        >>> from collabplan.graph import cut_of, shared_tensors, split, trace
        >>> layer = torch.nn.Linear(2, 2, bias=False)
        >>> traced = trace(torch.nn.Sequential(layer, torch.nn.ReLU(), layer), torch.ones(1, 2))
        >>> shared_tensors(split(traced, cut_of(traced, ["1"])))
        ('0.weight',)
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
    """True where the memory ranges of two tensors overlap."""
    if left.device != right.device or not (left.numel() and right.numel()):
        return False
    starts, ends = [], []
    for tensor in (left, right):
        last = sum((size - 1) * stride for size, stride in zip(tensor.shape, tensor.stride(), strict=True))
        starts.append(tensor.data_ptr())
        ends.append(tensor.data_ptr() + (last + 1) * tensor.element_size())
    return max(starts) < min(ends)
