"""What a device released: in a SQLite file, or in memory up to a number of bytes.

Each decision is one transaction that holds the store's only write lock (BEGIN IMMEDIATE), so that clients on one store
decide one after the other and each sees what the others released. Inputs are named by a digest under a salt of the
store: two stores do not show that they hold the same input.

Nothing that was released is forgotten. A file grows. When memory is full, the oldest releases lose their bytes but not
their digests and counts; when nothing is left to drop, the store takes no further input.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import secrets
import shlex
import sqlite3
import stat
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from ...records import CollabplanError
from ...records.ownership import may_be_read_by_others
from .errors import ReleaseError
from .near_duplicates import NearDuplicateIndex, Numbers

_DIGEST_BYTES = 16
_PAGE_BYTES = 4096
_FEWEST_PAGES = 48
"""What the tables need before they hold anything, with some room."""

_RETRY_S = 0.005

_APPLICATION, _VERSION = 0x636F6C6C, 2
_TABLES = (
    "CREATE TABLE about (plan TEXT NOT NULL, row_bytes INTEGER NOT NULL, salt BLOB NOT NULL, near INTEGER NOT NULL)",
    "CREATE TABLE releases "
    "(id INTEGER PRIMARY KEY, digest BLOB NOT NULL UNIQUE, count INTEGER NOT NULL, claims INTEGER NOT NULL)",
    "CREATE TABLE first_rows (id INTEGER PRIMARY KEY, bytes BLOB NOT NULL)",
    f"PRAGMA application_id = {_APPLICATION}",
    f"PRAGMA user_version = {_VERSION}",
)


@dataclass(frozen=True, slots=True)
class Claim:
    """How one sample of one request counts; taken back if the request never leaves.

    Attributes:
        number: of the input in the store.
        further: True for a further release of the input, False for its first one or a repeat of that.
    """

    number: int
    further: bool


class MemoryFullError(ReleaseError):
    """Memory holds as many releases as it may."""


class ReleaseStore:
    """Released inputs by digest. Not safe to share between threads.

    Args:
        path: the file, which is created if it is absent; None: in memory.
        plan_sha256: the plan whose releases it holds. A file of another plan is refused.
        row_bytes: the bytes of one release. A file with another size is refused.
        keeps_numbers: keep the numbers of each input, to find near-duplicates.
        most_bytes: of memory; 192 KiB at least. A file has no limit.
        wait_s: how long to wait, in seconds, for other clients of a file.

    Raises:
        CollabplanError: others can read or write the file, it is not a release store, it belongs to another plan, it
            holds inputs without their numbers, or it cannot be used now.
    """

    def __init__(
        self,
        path: Path | None,
        plan_sha256: str,
        row_bytes: int,
        *,
        keeps_numbers: bool = False,
        most_bytes: int = 2**28,
        wait_s: float = 5.0,
    ) -> None:
        self._path, self._keeps_numbers = path, 0
        if path is not None:
            _require_private(path)
        try:
            self._database = sqlite3.connect(
                _database_name(path), timeout=wait_s, check_same_thread=False, isolation_level=None
            )
            self._index = NearDuplicateIndex(self._database)
            self._prepare(most_bytes, wait_s)
            with self._transaction():
                self._salt = self._owned(plan_sha256, row_bytes, keeps_numbers)
        except sqlite3.Error as error:
            raise CollabplanError(self._explained(error)) from None

    @contextlib.contextmanager
    def decision(self) -> Iterator[None]:
        """A block in which nobody else decides. What it wrote counts once it ends, and not if it raises.

        Raises:
            MemoryFullError: memory is full; `make_room` may help.
            ReleaseError: the file cannot be used now: locked, full or damaged.
        """
        try:
            with self._transaction():
                # Another client may have given the store to near-duplicates since this one opened it.
                (self._keeps_numbers,) = self._database.execute("SELECT near FROM about").fetchone()
                yield
        except sqlite3.Error as error:
            full = self._path is None and _code(error) == sqlite3.SQLITE_FULL
            kind = MemoryFullError if full else ReleaseError
            raise kind(f"{self._explained(error)}; nothing was sent") from None

    def digest(self, parts: Sequence[bytes]) -> bytes:
        """The name of an input in this store, from the parts that make it the same input."""
        found = hashlib.blake2b(key=self._salt, digest_size=_DIGEST_BYTES)
        for part in parts:
            found.update(len(part).to_bytes(8, "little") + part)
        return found.digest()

    def find(self, digest: bytes) -> int | None:
        """The number of the input with this digest, or None."""
        found = self._database.execute("SELECT id FROM releases WHERE digest = ?", (digest,)).fetchone()
        return None if found is None else int(found[0])

    def nearest(self, values: Numbers, near: float) -> int | None:
        """The number of the nearest input within a mean absolute difference of `near`, or None."""
        return self._index.nearest(values, near)

    def count(self, number: int) -> int:
        """How many different releases of an input left the device or are about to."""
        (count,) = self._database.execute("SELECT count FROM releases WHERE id = ?", (number,)).fetchone()
        return int(count)

    def first_row(self, number: int) -> bytes | None:
        """The bytes of an input's first release; None if memory had no room for them any more."""
        found = self._database.execute("SELECT bytes FROM first_rows WHERE id = ?", (number,)).fetchone()
        return None if found is None else bytes(found[0])

    def add(self, digest: bytes, row: bytes, values: Numbers | None) -> Claim:
        """Keep the first release of an input; `values` holds its numbers if near-duplicates are looked for."""
        added = self._database.execute("INSERT INTO releases VALUES (NULL, ?, 1, 1)", (digest,))
        number = int(added.lastrowid or 0)
        self._database.execute("INSERT INTO first_rows VALUES (?, ?)", (number, row))
        if values is not None:
            self._index.add(number, values)
        return Claim(number, further=False)

    def add_further(self, number: int) -> Claim:
        """Count one more release of an input."""
        self._database.execute("UPDATE releases SET count = count + 1 WHERE id = ?", (number,))
        return Claim(number, further=True)

    def add_repeat(self, number: int) -> Claim:
        """Note that the first release of an input is sent once more."""
        self._database.execute("UPDATE releases SET claims = claims + 1 WHERE id = ?", (number,))
        return Claim(number, further=False)

    def take_back(self, claims: Sequence[Claim]) -> None:
        """Undo the claims of a request that never left. An input that has no claims left was never released."""
        for claim in claims:
            column = "count" if claim.further else "claims"
            self._database.execute(f"UPDATE releases SET {column} = {column} - 1 WHERE id = ?", (claim.number,))
            gone = self._database.execute(
                "DELETE FROM releases WHERE id = ? AND count = 1 AND claims = 0", (claim.number,)
            )
            if gone.rowcount:
                self._database.execute("DELETE FROM first_rows WHERE id = ?", (claim.number,))
                if self._keeps_numbers:
                    self._index.remove(claim.number)

    @property
    def keeps_numbers(self) -> bool:
        """True if each input's numbers are kept; asked within a decision."""
        return bool(self._keeps_numbers)

    def make_room(self) -> bool:
        """Drop the bytes of the oldest quarter of releases. False for a file, and if there is nothing to drop."""
        if self._path is not None:
            return False
        with self._transaction():
            oldest, newest = self._database.execute("SELECT min(id), max(id) FROM first_rows").fetchone()
            if oldest is None:
                return False
            self._database.execute("DELETE FROM first_rows WHERE id <= ?", (oldest + (newest - oldest) // 4,))
        return True

    def close(self) -> None:
        """Close the file, or forget what is in memory."""
        self._database.close()

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[None]:
        self._database.execute("BEGIN IMMEDIATE")
        try:
            yield
            self._database.execute("COMMIT")
        except BaseException:
            if self._database.in_transaction:  # SQLite ends some that failed by itself
                self._database.execute("ROLLBACK")
            raise

    def _prepare(self, most_bytes: int, wait_s: float) -> None:
        """Set up the connection. A file that is none of ours is refused before anything in it is changed."""
        if self._path is None:
            pages = max(most_bytes // _PAGE_BYTES, _FEWEST_PAGES)
            self._database.execute(f"PRAGMA page_size = {_PAGE_BYTES}")
            self._database.execute(f"PRAGMA max_page_count = {pages}")
            return
        self._require_ours()
        self._keep_log(time.monotonic() + wait_s)
        self._database.execute("PRAGMA synchronous = FULL")

    def _keep_log(self, until: float) -> None:
        """Switch the file to a write-ahead log. Where two clients do so at once, SQLite refuses one without waiting."""
        while True:
            try:
                self._database.execute("PRAGMA journal_mode = WAL")
            except sqlite3.OperationalError as error:
                if _code(error) != sqlite3.SQLITE_BUSY or time.monotonic() > until:
                    raise
                time.sleep(_RETRY_S)
            else:
                return

    def _require_ours(self) -> bool:
        """False for a file that holds nothing yet. Raises CollabplanError for one that is none of ours."""
        (tables,) = self._database.execute("SELECT count(*) FROM sqlite_master").fetchone()
        if not tables:
            return False
        (application,) = self._database.execute("PRAGMA application_id").fetchone()
        (version,) = self._database.execute("PRAGMA user_version").fetchone()
        if application != _APPLICATION:
            raise CollabplanError(f"release store {self._path} is none of ours; name another file")
        if version != _VERSION:
            raise CollabplanError(
                f"release store {self._path} was made by another version of collabplan (version {version}, this one "
                f"reads {_VERSION}); use that version, or name another file, which knows nothing of earlier releases"
            )
        return True

    def _owned(self, plan_sha256: str, row_bytes: int, keeps_numbers: bool) -> bytes:
        """The salt. An empty store is given to this plan, and to near-duplicates if it is to keep numbers."""
        if not self._require_ours():
            for statement in _TABLES:
                self._database.execute(statement)
            known = (plan_sha256, row_bytes, secrets.token_bytes(32), 0)
            self._database.execute("INSERT INTO about VALUES (?, ?, ?, ?)", known)
        plan, size, salt, has_numbers = self._database.execute("SELECT * FROM about").fetchone()
        if (plan, size) != (plan_sha256, row_bytes):
            raise CollabplanError(f"release store {self._path} belongs to another plan; name another file")
        if keeps_numbers and not has_numbers:
            (held,) = self._database.execute("SELECT EXISTS (SELECT * FROM releases)").fetchone()
            if held:
                raise CollabplanError(
                    f"release store {self._path} was filled without --near, so near-duplicates of what it holds cannot "
                    "be found; leave --near out, or name another file, which knows nothing of earlier releases"
                )
            self._index.create()
            self._database.execute("UPDATE about SET near = 1")
        return bytes(salt)

    def _explained(self, error: sqlite3.Error) -> str:
        """One line on what failed and what to do. It never advises to remove the store, which would forget."""
        store = "the memory of releases" if self._path is None else f"release store {self._path}"
        match _code(error):
            case sqlite3.SQLITE_BUSY | sqlite3.SQLITE_LOCKED:
                return f"{store} is in use by another program; wait until that is done, and try again"
            case sqlite3.SQLITE_FULL if self._path is None:
                return (
                    f"{store} is full, and no input may be forgotten; give --release-store FILE (store=) or more "
                    "memory (most_bytes=)"
                )
            case sqlite3.SQLITE_FULL:
                return f"no space is left for {store}; free some space and try again"
            case sqlite3.SQLITE_READONLY | sqlite3.SQLITE_CANTOPEN | sqlite3.SQLITE_PERM:
                return f"{store} cannot be opened or written ({error}); make it and its folder writable"
            case sqlite3.SQLITE_NOTADB:
                return f"{store} is none of ours ({error}); name another file"
            case sqlite3.SQLITE_CORRUPT:
                return f"{store} is damaged ({error}); put its newest copy in its place"
            case _ if "no such module: rtree" in str(error):
                return "--near needs SQLite's R*Tree, which this Python lacks; use another Python, or leave --near out"
            case _:
                return f"{store} cannot be used ({error}); try again"


def _code(error: sqlite3.Error) -> int:
    """SQLite's primary result code; errors of the Python module itself have none."""
    return int(getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR)) & 0xFF


def _database_name(path: Path | None) -> str:
    """What SQLite opens. A relative path might spell a URI, or `:memory:`; an absolute one is a file's."""
    return ":memory:" if path is None else str(path.absolute())


def _require_private(path: Path) -> None:
    """Create the file if it is absent, and refuse one that is not its user's alone. Raises CollabplanError.

    A file that exists is not opened here: closing it would drop the locks that this process's other connections hold on
    it, and a program that closes the file next would then remove the log to which they write
    (https://sqlite.org/howtocorrupt.html, section 2.2).
    """
    try:
        with contextlib.suppress(FileExistsError):
            os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))
        state = path.stat()
    except OSError as error:
        raise CollabplanError(
            f"release store {path} cannot be opened ({error.strerror}); name a file that you may write"
        ) from None
    if not stat.S_ISREG(state.st_mode):
        raise CollabplanError(f"release store {path} cannot be opened (it is not a plain file); name another one")
    if may_be_read_by_others(state):
        raise CollabplanError(f"release store {path} may be read by others; run: chmod 600 {shlex.quote(str(path))}")
