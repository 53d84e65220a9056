"""Where masks and noise come from: a seeded generator (simulation), the operating system, or a secret key.

*Fresh* numbers are the deployed default. With them, q releases of one input leave a unit unseen with probability p^q
only. *Keyed* ones do not compose away: the same input always gets the same mask and noise, so that repeated queries
tell nothing new. What they cost: equal inputs make equal releases, and who knows that two inputs differ by less than
half a level of uint8 sees the same noise twice. No seed and no key stands in any record, log or `repr`.
"""

from __future__ import annotations

import hashlib
import hmac
import math
import os
from collections.abc import Sequence
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from ..records import CollabplanError

SECRET_BYTES = 16
"""The shortest secret that is taken: 128 bits."""


class Randomness(Protocol):
    """Numbers for the release of some samples, first dimension the sample."""

    def uniform(self, name: str, shape: Sequence[int]) -> Tensor:
        """Uniform on [0, 1), float32 of `shape` `[rows, ...]`, multiples of 2^-24. `name` says what they are for."""

    def normal(self, name: str, shape: Sequence[int]) -> Tensor:
        """Standard normal, float32 of `shape` `[rows, ...]`."""


class Simulated:
    """Draws from an explicit seeded generator: for estimates and tests, never for what is deployed."""

    def __init__(self, generator: torch.Generator) -> None:
        self._generator = generator

    def uniform(self, name: str, shape: Sequence[int]) -> Tensor:  # noqa: ARG002
        """The generator's next numbers, on its device; `name` changes nothing."""
        return torch.rand(tuple(shape), generator=self._generator, device=self._generator.device)

    def normal(self, name: str, shape: Sequence[int]) -> Tensor:  # noqa: ARG002
        """The generator's next numbers, on its device; `name` changes nothing."""
        return torch.randn(tuple(shape), generator=self._generator, device=self._generator.device)


class Fresh:
    """The operating system's cryptographic generator: no state of ours, nothing that could be asked for again."""

    def uniform(self, name: str, shape: Sequence[int]) -> Tensor:  # noqa: ARG002
        """Fresh numbers; `name` changes nothing."""
        return _uniform(os.urandom(4 * math.prod(shape))).reshape(tuple(shape))

    def normal(self, name: str, shape: Sequence[int]) -> Tensor:  # noqa: ARG002
        """Fresh numbers; `name` changes nothing."""
        return _normal(os.urandom(4 * math.prod(shape))).reshape(tuple(shape))


class Keyed:
    """A function of (secret, context, input, name): the same four give the same numbers, on any hardware.

    Each sample has its own stream: seed = HMAC-SHA256(secret, context, input), numbers = SHAKE-256(seed, name). So a
    sample's numbers depend neither on its place in the batch nor on the batch. Bits are equal everywhere; a
    normal number may differ in its last digit between mathematical libraries.

    Args:
        secret: at least 16 bytes that only the device knows, for example `secrets.token_bytes(32)`.
        context: what the numbers are for (a plan's hash): other contexts give independent numbers.
        inputs: the private inputs of the samples, one tensor or several, each `[rows, ...]`: pixels in [0, 1], read as
            the nearest of 256 levels so that a decoder's or accelerator's last digits do not change the
            mask; uint8, those levels themselves; or other integers (token ids), read as they are.

    Raises:
        CollabplanError: a short secret; inputs outside [0, 1], with NaN, or that disagree about the rows.
    """

    def __init__(self, secret: bytes, context: bytes, inputs: Tensor | Sequence[Tensor]) -> None:
        if not isinstance(secret, bytes) or len(secret) < SECRET_BYTES:
            found = f"{len(secret)} bytes" if isinstance(secret, bytes) else type(secret).__name__
            raise CollabplanError(
                f"a mask key needs a secret of at least {SECRET_BYTES} bytes, got {found}; use secrets.token_bytes(32)"
            )
        tensors = [inputs] if isinstance(inputs, Tensor) else list(inputs)
        if not tensors or len({tensor.shape[0] for tensor in tensors}) != 1:
            raise CollabplanError("keyed masks need at least one private input, and the same number of rows in each")
        keyed = hmac.new(secret, _framed(context), hashlib.sha256)
        columns = [_canonical(tensor) for tensor in tensors]
        self._seeds = []
        for parts in zip(*columns, strict=True):
            one = keyed.copy()
            for part in parts:
                one.update(_framed(part))
            self._seeds.append(one.digest())

    def __repr__(self) -> str:
        return f"Keyed({len(self._seeds)} samples, secret hidden)"

    def __reduce__(self) -> str:
        raise CollabplanError("keyed masks are never stored; make them anew from the secret")

    def uniform(self, name: str, shape: Sequence[int]) -> Tensor:
        """The samples' numbers called `name`. Raises CollabplanError where `shape` has another number of rows."""
        return _uniform(self._words("uniform", name, shape)).reshape(tuple(shape))

    def normal(self, name: str, shape: Sequence[int]) -> Tensor:
        """The samples' numbers called `name`. Raises CollabplanError where `shape` has another number of rows."""
        return _normal(self._words("normal", name, shape)).reshape(tuple(shape))

    def _words(self, law: str, name: str, shape: Sequence[int]) -> bytes:
        if shape[0] != len(self._seeds):
            raise CollabplanError(f"keyed for {len(self._seeds)} samples, asked for masks of {shape[0]}")
        label = _framed(law.encode()) + _framed(name.encode())
        size = 4 * math.prod(shape[1:])
        return b"".join(hashlib.shake_256(seed + label).digest(size) for seed in self._seeds)


def _framed(part: bytes) -> bytes:
    """With its length before it: no two lists of parts spell the same bytes."""
    return len(part).to_bytes(8, "little") + part


def _canonical(tensor: Tensor) -> list[bytes]:
    """One canonical form per sample: shape, kind and values."""
    rows = tensor.detach().cpu().reshape(tensor.shape[0], -1)
    if rows.is_complex():
        raise CollabplanError("a complex private input has no canonical form for keyed masks; give the model its pairs")
    if rows.is_floating_point():
        if not bool(((rows >= 0) & (rows <= 1)).all()):
            raise CollabplanError("private inputs must lie in [0, 1] (and hold no NaN); use InputScaling.to_unit")
        rows = (rows.double() * 255).round().to(torch.uint8)
    levels = rows.dtype == torch.uint8
    head = repr((tuple(tensor.shape[1:]), "levels" if levels else "integers")).encode()
    values = rows.numpy() if levels else rows.to(torch.int64).numpy().astype("<i8")
    return [_framed(head) + row.tobytes() for row in values]


def _uniform(words: bytes) -> Tensor:
    """float32 from the upper 24 bits of each 32-bit word: every value of float32's own spacing below 1."""
    upper = np.frombuffer(words, dtype="<u4") >> 8
    return torch.from_numpy(upper.astype(np.float32) * np.float32(2**-24))


def _normal(words: bytes) -> Tensor:
    """float32 by the inverse distribution function of the middle of each word's cell; at most 6.3 in size."""
    middles = (np.frombuffer(words, dtype="<u4").astype(np.float64) + 0.5) * 2.0**-32
    numbers: Tensor = torch.special.ndtri(torch.from_numpy(middles))
    return numbers.float()
