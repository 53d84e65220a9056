"""The body of an answer: the model's output tensors, one after the other, and its structure around them.

Each tensor is its number of dimensions (1 byte), their sizes (4 bytes each) and its bytes; a Python number is 8 bytes.
The client checks every one against the manifest before it takes it.
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
"""Most that an output may take whose size no manifest tells."""

_NUMBERS = {"int64": struct.Struct("<q"), "float64": struct.Struct("<d")}


class AnswerError(CollabplanError):
    """An answer that is no output of the plan's model."""


def answer_bytes(spec: OutputSpec, batch: int) -> int:
    """The most bytes that an answer of `batch` samples takes."""
    total = 0
    for tensor in spec.tensors:
        shape = tensor.shape_at(batch)
        known = [size for size in shape if size is not None]
        size = math.prod(known) * DTYPE_BYTES[tensor.dtype] if len(known) == len(shape) else MOST_FREE_BYTES
        total += 1 + 4 * len(shape) + size
    return total


def pack_outputs(value: Any, spec: OutputSpec) -> bytes:
    """What the cloud half returned, as bytes.

    Raises:
        AnswerError: it is not of the structure or dtypes that the manifest says.
    """
    leaves: list[Any] = []
    _flatten(value, spec.structure, leaves)
    return b"".join(_packed(leaf, tensor) for leaf, tensor in zip(leaves, spec.tensors, strict=True))


def unpack_outputs(body: memoryview | bytes, spec: OutputSpec, batch: int) -> Any:
    """The model's output.

    Raises:
        AnswerError: another size, shape or rank than the manifest says.
    """
    view, leaves, start = memoryview(body), [], 0
    for tensor in spec.tensors:
        leaf, start = _unpacked(view, start, tensor, batch)
        leaves.append(leaf)
    if start != len(view):
        raise AnswerError(f"the answer has {len(view) - start} bytes too many")
    return _build(spec.structure, leaves)


def split_outputs(value: Any, spec: OutputSpec, batches: Sequence[int]) -> list[Any]:
    """What a batch made of several requests returned, one output per request."""
    leaves: list[Any] = []
    _flatten(value, spec.structure, leaves)
    parts = [
        torch.split(leaf, list(batches), tensor.batch_dims[0])
        for leaf, tensor in zip(leaves, spec.tensors, strict=True)
    ]
    return [_build(spec.structure, list(each)) for each in zip(*parts, strict=True)]


def can_split(spec: OutputSpec) -> bool:
    """True where every output is a tensor with one row per sample."""
    return bool(spec.tensors) and all(
        not tensor.number
        and not tensor.free_dims
        and len(tensor.batch_dims) == 1
        and tensor.shape[tensor.batch_dims[0]] == 1
        for tensor in spec.tensors
    )


def _flatten(value: Any, structure: JsonValue, leaves: list[Any]) -> None:
    """Append the outputs within `value`, in the structure's order."""
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
        raise AnswerError(f"{spec.name} is not the tensor that the manifest says")
    head = struct.pack(f"<B{leaf.ndim}I", leaf.ndim, *leaf.shape)
    flat = leaf.detach().cpu().contiguous().reshape(-1)
    return head + flat.view(torch.uint8).numpy().tobytes()


def _unpacked(view: memoryview, start: int, spec: TensorSpec, batch: int) -> tuple[Any, int]:
    """One output and where the next begins."""
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
            raise AnswerError(f"{spec.name} came as {list(shape)}, which is not the manifest's shape")
    begin = start + 1 + 4 * rank
    stop = begin + math.prod(shape) * DTYPE_BYTES[spec.dtype]
    if stop > len(view):
        raise AnswerError(f"the answer ends within {spec.name}")
    dtype = getattr(torch, spec.dtype)
    if stop == begin:
        return torch.empty(shape, dtype=dtype), stop
    flat = torch.frombuffer(bytearray(view[begin:stop]), dtype=torch.uint8)
    if spec.dtype == "bool" and bool((flat > 1).any()):
        raise AnswerError(f"{spec.name} holds bytes that are no truth values")
    return flat.view(dtype).reshape(shape), stop
