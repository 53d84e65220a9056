"""The inputs of one request: brought into the model's order, checked, and laid out as the model takes them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from ...records import BundlePart, CollabplanError, TensorSpec

Inputs = Tensor | Sequence[Tensor] | Mapping[str, Tensor]
"""The model's tensors: the only one, all in order, or by name."""


def checked_inputs(inputs: Inputs, part: BundlePart) -> tuple[tuple[Tensor, ...], int]:
    """The model's tensors in order, and the number of samples in them.

    Args:
        inputs: each tensor as the model was traced with it, its batch in the traced dimension.
        part: of the manifest.

    Raises:
        CollabplanError: a tensor is missing or has another shape or dtype than the model's input, or several samples
            of a model whose samples read each other.
    """
    given = _ordered(inputs, part.inputs)
    counted = _sample_count(part.inputs, given)
    batch = part.batch or counted or 1
    if not part.samples_independent and counted > 1:
        raise CollabplanError("samples of this model read each other, so a request holds one; send them one by one")
    for spec, tensor in zip(part.inputs, given, strict=True):
        _require_fits(spec, tensor, batch)
    return given, batch


def private_inputs(inputs: Sequence[Tensor], specs: Sequence[TensorSpec], units: int) -> list[Tensor]:
    """The private inputs, each `[units, ...]`. A tensor that all samples share is repeated for each of them.

    Args:
        inputs: the model's tensors in order.
        specs: of the manifest.
        units: how many samples are told apart: the batch, or 1 if the whole batch is one release.
    """
    found = []
    for spec, tensor in zip(specs, inputs, strict=True):
        if spec.public:
            continue
        if spec.batch_dims and tensor.shape[spec.batch_dims[0]] == units:
            found.append(tensor.movedim(spec.batch_dims[0], 0))
        else:
            found.append(tensor.expand(units, *tensor.shape))
    return found


def with_models_layout(samples: Tensor, spec: TensorSpec) -> Tensor:
    """Samples `[N, ...]` as the model takes them: the batch in the input's own dimension.

    An input without a batch is taken from the first sample.
    """
    return samples.movedim(0, spec.batch_dims[0]).contiguous() if spec.batch_dims else samples[0]


def _ordered(inputs: Inputs, specs: Sequence[TensorSpec]) -> tuple[Tensor, ...]:
    names = ", ".join(spec.name for spec in specs)
    if isinstance(inputs, Mapping):
        if set(inputs) != {spec.name for spec in specs}:
            raise CollabplanError(f"the model takes {names}, got {', '.join(inputs) or 'nothing'}")
        return tuple(inputs[spec.name] for spec in specs)
    given = (inputs,) if isinstance(inputs, Tensor) else tuple(inputs)
    if len(given) != len(specs):
        raise CollabplanError(f"the model takes {len(specs)} tensors ({names}), got {len(given)}")
    return given


def _sample_count(specs: Sequence[TensorSpec], given: Sequence[Tensor]) -> int:
    """The number of samples, by the first input that has a batch; 0 if none has one."""
    for spec, tensor in zip(specs, given, strict=True):
        if spec.batch_dims and tensor.ndim > spec.batch_dims[0]:
            return tensor.shape[spec.batch_dims[0]]
    return 0


def _require_fits(spec: TensorSpec, tensor: Tensor, batch: int) -> None:
    """Refuse a tensor with another shape or dtype than the model's input."""
    expected = spec.shape_at(batch)
    fits = tensor.ndim == len(expected) and all(
        size is None or size == found for size, found in zip(expected, tensor.shape, strict=True)
    )
    if not fits or tensor.dtype != getattr(torch, spec.dtype):
        shape = [size if size is not None else "any" for size in expected]
        raise CollabplanError(
            f"input {spec.name!r} must be {spec.dtype} {shape}, got {str(tensor.dtype).removeprefix('torch.')} "
            f"{list(tensor.shape)}"
        )
