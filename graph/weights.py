"""What of a model counts as a parameter, and what is stored: one definition for profile, plan, budgets and identity.

A *parameter* is a number that the graph reads from a tensor which the model holds: every `nn.Parameter`, trainable or
frozen, in any dtype; and every other tensor beside them (quantized weights are buffers), but for

- running statistics of normalisation layers, which torch does not count either;
- booleans and whole numbers of 64 bits, which are masks and indices (fewer bits may be packed weights);
- buffers that are no part of the model's state (`persistent=False`), which its code computes;
- single numbers that are neither parameter nor buffer, which are constants of the code.

A complex number counts once, and so does a tied tensor. *Stored* is every tensor that the graph reads, whatever it is
for: a half's file holds all of them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Any, Literal

import torch
from torch import Tensor, fx, nn

Held = Literal["parameter", "buffer", "computed", "constant"]
"""How the model holds a tensor, `meta["held"]` of its node; `computed` is a buffer that is no part of its state."""

INDEX_DTYPES = frozenset({torch.bool, torch.int16, torch.int32, torch.int64, torch.uint16, torch.uint32, torch.uint64})
"""Of tensors that both halves may hold without sharing a weight."""

_UNCOUNTED_DTYPES = frozenset({torch.bool, torch.int64, torch.uint64})

STATISTICS = ("running_mean", "running_var")


def stored_tensors(flat: fx.GraphModule) -> dict[str, Tensor]:
    """The tensors that a graph reads as attributes (parameters, buffers, constants), by name; tied ones once."""
    return {str(node.target): fetched(flat, str(node.target)) for node in flat.graph.nodes if node.op == "get_attr"}


def fetched(module: nn.Module | None, path: str) -> Any:
    """What a module holds under a dotted name, as a `get_attr` node has it."""
    value: Any = module
    for part in path.split("."):
        value = getattr(value, part)
    return value


def stored_bytes(tensor: Tensor) -> int:
    """What a tensor takes in a file."""
    return tensor.numel() * tensor.element_size()


def parameter_counts(flat: fx.GraphModule) -> dict[str, int]:
    """Parameters in every stored tensor of a graph, by name; those that hold none are left out."""
    held = {str(node.target): node.meta.get("held", "buffer") for node in flat.graph.nodes if node.op == "get_attr"}
    return {name: each.numel() for name, each in stored_tensors(flat).items() if _counts(name, each, held[name])}


def module_parameter_count(model: nn.Module) -> int:
    """Parameters of a module before it is traced: what its forward does not read is counted too."""
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
    """The floating dtype of most of the numbers in `tensors`; None where nothing is floating."""
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
