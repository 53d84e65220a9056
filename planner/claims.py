"""Claims in a store that all machines reach: who makes which file, and whether that machine still lives.

A claim is a small entry that is created if it is absent, which the store does in one step. Whoever holds it changes it
every `HEARTBEAT_S`. A claim that stays the same for `GRACE_S` by the clock of whoever watches it is a dead machine's:
clocks of machines need not agree. The next machine then creates the entry's next generation, which again one of them
can, and nothing that another may have made is ever removed by mistake. A machine that was only slow goes on, and makes
the same file a second time: equal names have equal content.
"""

from __future__ import annotations

import contextlib
import os
import socket
import threading
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from ..records.atomic import make_folder

HEARTBEAT_S, GRACE_S = 20.0, 120.0

_MACHINE = f"{socket.gethostname()}-{uuid.getnode():x}"


class ClaimStore(Protocol):
    """Small texts by name."""

    def create(self, name: str, text: str) -> bool:
        """Make an entry in one step; False where there is one."""

    def change(self, name: str, text: str) -> None:
        """Replace an entry's text."""

    def read(self, prefix: str) -> dict[str, str]:
        """The entries whose names begin so."""

    def remove(self, name: str) -> None:
        """Remove an entry if it is there."""


@dataclass(frozen=True, slots=True)
class _Held:
    """A claim of this process, with what ends its signs of life."""

    entry: str
    stop: threading.Event
    thread: threading.Thread


@dataclass
class Claims:
    """The claims of one process.

    Attributes:
        store: holds those of all machines.
        heartbeat_s: between two signs of life.
        grace_s: without one, until a claim is a dead machine's.
        clock: seconds that only grow.
    """

    store: ClaimStore
    heartbeat_s: float = HEARTBEAT_S
    grace_s: float = GRACE_S
    clock: Callable[[], float] = time.monotonic
    _held: dict[str, _Held] = field(default_factory=dict)
    _seen: dict[str, tuple[str, float]] = field(default_factory=dict)

    def claim(self, name: str) -> bool:
        """Claim `name`, or find that this process has. False where another one has, and lives."""
        if name in self._held:
            return True
        generations = self._generations(name)
        latest = max(generations, default=-1)
        if latest >= 0 and self._lives(f"{name}.{latest}", generations[latest]):
            return False
        entry, mark = f"{name}.{latest + 1}", f"{_MACHINE} {os.getpid()} {uuid.uuid4().hex}"
        if not self.store.create(entry, f"{mark} 0"):
            return False
        stop = threading.Event()
        thread = threading.Thread(target=self._beat, args=(entry, mark, stop), daemon=True)
        self._held[name] = _Held(entry, stop, thread)
        thread.start()
        return True

    def give_up(self, name: str) -> None:
        """End a claim of this process; nothing where it has none."""
        held = self._held.pop(name, None)
        if held is None:
            return
        held.stop.set()
        held.thread.join()
        own = int(held.entry.rpartition(".")[2])
        # The oldest first: else a dead machine's claim would be the latest for a moment.
        for generation in sorted(each for each in self._generations(name) if each <= own):
            self.store.remove(f"{name}.{generation}")

    def _generations(self, name: str) -> dict[int, str]:
        """The texts of all claims of `name`, by generation."""
        found = {}
        for entry, text in self.store.read(f"{name}.").items():
            number = entry.removeprefix(f"{name}.")
            if number.isdecimal():
                found[int(number)] = text
        return found

    def _lives(self, entry: str, text: str) -> bool:
        if _died_here(text):
            return False
        before, since = self._seen.get(entry, ("", 0.0))
        if before != text:
            self._seen[entry] = text, self.clock()
            return True
        return self.clock() - since < self.grace_s

    def _beat(self, entry: str, mark: str, stop: threading.Event) -> None:
        beats = 0
        while not stop.wait(self.heartbeat_s):
            beats += 1
            with contextlib.suppress(Exception):  # a store that is away for a moment must not end the work
                self.store.change(entry, f"{mark} {beats}")


def _died_here(text: str) -> bool:
    """Whether a claim is of a process of this machine that is gone: the same command may go on at once."""
    machine, _, rest = text.partition(" ")
    number = rest.partition(" ")[0]
    if machine != _MACHINE or not number.isdecimal():
        return False
    try:
        os.kill(int(number), 0)
    except ProcessLookupError:
        return True
    except OSError:
        pass  # it is another user's, and lives
    return False


@dataclass(frozen=True)
class FolderClaims:
    """Claims as files of a folder that all machines see."""

    folder: Path

    def create(self, name: str, text: str) -> bool:
        """Make an entry in one step; False where there is one."""
        make_folder(self.folder)
        try:
            with open(self.folder / name, "x", encoding="utf-8") as file:
                file.write(text)
        except FileExistsError:
            return False
        return True

    def change(self, name: str, text: str) -> None:
        """Replace an entry's text. Raises OSError where it was removed."""
        with open(self.folder / name, "r+", encoding="utf-8") as file:
            file.write(text)

    def read(self, prefix: str) -> dict[str, str]:
        """The entries whose names begin so."""
        found = {}
        for path in self.folder.glob(f"{prefix}*"):
            with contextlib.suppress(FileNotFoundError):  # given up since
                found[path.name] = path.read_text(encoding="utf-8")
        return found

    def remove(self, name: str) -> None:
        """Remove an entry if it is there."""
        (self.folder / name).unlink(missing_ok=True)


@dataclass(frozen=True)
class BucketClaims:
    """Claims as objects of an S3 bucket, made by conditional writes.

    Attributes:
        client: of boto3.
        bucket: its name.
        prefix: of all keys.
    """

    client: Any
    bucket: str
    prefix: str

    def create(self, name: str, text: str) -> bool:
        """Make an entry in one step; False where there is one."""
        try:
            self.client.put_object(Bucket=self.bucket, Key=self.prefix + name, Body=text.encode(), IfNoneMatch="*")
        except Exception as error:  # botocore makes its classes when they are asked for
            if _code(error) in ("PreconditionFailed", "ConditionalRequestConflict"):
                return False
            raise
        return True

    def change(self, name: str, text: str) -> None:
        """Replace an entry's text."""
        self.client.put_object(Bucket=self.bucket, Key=self.prefix + name, Body=text.encode())

    def read(self, prefix: str) -> dict[str, str]:
        """The entries whose names begin so; there are few."""
        found = {}
        listed = self.client.list_objects_v2(Bucket=self.bucket, Prefix=self.prefix + prefix)
        for key in (each["Key"] for each in listed.get("Contents", ())):
            try:
                body = self.client.get_object(Bucket=self.bucket, Key=key)["Body"]
            except Exception as error:
                if _code(error) in ("NoSuchKey", "404"):
                    continue  # given up since
                raise
            found[key.removeprefix(self.prefix)] = body.read().decode(errors="replace")
        return found

    def remove(self, name: str) -> None:
        """Remove an entry if it is there."""
        self.client.delete_object(Bucket=self.bucket, Key=self.prefix + name)


def _code(error: Exception) -> str:
    """What S3 calls an error."""
    response = getattr(error, "response", {})
    return str(response.get("Error", {}).get("Code", ""))
