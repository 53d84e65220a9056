"""Edge halves of an attacker's own: the device's architecture with random weights, or a generic encoder."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, fx, nn
from torch.nn.functional import adaptive_avg_pool2d

from ..graph.weights import STATISTICS
from ..profilers.placement import copy_graph
from .adversary_view import AdversaryView
from .decoders import Residual

GENERIC_GRID = 16
"""Side of the grid on which `GenericEdge` works; twice the cut's side if that is more."""


class GenericEdge(nn.Module):
    """A residual encoder from images to rows of any shape, for an attacker who does not know the edge half.

    Args:
        image_shape: of one input.
        row_shapes: of one sample of each crossing.
        width: channels.
    """

    def __init__(self, image_shape: Sequence[int], row_shapes: Sequence[tuple[int, ...]], width: int = 32) -> None:
        super().__init__()
        self.shapes = [tuple(shape) for shape in row_shapes]
        self.image = len(image_shape) == 3
        if self.image:
            largest = max([*(shape[1] for shape in self.shapes if len(shape) == 3), GENERIC_GRID // 2])
            smaller = image_shape[1] > 2 * largest
            self.body: nn.Module = nn.Sequential(
                nn.Conv2d(image_shape[0], width, 3, padding=1),
                nn.AdaptiveAvgPool2d(2 * largest) if smaller else nn.Identity(),
                Residual(width),
            )
            self.heads = nn.ModuleList(
                nn.Conv2d(width, shape[0], 3, padding=1) if len(shape) == 3 else nn.Linear(16 * width, math.prod(shape))
                for shape in self.shapes
            )
        else:
            self.body = nn.Sequential(nn.Linear(math.prod(image_shape), 8 * width), nn.ReLU())
            self.heads = nn.ModuleList(nn.Linear(8 * width, math.prod(shape)) for shape in self.shapes)

    def forward(self, images: Tensor) -> list[Tensor]:
        """`[n, *image_shape]` in [0, 1] -> rows `[n, *sample_shape]` per crossing."""
        h = self.body(images if self.image else images.flatten(1))
        rows = []
        for head, shape in zip(self.heads, self.shapes, strict=True):
            if self.image and len(shape) == 3:
                rows.append(head(_pooled(h, shape[1:])))
            else:
                flat = adaptive_avg_pool2d(h, 4).flatten(1) if self.image else h
                rows.append(head(flat).reshape(-1, *shape))
        return rows


def _pooled(h: Tensor, size: Sequence[int]) -> Tensor:
    """`[n, C, H, W]` averaged to `[n, C, *size]`."""
    return h if h.shape[2:] == torch.Size(size) else adaptive_avg_pool2d(h, (size[0], size[1]))


class SameEdge(nn.Module):
    """The edge half's graph with random weights; running statistics are reset with the weights.

    Args:
        view: of an attacker who knows the architecture.
    """

    def __init__(self, view: AdversaryView) -> None:
        super().__init__()
        self.target, self.public = view.target, view.training.take(torch.arange(1))
        real = view.target.halves.edge.graph_module
        assert isinstance(real, fx.GraphModule)
        self.program = copy_graph(real, torch.device("cpu"), None)
        _forget(self.program)

    def forward(self, images: Tensor) -> list[Tensor]:
        """`[n, *image_shape]` in [0, 1] -> rows `[n, *sample_shape]` per crossing."""
        public = self.public.take(torch.zeros(len(images), dtype=torch.long))
        return list(self.target.edge(self.target.with_pixels(public, images), self.program))


def _forget(program: fx.GraphModule) -> None:
    """Draw weights at random (He et al., ICCV 2015); set scales and variances to 1, shifts and means to 0.

    Nothing of the model's training stays. The schema of the operator that reads a vector tells its purpose. Buffers
    that are no running statistics belong to the architecture, and stay.
    """
    uses = _uses(program)
    for name, tensor in [*program.named_parameters(), *program.named_buffers()]:
        tensor.data = tensor.data.clone()  # the copied graph shares its tensors with the model
        use = uses.get(name, "")
        if not tensor.is_floating_point() or (not isinstance(tensor, nn.Parameter) and use not in STATISTICS):
            continue
        if tensor.ndim > 1:
            tensor.data = (torch.randn(tensor.shape) * (2 / max(tensor[0].numel(), 1)) ** 0.5).to(tensor.dtype)
        else:
            tensor.data.fill_(1.0 if use in ("weight", "running_var") else 0.0)
        tensor.requires_grad_(isinstance(tensor, nn.Parameter))


def _uses(program: fx.GraphModule) -> dict[str, str]:
    """By tensor, the name of the argument that some operator reads it as."""
    found = {}
    for node in program.graph.nodes:
        schema = getattr(node.target, "_schema", None)
        if schema is None:
            continue
        for position, source in enumerate(node.args):
            if isinstance(source, fx.Node) and source.op == "get_attr":
                found[str(source.target)] = schema.arguments[position].name
    return found
