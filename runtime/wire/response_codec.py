"""The body of an answer: the model's output tensors, one after the other.

A tensor is its number of dimensions (1 byte), their sizes (4 bytes each) and its bytes. A Python number is a zero byte
and 8 bytes. The structure around the tensors does not travel: the manifest holds it. The client checks each tensor
against the manifest before using it.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Sequence
from typing import Any

import torch
from pydantic import JsonValue
from torch import Tensor

from ...records import DTYPE_BYTES, CollabplanError, OutputSpec, TensorSpec, output_key

MOST_FREE_BYTES = 2**28
"""The most bytes of an output whose size the manifest leaves open."""

_NUMBERS = {"int64": struct.Struct("<q"), "float64": struct.Struct("<d")}


class AnswerError(CollabplanError):
    """An answer that cannot be an output of the plan's model."""


def answer_bytes(spec: OutputSpec, batch: int) -> int:
    """The most bytes of an answer of `batch` samples."""
    total = 0
    for tensor in spec.tensors:
        shape = tensor.shape_at(batch)
        known = [size for size in shape if size is not None]
        size = math.prod(known) * DTYPE_BYTES[tensor.dtype] if len(known) == len(shape) else MOST_FREE_BYTES
        total += 1 + 4 * len(shape) + size
    return total


def pack_outputs(value: Any, spec: OutputSpec) -> bytes:
    """Encode what the cloud half returned.

    Raises:
        AnswerError: its structure or a dtype differs from the manifest.
    """
    leaves: list[Any] = []
    _flatten(value, spec.structure, leaves)
    return b"".join(_packed(leaf, tensor) for leaf, tensor in zip(leaves, spec.tensors, strict=True))


def unpack_outputs(body: memoryview | bytes, spec: OutputSpec, batch: int) -> Any:
    """Decode an answer into the model's output.

    Args:
        body: the body of the answer.
        spec: the outputs in the manifest.
        batch: the number of samples in the request.

    Raises:
        AnswerError: a size, shape or rank differs from the manifest.
    """
    view, leaves, start = memoryview(body), [], 0
    for tensor in spec.tensors:
        leaf, start = _unpacked(view, start, tensor, batch)
        leaves.append(leaf)
    if start != len(view):
        raise AnswerError(f"the answer is {len(view) - start} bytes too long")
    return _build(spec.structure, leaves)


def split_outputs(value: Any, spec: OutputSpec, batches: Sequence[int]) -> list[Any]:
    """Divide the output of a batch that was made of several requests: one output for each."""
    leaves: list[Any] = []
    _flatten(value, spec.structure, leaves)
    parts = [
        torch.split(leaf, list(batches), tensor.batch_dims[0])
        for leaf, tensor in zip(leaves, spec.tensors, strict=True)
    ]
    return [_build(spec.structure, list(each)) for each in zip(*parts, strict=True)]


def can_split(spec: OutputSpec) -> bool:
    """True if every output is a tensor with one row per sample."""
    return bool(spec.tensors) and all(
        not tensor.number
        and not tensor.free_dims
        and len(tensor.batch_dims) == 1
        and tensor.shape[tensor.batch_dims[0]] == 1
        for tensor in spec.tensors
    )


def _flatten(value: Any, structure: JsonValue, leaves: list[Any]) -> None:
    """Append the outputs within `value`, in the order of the structure."""
    if not isinstance(structure, dict):
        return
    ((tag, content),) = structure.items()
    if tag == "output":
        leaves.append(value)
    elif tag in ("list", "tuple") and isinstance(content, list):
        if not isinstance(value, list | tuple) or len(value) != len(content):
            raise AnswerError("the cloud half returned another structure than the manifest says")
        for child, part in zip(value, content, strict=True):
            _flatten(child, part, leaves)
    elif tag == "dict" and isinstance(content, list):
        for name, part in content:  # type: ignore[misc,str-unpack]
            key = output_key(name)
            if not isinstance(value, dict) or key not in value:
                raise AnswerError("the cloud half returned another structure than the manifest says")
            _flatten(value[key], part, leaves)


def _build(structure: JsonValue, leaves: Sequence[Any]) -> Any:
    if not isinstance(structure, dict):
        return structure
    ((tag, content),) = structure.items()
    if tag == "output":
        return leaves[content]  # type: ignore[index]
    if tag == "float":
        return float(content)  # type: ignore[arg-type]
    assert isinstance(content, list)
    if tag == "dict":
        return {output_key(key): _build(child, leaves) for key, child in content}  # type: ignore[misc,str-unpack]
    children = [_build(child, leaves) for child in content]
    return children if tag == "list" else tuple(children)


def _packed(leaf: Any, spec: TensorSpec) -> bytes:
    if spec.number:
        return b"\x00" + _NUMBERS[spec.dtype].pack(leaf)
    if not isinstance(leaf, Tensor) or leaf.dtype != getattr(torch, spec.dtype) or leaf.ndim != len(spec.shape):
        raise AnswerError(f"{spec.name} is not the tensor that the manifest describes")
    head = struct.pack(f"<B{leaf.ndim}I", leaf.ndim, *leaf.shape)
    flat = leaf.detach().cpu().contiguous().reshape(-1)
    return head + flat.view(torch.uint8).numpy().tobytes()


def _unpacked(view: memoryview, start: int, spec: TensorSpec, batch: int) -> tuple[Any, int]:
    """One output, and the offset of the next."""
    try:
        (rank,) = struct.unpack_from("<B", view, start)
        if spec.number and rank == 0:
            return _NUMBERS[spec.dtype].unpack_from(view, start + 1)[0], start + 9
        if spec.number or rank != len(spec.shape):
            raise AnswerError(f"{spec.name} came with {rank} dimensions, the manifest says {len(spec.shape)}")
        shape = struct.unpack_from(f"<{rank}I", view, start + 1)
    except struct.error:
        raise AnswerError(f"the answer ends before {spec.name}") from None
    for size, expected in zip(shape, spec.shape_at(batch), strict=True):
        if expected is not None and size != expected:
            raise AnswerError(f"{spec.name} came as {list(shape)}, which is not the shape in the manifest")
    begin = start + 1 + 4 * rank
    stop = begin + math.prod(shape) * DTYPE_BYTES[spec.dtype]
    if stop > len(view):
        raise AnswerError(f"the answer ends within {spec.name}")
    return _tensor(view[begin:stop], shape, spec), stop


def _tensor(data: memoryview, shape: tuple[int, ...], spec: TensorSpec) -> Tensor:
    dtype = getattr(torch, spec.dtype)
    if not data:
        return torch.empty(shape, dtype=dtype)
    flat = torch.frombuffer(bytearray(data), dtype=torch.uint8)
    if spec.dtype == "bool" and bool((flat > 1).any()):
        raise AnswerError(f"{spec.name} holds bytes that are no truth values")
    return flat.view(dtype).reshape(shape)
