"""Keeping the batch free: which dimensions count samples, and the calls that would fix their number.

An LSTM's `h0` has its samples in dimension 1. Where the model does not run on a resized batch with the first guess,
other readings of the inputs are tried. A reading is taken if the model runs with no other.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from itertools import islice, product
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils import _pytree as pytree

from .admission import run_plainly
from .inputs import resize_batch
from .refusals import first_line, place
from .sizes import symbolic
from .traced_graph import InputSpec

_MAX_READINGS = 64


def free_batch(
    model: nn.Module,
    specs: tuple[InputSpec, ...],
    leaves: Sequence[Any],
    structure: pytree.TreeSpec,
    batch: int,
    settled: Collection[str],
) -> tuple[tuple[InputSpec, ...], str, str]:
    """The inputs with batch dimensions that the model runs with at another batch size.

    Args:
        model: in eval mode.
        specs: the first guess.
        leaves: the example inputs, flattened as `structure` says.
        batch: the other batch size.
        settled: the inputs whose dimension the user gave; no other reading of these is tried.

    Returns:
        The inputs, a note for the user if dimensions were moved, and the reason why the batch cannot be free, if it
        cannot.
    """
    failure = failure_at(batch, model, specs, leaves, structure)
    if not failure:
        return specs, "", ""
    readings = islice(product(*_dimensions(specs, leaves, settled)), _MAX_READINGS)
    others = [tuple(replace(s, batch_dim=d) for s, d in zip(specs, dims, strict=True)) for dims in readings]
    running = [other for other in others if not failure_at(batch, model, other, leaves, structure)]
    if len(running) != 1:
        return specs, "", failure
    moved = [
        f"{now.name!r} has {'none' if now.batch_dim is None else f'them in dimension {now.batch_dim}'}"
        for now, before in zip(running[0], specs, strict=True)
        if now.batch_dim != before.batch_dim
    ]
    return running[0], f"samples are counted by the only dimensions that the model runs with: {', '.join(moved)}", ""


def _dimensions(specs: Sequence[InputSpec], leaves: Sequence[Any], settled: Collection[str]) -> list[list[int | None]]:
    """By input, the dimensions that could count samples; the first tensor's is settled."""
    first = next((spec for spec in specs if spec.batch_dim is not None), None)
    choices: list[list[int | None]] = []
    for spec, leaf in zip(specs, leaves, strict=True):
        if first is None or spec is first or not isinstance(leaf, Tensor) or spec.name in settled:
            choices.append([spec.batch_dim])
        else:
            size = first.shape[first.batch_dim]  # type: ignore[index]
            choices.append([d for d in range(leaf.ndim) if leaf.shape[d] == size] + [None])
    return choices


def failure_at(
    batch: int, model: nn.Module, specs: Sequence[InputSpec], leaves: Sequence[Any], structure: pytree.TreeSpec
) -> str:
    """How the model fails on the example inputs at another batch size; empty where it runs."""
    args, kwargs = pytree.tree_unflatten(resized(specs, leaves, batch), structure)
    try:
        run_plainly(model, args, kwargs)
    except Exception as error:
        return f"at batch {batch} the model fails with {first_line(error)}{place(error)}"
    return ""


def resized(specs: Sequence[InputSpec], leaves: Sequence[Any], batch: int) -> list[Any]:
    """The flattened inputs with their samples repeated (or cut off) to `batch`."""
    return [
        leaf if spec.batch_dim is None else resize_batch(leaf.detach().clone(), spec.batch_dim, batch)
        for spec, leaf in zip(specs, leaves, strict=True)
    ]


class Followed(TorchFunctionMode):
    """Replaces calls that `torch.export` loses track of by equal calls that it follows.

    `chunk(2)` after `cat([x, x])` (classifier-free guidance) counts pieces of a size that depends on the batch.
    `take_along_dim` broadcasts shapes, which fixes the batch in C++. `.data` is a tensor that export has not seen.
    Values and strides are those of the original calls.
    """

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        """Runs one call of torch."""
        rule = _RULES.get(func)
        done = None if rule is None else rule(*args, **(kwargs or {}))
        return func(*args, **(kwargs or {})) if done is None else done


def _chunk(input: Tensor, chunks: int, dim: int = 0) -> Any:
    """None where the size is a plain number, or not divisible at every batch size."""
    expression = symbolic(input.shape[dim])
    if expression is None or expression.as_coeff_Mul()[0] % chunks != 0:
        return None
    return _pieces(input, chunks, dim)


def _split(tensor: Tensor, split_size_or_sections: Any = None, dim: int = 0, split_size: Any = None) -> Any:
    size = split_size_or_sections if split_size is None else split_size
    whole, part = symbolic(tensor.shape[dim]), symbolic(size)
    if whole is None or part is None or not (whole / part).is_Integer:
        return None
    return _pieces(tensor, int(whole / part), dim)


def _pieces(tensor: Tensor, count: int, dim: int) -> tuple[Tensor, ...]:
    size = tensor.shape[dim] // count
    return tuple(tensor.narrow(dim, index * size, size) for index in range(count))


def _take_along(input: Tensor, indices: Tensor, dim: int | None = None) -> Any:
    if dim is None or input.ndim != indices.ndim:
        return None
    dim %= input.ndim
    sizes: list[Any] = [-1] * input.ndim
    for other in set(range(input.ndim)) - {dim}:
        sizes[other] = _common(input.shape[other], indices.shape[other])
    if any(size is None for size in sizes):
        return None
    return torch.gather(input.expand(sizes), dim, indices.expand(sizes))


def _common(left: Any, right: Any) -> Any:
    """The size that two sizes broadcast to; None where that needs the value of a symbol, which would fix it."""
    if (symbolic(left) is None) == (symbolic(right) is None):
        return left if left == right else None
    number, free = (left, right) if symbolic(left) is None else (right, left)
    return free if number == 1 else None


_RULES: dict[Any, Callable[..., Any]] = {
    torch.Tensor.data.__get__: torch.Tensor.detach,  # type: ignore[attr-defined]
    torch.chunk: _chunk, torch.Tensor.chunk: _chunk,
    torch.split: _split, torch.Tensor.split: _split,
    torch.take_along_dim: _take_along, torch.Tensor.take_along_dim: _take_along,
}  # fmt: skip
