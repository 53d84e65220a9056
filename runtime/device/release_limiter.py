"""Limits how often each private input is released, and sends the first release again once the limit is reached.

Whoever sees q releases of one input under independent masks learns more about it than one release shows, and a plan is
audited at a certain q. The release limiter keeps to it: the first q times that an input is asked for, its release is a
new one. From then on the first release is sent again, which reveals nothing new, or the request is refused.

Two inputs are *the same* if their bytes are. With a tolerance, they are also the same if their mean absolute
difference, over all numbers and in the units of the model's inputs, is at most the tolerance. Every such near-duplicate
of a remembered input is found, and gets the earlier input's answer. Not found are copies that are shifted, scaled, or
brighter by more than the tolerance; each step of a slow drift beyond the tolerance counts as a new input. Public inputs
do not count: the same private input with another public one gets the earlier answer.

Without a store the limiter remembers what fits into `most_bytes`, and forgets the oldest input first. A forgotten input
counts as new when it comes again. A store, a SQLite file that its owner alone can read, keeps everything.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ...records import CollabplanError
from ..wire.bitpacking import Bytes
from .errors import ReleaseError
from .near_duplicates import NearDuplicateIndex
from .release_store import MemoryStore, ReleasedInput, ReleaseStore, SqliteStore

Beyond = Literal["resend", "refuse"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ReleasePolicy:
    """How often an input may be released.

    Attributes:
        releases: new releases of one input, at least 1.
        near: the largest mean absolute difference between two inputs that count as the same, in the inputs' units;
            0 finds exact repeats alone.
        beyond: what happens after that: "resend" sends the first release again, "refuse" raises ReleaseError.
        most_bytes: the memory for remembered inputs, without a store.
        store: a file that remembers all inputs, also across restarts.

    Raises:
        CollabplanError: a value is out of range.

    Examples:
        >>> ReleasePolicy(releases=10, beyond="refuse").near
        0.0
    """

    releases: int = 1
    near: float = 0.0
    beyond: Beyond = "resend"
    most_bytes: int = 2**28
    store: Path | None = None

    def __post_init__(self) -> None:
        if self.releases < 1 or not self.near >= 0 or self.most_bytes < 1:
            raise CollabplanError("a release policy needs releases >= 1, near >= 0 and most_bytes >= 1")


class ReleaseLimiter:
    """Keeps one policy for one plan. May be used from several threads.

    Args:
        policy: what is kept.
        plan_sha256: a store of another plan is refused.
        row_bytes: the bytes of one release; a store with another size is refused.

    Attributes:
        repeated: the samples for which earlier bytes were sent again.

    Raises:
        CollabplanError: others can read the store, it is not a release store, or it belongs to another plan.
    """

    def __init__(self, policy: ReleasePolicy, plan_sha256: str, row_bytes: int) -> None:
        self.policy = policy
        self.repeated = 0
        self._lock = threading.Lock()
        self._store: ReleaseStore = (
            MemoryStore(policy.most_bytes)
            if policy.store is None
            else SqliteStore(policy.store, plan_sha256, row_bytes)
        )
        self._near_duplicates = NearDuplicateIndex()
        if policy.near:
            for digest, released in self._store.items():
                if released.values is not None:
                    self._near_duplicates.add(digest, released.values)

    def settle(self, private: Sequence[Tensor], rows: Bytes) -> Bytes:
        """Decide what leaves the device: the new release of each sample, or an earlier one.

        Args:
            private: the private inputs, each `[samples, ...]`.
            rows: a new release of them, `[samples, row_bytes]`.

        Returns:
            `[samples, row_bytes]`.

        Raises:
            ReleaseError: a sample was released as often as it may be, and the policy refuses more.
        """
        settled = rows.copy()
        with self._lock:
            for index in range(rows.shape[0]):
                parts = [tensor[index].detach().cpu().contiguous() for tensor in private]
                settled[index] = np.frombuffer(self._settle_one(parts, rows[index].tobytes()), dtype=np.uint8)
        return settled

    def close(self) -> None:
        """Close the store."""
        self._store.close()

    def _settle_one(self, parts: Sequence[Tensor], row: bytes) -> bytes:
        digest = _digest(parts)
        values = _values(parts) if self.policy.near else None
        released = self._store.get(digest)
        if released is None and values is not None:
            found = self._nearest(values)
            if found is not None:
                digest, released = found
        if released is None:
            self._remember(digest, ReleasedInput(1, row, values))
            return row
        if released.count < self.policy.releases:
            released.count += 1
            self._store.put(digest, released)
            return row
        if self.policy.beyond == "refuse":
            raise ReleaseError(
                f"this input was released {released.count} times, which is all that the policy allows; nothing was sent"
            )
        self.repeated += 1
        return released.row

    def _remember(self, digest: bytes, released: ReleasedInput) -> None:
        forgotten = self._store.put(digest, released)
        if released.values is not None:
            self._near_duplicates.add(digest, released.values)
        self._near_duplicates.remove(forgotten)

    def _nearest(self, values: NDArray[np.float32]) -> tuple[bytes, ReleasedInput] | None:
        """The nearest remembered input within the tolerance."""
        best: tuple[float, bytes, ReleasedInput] | None = None
        for digest in self._near_duplicates.candidates(values, self.policy.near):
            released = self._store.get(digest)
            if released is None or released.values is None or released.values.shape != values.shape:
                continue
            distance = float(np.abs(released.values - values).mean(dtype=np.float64))
            if distance <= self.policy.near and (best is None or distance < best[0]):
                best = distance, digest, released
        return None if best is None else best[1:]


def _digest(parts: Sequence[Tensor]) -> bytes:
    digest = hashlib.sha256()
    for part in parts:
        digest.update(f"{part.dtype}|{tuple(part.shape)}|".encode())
        digest.update(part.reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.digest()


def _values(parts: Sequence[Tensor]) -> NDArray[np.float32]:
    return np.concatenate([part.reshape(-1).float().numpy() for part in parts])
