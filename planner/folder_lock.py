"""One writer per folder: studies, caches and plans of `.collabplan` are written by one process at a time."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from filelock import FileLock, Timeout

from ..records import CollabplanError, write_text
from ..records.atomic import make_folder, write_failure

LOCK_FILE = "lock"

_NO_LINK = getattr(os, "O_NOFOLLOW", 0)
"""Windows has no such flag; only administrators make links there by default."""


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold `folder` for this process, and create it if it is absent.

    The operating system frees the lock when the process ends, even if it is killed.

    Raises:
        CollabplanError: another process holds the folder, or it cannot be written or locked.
    """
    file = folder / LOCK_FILE
    try:
        make_folder(folder)
        if not (folder / ".gitignore").exists():
            write_text(folder / ".gitignore", "*\n")
        os.close(os.open(file, os.O_CREAT | os.O_RDWR | _NO_LINK, 0o600))
    except OSError as error:
        if file.is_symlink():
            raise CollabplanError(f"{file} is a link, which this would write through; remove it") from None
        raise CollabplanError(write_failure(file, error)) from error
    lock = FileLock(file)
    _acquire(lock, file)
    try:
        yield
    finally:
        lock.release()


def _acquire(lock: FileLock, file: Path) -> None:
    try:
        lock.acquire(timeout=0)
    except Timeout:
        holder = _holder(file)
        raise CollabplanError(
            f"another optimize{f' (process {holder})' if holder else ''} is writing to {file.parent}; "
            "wait until it ends, stop it, or work in another folder"
        ) from None
    except OSError as error:
        raise CollabplanError(f"cannot lock {file.parent}: {error.strerror}; keep it on a local disk") from error
    with (
        contextlib.suppress(OSError),  # the number only serves the message above; a full disk must not matter here
        open(os.open(file, os.O_WRONLY | os.O_TRUNC | _NO_LINK), "w", encoding="ascii") as held,
    ):
        held.write(str(os.getpid()))


def _holder(file: Path) -> str:
    """The process that holds the lock, or nothing if it cannot be read."""
    try:
        return file.read_text(encoding="ascii", errors="replace")[:32].strip()
    except OSError:
        return ""
