"""Temporary files beside what is written, and those that killed processes left.

A process holds a lock on its temporary file, which the operating system frees with the process. A temporary file that
nobody holds is a leftover. Where files cannot be locked (Windows, some network drives) none is taken for one.
"""

from __future__ import annotations

import contextlib
import os
import re
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

_ENDING = r"[a-z0-9_]{8}\.tmp"
_ANY = re.compile(rf"\..*\.{_ENDING}")
_FLAGS = os.O_RDWR | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)

if sys.platform == "win32":  # a file that is locked there can be neither read nor renamed

    def _locked(handle: int, *, waits: bool) -> bool:  # noqa: ARG001
        return False
else:
    import fcntl

    def _locked(handle: int, *, waits: bool) -> bool:
        """Lock an open file until it is closed; False if that is not possible, or another process has."""
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | (0 if waits else fcntl.LOCK_NB))
        except OSError:
            return False
        return True


@contextmanager
def temporary_file(path: Path) -> Iterator[tuple[BinaryIO, str]]:
    """A new file beside `path`, to be renamed to it within the block; otherwise it is removed.

    Args:
        path: the file that is to be written, in a folder that exists.

    Yields:
        The open file, and its name.

    Raises:
        OSError: it cannot be made.

    Examples:
        >>> with tempfile.TemporaryDirectory() as folder, temporary_file(Path(folder) / "plan.json") as (file, name):
        ...     file.close()
        ...     Path(name).name.startswith(".plan.json.")
        True
    """
    handle, name = _new(path)
    held = None if sys.platform == "win32" else os.dup(handle)
    try:
        yield os.fdopen(handle, "wb"), name
    finally:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(name)
        if held is not None:
            os.close(held)


def _new(path: Path) -> tuple[int, str]:
    while True:
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".tmp")
        _locked(handle, waits=True)
        if os.path.exists(name):
            return handle, name
        os.close(handle)  # another process took it for a leftover before it was locked


def clear_leftovers(path: Path) -> None:
    """Remove what killed processes left beside `path` when they wrote it, or files named after it.

    Args:
        path: the file. Other files of its stem are looked after too: those beside `plan.json` begin with `plan.`.

    Examples:
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     (Path(folder) / ".plan.json.abcd_123.tmp").touch()
        ...     clear_leftovers(Path(folder) / "plan.json")
        ...     os.listdir(folder)
        []
    """
    ours = re.compile(rf"\.{re.escape(path.stem)}\.(.*\.)?{_ENDING}")
    with contextlib.suppress(OSError):
        for name in os.listdir(path.parent):
            if ours.fullmatch(name):
                _remove(path.with_name(name))


def clear_leftovers_below(folder: Path) -> None:
    """Remove what killed processes left in a folder that only collabplan writes to, and in those below it.

    Args:
        folder: it need not exist.
    """
    for file in folder.rglob(".*.tmp"):
        if _ANY.fullmatch(file.name):
            _remove(file)


def _remove(file: Path) -> None:
    """Remove a temporary file that no process holds, or an empty folder."""
    with contextlib.suppress(OSError):
        if file.is_dir():
            file.rmdir()
            return
        handle = os.open(file, _FLAGS)
        try:
            if _locked(handle, waits=False):
                os.unlink(file)
        finally:
            os.close(handle)
