"""Where a device keeps what it released: in memory up to a number of bytes, or in a SQLite file without a limit."""

from __future__ import annotations

import os
import sqlite3
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from ...records import CollabplanError
from ...records.byte_cache import ByteBoundedCache

_OVERHEAD_BYTES = 200
"""What Python needs for one entry besides its bytes and numbers."""


@dataclass(slots=True)
class ReleasedInput:
    """One input that was released.

    Attributes:
        count: how many different releases of it left the device.
        row: the bytes of the first release.
        values: the input's numbers `[numbers]`; None unless near-duplicates are looked for.
    """

    count: int
    row: bytes
    values: NDArray[np.float32] | None = None

    @property
    def size_bytes(self) -> int:
        """The memory that it takes."""
        return len(self.row) + _OVERHEAD_BYTES + (0 if self.values is None else self.values.nbytes)


class ReleaseStore(Protocol):
    """Keeps released inputs by digest, the oldest first."""

    def get(self, digest: bytes) -> ReleasedInput | None:
        """The input with this digest, or None."""

    def put(self, digest: bytes, released: ReleasedInput) -> list[bytes]:
        """Keep an input. Returns the digests that were forgotten to make room for it."""

    def items(self) -> Iterator[tuple[bytes, ReleasedInput]]:
        """All inputs that are kept."""

    def close(self) -> None:
        """Release what the store holds. Nothing is asked afterwards."""


class MemoryStore:
    """Keeps as many inputs as fit into `most_bytes` (at least one), then forgets the oldest."""

    def __init__(self, most_bytes: int) -> None:
        self._kept = ByteBoundedCache[bytes, ReleasedInput](
            most_bytes, lambda released: released.size_bytes, keeps_newest=True
        )

    def get(self, digest: bytes) -> ReleasedInput | None:
        """The input with this digest, or None."""
        return self._kept.peek(digest)

    def put(self, digest: bytes, released: ReleasedInput) -> list[bytes]:
        """Keep an input. Returns the digests that were forgotten to make room for it."""
        return self._kept.put(digest, released)

    def items(self) -> Iterator[tuple[bytes, ReleasedInput]]:
        """All inputs that are kept."""
        return self._kept.items()

    def close(self) -> None:
        """Forget everything."""
        self._kept.clear()


class SqliteStore:
    """Keeps all inputs in a SQLite file that its owner alone can read. Every change is committed before bytes leave.

    Args:
        path: the file; it is created if it is absent.
        plan_sha256: the plan whose releases it holds. A file of another plan is refused.
        row_bytes: the bytes of one release. A file with another size is refused.

    Raises:
        CollabplanError: others can read the file, it is not a release store, or it belongs to another plan.
    """

    def __init__(self, path: Path, plan_sha256: str, row_bytes: int) -> None:
        again = "name another file, or remove it (what was released so far is then forgotten)"
        try:
            _require_private(path)
            self._database = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
            known = self._owner(plan_sha256, row_bytes)
        except OSError as error:
            raise CollabplanError(f"release store {path} cannot be opened ({error.strerror}); {again}") from None
        except sqlite3.Error as error:
            raise CollabplanError(f"release store {path} is none of ours ({error}); {again}") from None
        if known != (plan_sha256, row_bytes):
            raise CollabplanError(f"release store {path} belongs to another plan; {again}")

    def get(self, digest: bytes) -> ReleasedInput | None:
        """The input with this digest, or None."""
        found = self._database.execute(
            "SELECT count, row, numbers FROM releases WHERE digest = ?", (digest,)
        ).fetchone()
        return None if found is None else _released(*found)

    def put(self, digest: bytes, released: ReleasedInput) -> list[bytes]:
        """Keep an input. Nothing is ever forgotten, so the result is empty."""
        numbers = None if released.values is None else released.values.astype("<f4").tobytes()
        self._database.execute(
            "INSERT INTO releases VALUES (?, ?, ?, ?) ON CONFLICT (digest) DO UPDATE SET count = excluded.count",
            (digest, released.count, released.row, numbers),
        )
        return []

    def items(self) -> Iterator[tuple[bytes, ReleasedInput]]:
        """All inputs that are kept, the oldest first."""
        rows = self._database.execute("SELECT digest, count, row, numbers FROM releases ORDER BY rowid")
        for digest, count, row, numbers in rows:
            yield digest, _released(count, row, numbers)

    def close(self) -> None:
        """Close the file."""
        self._database.close()

    def _owner(self, plan_sha256: str, row_bytes: int) -> tuple[str, int]:
        """The plan and row size that the file belongs to; a new file is given to this plan."""
        self._database.execute("PRAGMA synchronous = FULL")
        self._database.execute("CREATE TABLE IF NOT EXISTS about (plan TEXT PRIMARY KEY, row_bytes INTEGER)")
        self._database.execute(
            "CREATE TABLE IF NOT EXISTS releases "
            "(digest BLOB PRIMARY KEY, count INTEGER NOT NULL, row BLOB NOT NULL, numbers BLOB)"
        )
        known = self._database.execute("SELECT plan, row_bytes FROM about").fetchall()
        if not known:
            self._database.execute("INSERT INTO about VALUES (?, ?)", (plan_sha256, row_bytes))
            return plan_sha256, row_bytes
        plan, size = known[0] if len(known) == 1 else ("", 0)
        return plan, size


def _require_private(path: Path) -> None:
    """Create the file if it is absent, and refuse one that others can read. Raises OSError or CollabplanError."""
    handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    mode = stat.S_IMODE(os.fstat(handle).st_mode)
    os.close(handle)
    if mode & 0o077:
        raise CollabplanError(f"release store {path} may be read by others; run: chmod 600 {path}")


def _released(count: int, row: bytes, numbers: bytes | None) -> ReleasedInput:
    values = None if numbers is None else np.frombuffer(numbers, dtype="<f4").astype(np.float32)
    return ReleasedInput(count, row, values)
