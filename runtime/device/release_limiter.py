"""Counts what was released of each private input, and sends old bytes again in place of new ones.

Who sees q releases of one input with independent masks sees more of it than one release shows; a plan is audited at
some q. The accountant keeps to it: the first q times that an input is asked for, its release is a new one, and ever
after the bytes of the first go again, which tell nothing new. It can refuse instead.

An input is *the same* where its bytes are. With a tolerance, also where it lies at most so far from one that was
released before: the mean absolute difference over all its numbers, in the units of the model's inputs. Every such
near-duplicate is found, as long as what it is near to is remembered; the answer is then that of the earlier input. Not
found: a copy that was shifted, scaled, or is brighter by more than the tolerance; and of a slow drift, every step
beyond it counts as new. Public inputs do not count: the same private input with another public one gets the earlier
answer.

Remembered is as much as fits into `most_bytes`; then the oldest is forgotten, and counts as new when it comes again,
unless there is a store: a SQLite file, readable by its owner alone, that keeps everything.
"""

from __future__ import annotations

import hashlib
import os
import sqlite3
import stat
import threading
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ...records import CollabplanError
from ..wire.bitpacking import Bytes

Beyond = Literal["resend", "refuse"]

_SKETCH = 64
"""Numbers that near-duplicates are looked for by."""


class ReleaseError(CollabplanError):
    """An input was released as often as it may be."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReleasePolicy:
    """How often an input may be released.

    Attributes:
        releases: new releases of one input, at least 1.
        near: largest mean absolute difference of what counts as the same input; 0: exact repeats alone.
        beyond: what happens then: the first release's bytes go again, or the request is refused.
        most_bytes: of memory.
        store: file that remembers across restarts, and more than memory holds.
    """

    releases: int = 1
    near: float = 0.0
    beyond: Beyond = "resend"
    most_bytes: int = 2**28
    store: Path | None = None

    def __post_init__(self) -> None:
        if self.releases < 1 or not self.near >= 0 or self.most_bytes < 1:
            raise CollabplanError("a release policy needs releases >= 1, near >= 0 and some memory")


@dataclass(slots=True)
class _Entry:
    """One input: how often it was released, and the first release's bytes; its numbers where nearness counts."""

    count: int
    row: bytes
    values: NDArray[np.float32] | None = None

    @property
    def size(self) -> int:
        return len(self.row) + 200 + (0 if self.values is None else self.values.nbytes)


class Memory(Protocol):
    """Where entries are kept, by digest, oldest first."""

    def get(self, digest: bytes) -> _Entry | None:
        """The entry, or None."""

    def put(self, digest: bytes, entry: _Entry) -> list[bytes]:
        """Keep an entry; returns the digests that were forgotten for it."""

    def items(self) -> Iterator[tuple[bytes, _Entry]]:
        """All of them."""

    def close(self) -> None:
        """Nothing is asked any more."""


class ReleaseLimiter:
    """Keeps one policy for one plan.

    Args:
        policy: what is kept.
        plan_sha256: a store made under another plan is refused.
        row_bytes: of one release, likewise.

    Raises:
        CollabplanError: the store may be read by others, or is none of ours.
    """

    def __init__(self, policy: ReleasePolicy, plan_sha256: str, row_bytes: int) -> None:
        self.policy = policy
        self.repeated = 0
        self._lock = threading.Lock()
        self._memory: Memory = (
            _InMemory(policy.most_bytes) if policy.store is None else _OnDisk(policy.store, plan_sha256, row_bytes)
        )
        self._sketches = _Sketches()
        if policy.near:
            for digest, entry in self._memory.items():
                if entry.values is not None:
                    self._sketches.add(digest, entry.values)

    def settle(self, private: Sequence[Tensor], rows: Bytes) -> Bytes:
        """What may leave in the place of `rows`.

        Args:
            private: the private inputs, each `[samples, ...]`.
            rows: a new release of them, `[samples, row_bytes]`.

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
        self._memory.close()

    def _settle_one(self, parts: Sequence[Tensor], row: bytes) -> bytes:
        digest = _digest(parts)
        values = _values(parts) if self.policy.near else None
        entry = self._memory.get(digest)
        if entry is None and values is not None:
            found = self._near(values)
            if found is not None:
                digest, entry = found
        if entry is None:
            forgotten = self._memory.put(digest, _Entry(1, row, values))
            if values is not None:
                self._sketches.add(digest, values)
            self._sketches.remove(forgotten)
            return row
        if entry.count < self.policy.releases:
            entry.count += 1
            self._memory.put(digest, entry)
            return row
        if self.policy.beyond == "refuse":
            raise ReleaseError(
                f"this input was released {entry.count} times, which is all that the policy allows; nothing was sent"
            )
        self.repeated += 1
        return entry.row

    def _near(self, values: NDArray[np.float32]) -> tuple[bytes, _Entry] | None:
        """The nearest remembered input within the tolerance."""
        best: tuple[float, bytes, _Entry] | None = None
        for digest in self._sketches.candidates(values, self.policy.near):
            entry = self._memory.get(digest)
            if entry is None or entry.values is None or entry.values.shape != values.shape:
                continue
            distance = float(np.abs(entry.values - values).mean(dtype=np.float64))
            if distance <= self.policy.near and (best is None or distance < best[0]):
                best = distance, digest, entry
        return None if best is None else best[1:]


class _Sketches:
    """Sums over stretches of an input's numbers. By the triangle inequality two inputs whose sums differ by more than
    the tolerance cannot be near, so only the others are looked at, and none that is near is missed."""

    def __init__(self) -> None:
        self._digests: list[bytes] = []
        self._sums = np.empty((0, _SKETCH), dtype=np.float64)

    def add(self, digest: bytes, values: NDArray[np.float32]) -> None:
        count = len(self._digests)
        if count == len(self._sums):
            self._sums = np.concatenate([self._sums, np.empty((max(count, 256), _SKETCH))])
        self._sums[count] = _sums(values)
        self._digests.append(digest)

    def remove(self, digests: Sequence[bytes]) -> None:
        for digest in digests:
            if digest in self._digests:  # the oldest, so at the front
                index = self._digests.index(digest)
                del self._digests[index]
                self._sums = np.delete(self._sums, index, axis=0)

    def candidates(self, values: NDArray[np.float32], near: float) -> list[bytes]:
        count = len(self._digests)
        least = np.abs(self._sums[:count] - _sums(values)).sum(axis=1) / max(values.size, 1)
        slack = 1e-6 * (1 + near)  # of rounding
        return [self._digests[index] for index in np.flatnonzero(least <= near + slack)]


def _sums(values: NDArray[np.float32]) -> NDArray[np.float64]:
    whole = np.zeros(-(-values.size // _SKETCH) * _SKETCH, dtype=np.float64)
    whole[: values.size] = values
    found: NDArray[np.float64] = whole.reshape(_SKETCH, -1).sum(axis=1)
    return found


def _digest(parts: Sequence[Tensor]) -> bytes:
    digest = hashlib.sha256()
    for part in parts:
        digest.update(f"{part.dtype}|{tuple(part.shape)}|".encode())
        digest.update(_raw(part))
    return digest.digest()


def _raw(part: Tensor) -> bytes:
    return part.reshape(-1).view(torch.uint8).numpy().tobytes()


def _values(parts: Sequence[Tensor]) -> NDArray[np.float32]:
    return np.concatenate([part.reshape(-1).float().numpy() for part in parts])


class _InMemory:
    def __init__(self, most_bytes: int) -> None:
        self._most, self._size = most_bytes, 0
        self._entries: OrderedDict[bytes, _Entry] = OrderedDict()

    def get(self, digest: bytes) -> _Entry | None:
        return self._entries.get(digest)

    def put(self, digest: bytes, entry: _Entry) -> list[bytes]:
        if digest not in self._entries:
            self._size += entry.size
        self._entries[digest] = entry
        forgotten = []
        while self._size > self._most and len(self._entries) > 1:
            oldest, gone = self._entries.popitem(last=False)
            self._size -= gone.size
            forgotten.append(oldest)
        return forgotten

    def items(self) -> Iterator[tuple[bytes, _Entry]]:
        return iter(self._entries.items())

    def close(self) -> None:
        self._entries.clear()


class _OnDisk:
    """Entries in SQLite; every change is committed before the bytes leave."""

    def __init__(self, path: Path, plan_sha256: str, row_bytes: int) -> None:
        again = "name another file, or remove it (what was released so far is then forgotten)"
        try:
            handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
            mode = stat.S_IMODE(os.fstat(handle).st_mode)
            os.close(handle)
            if mode & 0o077:
                raise CollabplanError(f"release store {path} may be read by others; run: chmod 600 {path}")
            self._database = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
            self._database.execute("PRAGMA synchronous = FULL")
            self._database.execute("CREATE TABLE IF NOT EXISTS about (plan TEXT PRIMARY KEY, row_bytes INTEGER)")
            self._database.execute(
                "CREATE TABLE IF NOT EXISTS releases "
                "(digest BLOB PRIMARY KEY, count INTEGER NOT NULL, row BLOB NOT NULL, numbers BLOB)"
            )
            known = self._database.execute("SELECT plan, row_bytes FROM about").fetchall()
            if not known:
                self._database.execute("INSERT INTO about VALUES (?, ?)", (plan_sha256, row_bytes))
        except OSError as error:
            raise CollabplanError(f"release store {path} cannot be opened ({error.strerror}); {again}") from None
        except sqlite3.Error as error:
            raise CollabplanError(f"release store {path} is none of ours ({error}); {again}") from None
        if known and known != [(plan_sha256, row_bytes)]:
            raise CollabplanError(f"release store {path} belongs to another plan; {again}")

    def get(self, digest: bytes) -> _Entry | None:
        found = self._database.execute(
            "SELECT count, row, numbers FROM releases WHERE digest = ?", (digest,)
        ).fetchone()
        return None if found is None else _entry(*found)

    def put(self, digest: bytes, entry: _Entry) -> list[bytes]:
        numbers = None if entry.values is None else entry.values.astype("<f4").tobytes()
        self._database.execute(
            "INSERT INTO releases VALUES (?, ?, ?, ?) ON CONFLICT (digest) DO UPDATE SET count = excluded.count",
            (digest, entry.count, entry.row, numbers),
        )
        return []

    def items(self) -> Iterator[tuple[bytes, _Entry]]:
        rows = self._database.execute("SELECT digest, count, row, numbers FROM releases ORDER BY rowid")
        for digest, count, row, numbers in rows:
            yield digest, _entry(count, row, numbers)

    def close(self) -> None:
        self._database.close()


def _entry(count: int, row: bytes, numbers: bytes | None) -> _Entry:
    values = None if numbers is None else np.frombuffer(numbers, dtype="<f4").astype(np.float32)
    return _Entry(count, row, values)
