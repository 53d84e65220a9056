"""The body of a request: what the defense released, as bytes of constant size.

Sample after sample; within a sample crossing after crossing, its codes packed to the plan's bits or its numbers as they
are. Tensors without samples (public ones) come last. No shape travels: both sides know all of them from the manifest
and the number of samples.

`DefendedCodec` is the plan's own wire. `PlainCodec` is for verification alone: the crossing tensors as they are, each
after the order of its dimensions in memory, since some kernels round differently by it.
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
    """A body that is not what the plan says: another size, numbers that are not finite, bits that mean nothing."""


@dataclass(frozen=True)
class DefendedCodec:
    """The bodies of a plan's wire."""

    defense: Defense

    @cached_property
    def _columns(self) -> list[tuple[Crossing, int | None, int]]:
        """Per crossing that has samples: its bits (None: as it is) and bytes of one sample."""
        return [(c, bits, size) for c, bits, size in self._all if c.layout is not None]

    @cached_property
    def _fixed(self) -> list[tuple[Crossing, int | None, int]]:
        return [(c, bits, size) for c, bits, size in self._all if c.layout is None]

    @cached_property
    def _all(self) -> list[tuple[Crossing, int | None, int]]:
        found: list[tuple[Crossing, int | None, int]] = []
        for crossing in self.defense.coded.crossing:
            bits = self.defense.spec.bits if self.defense.acts_on(crossing) else None
            elements = crossing.sample_elements
            size = elements * crossing.element_bytes if bits is None else packed_bytes(elements, bits)
            found.append((crossing, bits, size))
        return found

    @cached_property
    def row_bytes(self) -> int:
        """Bytes of one sample."""
        return sum(size for _, _, size in self._columns)

    @cached_property
    def fixed_bytes(self) -> int:
        """Bytes that a request has once, however many samples it holds."""
        return sum(size for _, _, size in self._fixed)

    def body_bytes(self, batch: int) -> int:
        """The size of a body of `batch` samples."""
        return batch * self.row_bytes + self.fixed_bytes

    def rows(self, released: Sequence[Tensor], batch: int) -> Bytes:
        """`[batch, row_bytes]`: what `Defense.release` gave, sample by sample.

        Raises:
            BodyError: a tensor of another shape or dtype than the plan says.
        """
        made = [
            _sample_bytes(crossing, bits, tensor, batch)
            for (crossing, bits, _), tensor in zip(self._all, released, strict=True)
            if crossing.layout is not None
        ]
        return made[0] if len(made) == 1 else np.concatenate(made, axis=1)

    def fixed(self, released: Sequence[Tensor]) -> bytes:
        """What a request holds once. Raises BodyError."""
        parts = [
            _raw(crossing, tensor, crossing.sample_shape)
            for (crossing, _, _), tensor in zip(self._all, released, strict=True)
            if crossing.layout is None
        ]
        return b"".join(part.tobytes() for part in parts)

    def pack(self, released: Sequence[Tensor], batch: int) -> bytes:
        """The body of one request. Raises BodyError."""
        return self.rows(released, batch).tobytes() + self.fixed(released)

    def unpack(self, body: Buffer, batch: int) -> tuple[Tensor, ...]:
        """What was released, for `Defense.receive`.

        Raises:
            BodyError: before anything is allocated: another size, numbers that are not finite, bits without a meaning.
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
    """Bodies of the crossing tensors themselves."""

    defense: Defense

    def body_bytes(self, batch: int) -> int:
        """The size of a body of `batch` samples."""
        return sum(
            _MOST_DIMS + math.prod(graph_shape(crossing, batch)) * crossing.element_bytes
            for crossing in self.defense.crossing
        )

    def pack(self, tensors: Sequence[Tensor], batch: int) -> bytes:
        """The body of one request. Raises BodyError."""
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
        """The crossing tensors, laid in memory as they were. Raises BodyError."""
        _require_size(body, self.body_bytes(batch))
        flat, tensors, start = np.frombuffer(body, dtype=np.uint8), [], 0
        for crossing in self.defense.crossing:
            shape = graph_shape(crossing, batch)
            order = flat[start : start + len(shape)].tolist()
            if sorted(order) != list(range(len(shape))):
                raise BodyError(f"{crossing.name} came with an order of dimensions that is none")
            start += _MOST_DIMS
            size = math.prod(shape) * crossing.element_bytes
            laid = _tensor(flat[start : start + size], crossing, tuple(shape[dim] for dim in order))
            tensors.append(laid.permute([order.index(dim) for dim in range(len(shape))]))
            start += size
        return tuple(tensors)


def graph_shape(crossing: Crossing, batch: int) -> tuple[int, ...]:
    """The shape of a crossing tensor of `batch` samples, as the graph has it."""
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
            "shape that was planned for"
        )


def _sample_bytes(crossing: Crossing, bits: int | None, tensor: Tensor, batch: int) -> Bytes:
    assert crossing.layout is not None
    _require_shape(crossing, tensor, graph_shape(crossing, batch))
    rows = to_samples(tensor, crossing.layout)
    if bits is None:
        return _raw(crossing, rows, (batch, *crossing.sample_shape)).reshape(batch, -1)
    return pack_codes(rows.reshape(batch, -1).numpy(), bits)


def _raw(crossing: Crossing, tensor: Tensor, shape: tuple[int, ...]) -> Bytes:
    """The tensor's own bytes, in the order of its dimensions."""
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
    """Raw numbers, copied once they are known to be sound."""
    for row in taken if taken.ndim == 2 else (taken,):
        for start in range(0, row.shape[0], _CHUNK):
            if not _sound(row[start : start + _CHUNK], crossing.dtype):
                raise BodyError(f"{crossing.name} holds numbers that are not finite, or no truth values")
    flat = torch.from_numpy(taken.copy().reshape(-1))
    return flat.view(getattr(torch, crossing.dtype)).reshape(shape)


_FLOATS: dict[str, str] = {
    "float16": "<f2", "float32": "<f4", "float64": "<f8", "complex64": "<f4", "complex128": "<f8",
}  # fmt: skip


def _sound(part: Bytes, dtype: str) -> bool:
    if dtype == "bool":
        return bool((part <= 1).all())
    if dtype == "bfloat16":
        halves: NDArray[np.uint16] = part.view("<u2")
        return not bool(((halves & 0x7F80) == 0x7F80).any())
    if dtype in _FLOATS:
        return bool(np.isfinite(part.view(_FLOATS[dtype])).all())
    return True
