"""Other values for example inputs: the same numbers in another order, numbers with noise, other integers."""

from __future__ import annotations

import torch
from torch import Tensor

from .inputs import resize_batch


def shuffled(tensor: Tensor, generator: torch.Generator) -> Tensor:
    """The same numbers in another order."""
    order = torch.randperm(tensor.numel(), generator=generator).to(tensor.device)
    return tensor.reshape(-1)[order].reshape(tensor.shape)


def noisy(tensor: Tensor, generator: torch.Generator) -> Tensor:
    """Numbers with noise. Integers stay as they are: other ones may come out the same a second time."""
    return other_values(tensor, generator) if tensor.is_floating_point() or tensor.is_complex() else tensor


def other_values(tensor: Tensor, generator: torch.Generator, scale: float = 1.0) -> Tensor:
    """Other values of the same kind.

    Numbers get noise of `scale` times their size. Integers become others between the smallest (at most 0) and the
    largest.
    """
    if tensor.is_floating_point() or tensor.is_complex():
        dtype = torch.complex64 if tensor.is_complex() else torch.float32
        noise = torch.randn(tensor.shape, generator=generator, dtype=dtype)
        spread = float(tensor.abs().double().mean()) + 1  # in half precision a sum overflows long before a mean does
        return tensor + (noise * spread * scale).to(tensor)
    if tensor.dtype == torch.bool:
        return ~tensor
    values = tensor.long()
    low, high = min(int(values.min()), 0), max(int(values.max()), 1)  # 0 is the usual padding
    shift = torch.randint(1, high - low + 1, tensor.shape, generator=generator).to(tensor.device)
    return (low + (values - low + shift) % (high - low + 1)).to(tensor.dtype)


def varied(example: Tensor, batch_dim: int, batch: int, generator: torch.Generator) -> list[Tensor]:
    """Two batches with the last sample in common, and the first sample of the first batch alone.

    The common sample is the example's, unless all its numbers are equal: a loss of order would not show there.
    """
    first, second, shared = (resize_batch(example, batch_dim, size) for size in (batch, batch, 1))
    if is_constant(shared):
        shared = other_values(shared, generator)
    first, second = noisy(first, generator), other_values(second, generator, scale=10)
    return _with_last(first, second, shared, batch_dim)


def rearranged(example: Tensor, batch_dim: int, batch: int, generator: torch.Generator) -> list[Tensor]:
    """The same as `varied`, from the example's own numbers in other places: for floating ids, which take no noise.

    Raises:
        ValueError: all numbers of the example are equal, so every order looks alike.
    """
    if is_constant(example):
        raise ValueError("an example whose numbers are all equal looks alike in every order")
    given = resize_batch(example, batch_dim, batch)
    first, second = shuffled(given, generator), shuffled(given, generator)
    return _with_last(first, second, resize_batch(example, batch_dim, 1), batch_dim)


def is_constant(tensor: Tensor) -> bool:
    """True where all numbers are equal."""
    return bool((tensor == tensor.reshape(-1)[:1]).all())


def _with_last(first: Tensor, second: Tensor, shared: Tensor, batch_dim: int) -> list[Tensor]:
    for each in (first, second):
        each.narrow(batch_dim, each.shape[batch_dim] - 1, 1).copy_(shared)
    return [first, second, first.narrow(batch_dim, 0, 1).contiguous()]
