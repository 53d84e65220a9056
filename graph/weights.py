"""What counts as a parameter, and what is stored: one definition for profile, plan, budgets and identity.

A *parameter* is a number that the graph reads from a tensor of the model: every `nn.Parameter`, trainable or frozen, in
any dtype, and every other tensor (quantized weights are buffers), except

- running statistics of normalisation layers, which torch does not count either;
- booleans and 64-bit integers, which are masks and indices (integers of fewer bits may be packed weights);
- buffers outside the model's state (`persistent=False`), which its code computes;
- single numbers that are neither parameter nor buffer, which are constants of the code.

A complex number counts once, and so does a tied tensor. Every tensor that the graph reads is *stored*: a half's file
holds all of them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Any, Literal

import torch
from torch import Tensor, fx, nn

Held = Literal["parameter", "buffer", "computed", "constant"]
"""How the model holds a tensor, in `meta["held"]` of its node. `computed` is a buffer outside the model's state."""

INDEX_DTYPES = frozenset({torch.bool, torch.int16, torch.int32, torch.int64, torch.uint16, torch.uint32, torch.uint64})
"""Dtypes of indices and masks, which both halves may hold without sharing a weight."""

_UNCOUNTED_DTYPES = frozenset({torch.bool, torch.int64, torch.uint64})

STATISTICS = ("running_mean", "running_var")
"""Names of buffers with running statistics."""


def stored_tensors(flat: fx.GraphModule) -> dict[str, Tensor]:
    """The tensors that a graph reads as attributes (parameters, buffers, constants), by name; tied ones once."""
    return {str(node.target): fetched(flat, str(node.target)) for node in flat.graph.nodes if node.op == "get_attr"}


def fetched(module: nn.Module | None, path: str) -> Any:
    """The object that a module holds under a dotted name, as a `get_attr` node has it."""
    value: Any = module
    for part in path.split("."):
        value = getattr(value, part)
    return value


def stored_bytes(tensor: Tensor) -> int:
    """The bytes that a tensor takes in a file."""
    return tensor.numel() * tensor.element_size()


def parameter_counts(flat: fx.GraphModule) -> dict[str, int]:
    """By name, the parameters in every stored tensor of a graph; tensors without any are left out."""
    held = {str(node.target): node.meta.get("held", "buffer") for node in flat.graph.nodes if node.op == "get_attr"}
    return {name: each.numel() for name, each in stored_tensors(flat).items() if _counts(name, each, held[name])}


def module_parameter_count(model: nn.Module) -> int:
    """The parameters of a module before it is traced. Those that its forward does not read count too."""
    buffers = {
        f"{path}.{name}": buffer
        for path, module in model.named_modules()
        for name, buffer in module.named_buffers(recurse=False)
        if name not in module._non_persistent_buffers_set
    }
    counted: dict[int, int] = {
        id(buffer): buffer.numel() for name, buffer in buffers.items() if _counts(name, buffer, "buffer")
    }
    held = [parameter.numel() for parameter in model.parameters()]
    return sum(held) + sum(counted.values())


def usual_dtype(tensors: Iterable[Tensor]) -> torch.dtype | None:
    """The floating dtype of most numbers in `tensors`; None where no tensor is floating.

    Examples:
        >>> usual_dtype([torch.ones(3), torch.ones(2, dtype=torch.float16)])
        torch.float32
    """
    counts: Counter[torch.dtype] = Counter()
    for tensor in tensors:
        if tensor.is_floating_point():
            counts[tensor.dtype] += tensor.numel()
    return counts.most_common(1)[0][0] if counts else None


def _counts(name: str, tensor: Tensor, held: Held) -> bool:
    if isinstance(tensor, nn.Parameter):
        return True
    if held == "computed" or tensor.dtype in _UNCOUNTED_DTYPES or name.rpartition(".")[2] in STATISTICS:
        return False
    return held == "buffer" or tensor.numel() > 1
