"""The body of a request: what the defense released, as bytes of constant size.

Samples follow one another. Within a sample the crossing tensors follow one another, as codes packed to the plan's bits
or as raw numbers. Public tensors without samples come last. No shape travels: both sides know all shapes from the
manifest and the number of samples.

`DefendedCodec` encodes what the plan's defense releases. `PlainCodec` is for verification alone: it encodes the
crossing tensors themselves. Each is preceded by the order of its dimensions in memory, because some kernels round
differently for another order.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ...defenses.pipeline import Defense
from ...graph import from_samples, to_samples
from ...records import CollabplanError, Crossing
from .bitpacking import Bytes, pack_codes, packed_bytes, unpack_codes

Buffer = bytes | bytearray | memoryview

_CHUNK = 1 << 16
_MOST_DIMS = 8


class BodyError(CollabplanError):
    """A body that does not match the plan: a wrong size, numbers that are not finite, or meaningless bits."""


@dataclass(frozen=True)
class DefendedCodec:
    """Encodes what a plan's defense releases, and decodes it for `Defense.receive`."""

    defense: Defense

    @cached_property
    def _columns(self) -> list[tuple[Crossing, int | None, int]]:
        """For each crossing with samples: its bits (None for raw numbers) and the bytes of one sample."""
        return [(c, bits, size) for c, bits, size in self._all if c.layout is not None]

    @cached_property
    def _fixed(self) -> list[tuple[Crossing, int | None, int]]:
        return [(c, bits, size) for c, bits, size in self._all if c.layout is None]

    @cached_property
    def _all(self) -> list[tuple[Crossing, int | None, int]]:
        found: list[tuple[Crossing, int | None, int]] = []
        for crossing in self.defense.tail.crossing:
            bits = self.defense.wire_bits(crossing)
            elements = crossing.sample_elements
            size = elements * crossing.element_bytes if bits is None else packed_bytes(elements, bits)
            found.append((crossing, bits, size))
        return found

    @cached_property
    def row_bytes(self) -> int:
        """The bytes of one sample."""
        return sum(size for _, _, size in self._columns)

    @cached_property
    def fixed_bytes(self) -> int:
        """The bytes that a request holds once, whatever its number of samples."""
        return sum(size for _, _, size in self._fixed)

    def body_bytes(self, batch: int) -> int:
        """The size of a body of `batch` samples."""
        return batch * self.row_bytes + self.fixed_bytes

    def rows(self, released: Sequence[Tensor], batch: int) -> Bytes:
        """Encode what `Defense.release` returned, sample by sample: `[batch, row_bytes]`.

        Raises:
            BodyError: a tensor has another shape or dtype than the plan says.
        """
        parts = [
            _sample_bytes(crossing, bits, tensor, batch)
            for (crossing, bits, _), tensor in zip(self._all, released, strict=True)
            if crossing.layout is not None
        ]
        return parts[0] if len(parts) == 1 else np.concatenate(parts, axis=1)

    def fixed(self, released: Sequence[Tensor]) -> bytes:
        """Encode the tensors without samples. Raises BodyError as `rows` does."""
        parts = [
            _raw(crossing, tensor, crossing.sample_shape)
            for (crossing, _, _), tensor in zip(self._all, released, strict=True)
            if crossing.layout is None
        ]
        return b"".join(part.tobytes() for part in parts)

    def pack(self, released: Sequence[Tensor], batch: int) -> bytes:
        """The body of one request. Raises BodyError as `rows` does."""
        return self.rows(released, batch).tobytes() + self.fixed(released)

    def unpack(self, body: Buffer, batch: int) -> tuple[Tensor, ...]:
        """Decode a body for `Defense.receive`. Checks come before any allocation.

        Raises:
            BodyError: the body has a wrong size, or holds numbers that are not finite or meaningless bits.
        """
        _require_size(body, self.body_bytes(batch))
        flat = np.frombuffer(body, dtype=np.uint8)
        samples = flat[: batch * self.row_bytes].reshape(batch, self.row_bytes)
        fixed = flat[batch * self.row_bytes :]
        tensors, column, start = [], 0, 0
        for crossing, bits, size in self._all:
            if crossing.layout is None:
                part = fixed[start : start + size]
                tensors.append(_tensor(part, crossing, crossing.sample_shape))
                start += size
                continue
            taken = samples[:, column : column + size]
            column += size
            shape = (batch, *crossing.sample_shape)
            rows = _tensor(taken, crossing, shape) if bits is None else _codes(taken, crossing, bits, shape)
            tensors.append(from_samples(rows, crossing.layout).contiguous())
        return tuple(tensors)


@dataclass(frozen=True)
class PlainCodec:
    """Encodes the crossing tensors themselves, without defense: for verifying the halves."""

    defense: Defense

    def body_bytes(self, batch: int) -> int:
        """The size of a body of `batch` samples."""
        return sum(
            _MOST_DIMS + math.prod(graph_shape(crossing, batch)) * crossing.element_bytes
            for crossing in self.defense.crossing
        )

    def pack(self, tensors: Sequence[Tensor], batch: int) -> bytes:
        """The body of one request. Raises BodyError as `DefendedCodec.rows` does."""
        parts = []
        for crossing, tensor in zip(self.defense.crossing, tensors, strict=True):
            shape = graph_shape(crossing, batch)
            if tensor.ndim > _MOST_DIMS:
                raise BodyError(f"{crossing.name} has {tensor.ndim} dimensions, more than {_MOST_DIMS}")
            strides = tensor.stride()
            order = sorted(range(tensor.ndim), key=[-stride for stride in strides].__getitem__)
            _require_shape(crossing, tensor, shape)
            laid = tensor.permute(order)
            parts.append(bytes(order).ljust(_MOST_DIMS, b"\xff"))
            parts.append(_raw(crossing, laid, tuple(laid.shape)).tobytes())
        return b"".join(parts)

    def unpack(self, body: Buffer, batch: int) -> tuple[Tensor, ...]:
        """The crossing tensors with their layout in memory. Raises BodyError as `DefendedCodec.unpack` does."""
        _require_size(body, self.body_bytes(batch))
        flat, tensors, start = np.frombuffer(body, dtype=np.uint8), [], 0
        for crossing in self.defense.crossing:
            shape = graph_shape(crossing, batch)
            order = flat[start : start + len(shape)].tolist()
            if sorted(order) != list(range(len(shape))):
                raise BodyError(f"{crossing.name} came with an impossible order of dimensions")
            start += _MOST_DIMS
            size = math.prod(shape) * crossing.element_bytes
            laid = _tensor(flat[start : start + size], crossing, tuple(shape[dim] for dim in order))
            tensors.append(laid.permute([order.index(dim) for dim in range(len(shape))]))
            start += size
        return tuple(tensors)


def graph_shape(crossing: Crossing, batch: int) -> tuple[int, ...]:
    """The shape that a crossing tensor of `batch` samples has in the graph."""
    layout, shape = crossing.layout, list(crossing.sample_shape)
    if layout is None:
        return tuple(shape)
    rest = shape if layout.groups == 1 else shape[1:]
    return (*rest[: layout.batch_dim], layout.groups * batch, *rest[layout.batch_dim :])


def _require_size(body: Buffer, size: int) -> None:
    if len(body) != size:
        raise BodyError(f"the body has {len(body)} bytes, the plan says {size}")


def _require_shape(crossing: Crossing, tensor: Tensor, shape: tuple[int, ...]) -> None:
    if tuple(tensor.shape) != shape:
        raise BodyError(
            f"{crossing.name} has the shape {list(tensor.shape)}, the plan says {list(shape)}; give inputs of the "
            "shape that the plan was made for"
        )


def _sample_bytes(crossing: Crossing, bits: int | None, tensor: Tensor, batch: int) -> Bytes:
    assert crossing.layout is not None
    _require_shape(crossing, tensor, graph_shape(crossing, batch))
    rows = to_samples(tensor, crossing.layout)
    if bits is None:
        return _raw(crossing, rows, (batch, *crossing.sample_shape)).reshape(batch, -1)
    return pack_codes(rows.reshape(batch, -1).numpy(), bits)


def _raw(crossing: Crossing, tensor: Tensor, shape: tuple[int, ...]) -> Bytes:
    """The bytes of a tensor, in the order of its dimensions."""
    _require_shape(crossing, tensor, shape)
    if tensor.dtype != getattr(torch, crossing.dtype):
        raise BodyError(f"{crossing.name} is {tensor.dtype}, the plan says {crossing.dtype}")
    flat = tensor.detach().cpu().contiguous().reshape(-1)
    found: Bytes = flat.view(torch.uint8).numpy()
    return found


def _codes(taken: Bytes, crossing: Crossing, bits: int, shape: tuple[int, ...]) -> Tensor:
    try:
        codes = unpack_codes(taken, crossing.sample_elements, bits)
    except ValueError as error:
        raise BodyError(f"{crossing.name}: {error}") from None
    return torch.from_numpy(codes).reshape(shape)


def _tensor(taken: Bytes, crossing: Crossing, shape: tuple[int, ...]) -> Tensor:
    """Raw numbers as a tensor, copied after they are checked."""
    for row in taken if taken.ndim == 2 else (taken,):
        for start in range(0, row.shape[0], _CHUNK):
            if not _is_valid(row[start : start + _CHUNK], crossing.dtype):
                raise BodyError(f"{crossing.name} holds numbers that are not finite, or bytes that are no truth values")
    flat = torch.from_numpy(taken.copy().reshape(-1))
    return flat.view(getattr(torch, crossing.dtype)).reshape(shape)


_FLOATS: dict[str, str] = {
    "float16": "<f2", "float32": "<f4", "float64": "<f8", "complex64": "<f4", "complex128": "<f8",
}  # fmt: skip


def _is_valid(part: Bytes, dtype: str) -> bool:
    if dtype == "bool":
        return bool((part <= 1).all())
    if dtype == "bfloat16":
        halves: NDArray[np.uint16] = part.view("<u2")
        return not bool(((halves & 0x7F80) == 0x7F80).any())
    if dtype in _FLOATS:
        return bool(np.isfinite(part.view(_FLOATS[dtype])).all())
    return True
