"""Files appear whole or not at all: written to a temporary name beside the target, then renamed."""

from __future__ import annotations

import errno
import os
import tempfile
from pathlib import Path

from .errors import CollabplanError


def write_bytes(path: Path, data: bytes) -> None:
    """Write `data` to `path` atomically; the parent folder is made when absent.

    Raises:
        CollabplanError: no space is left, or the folder cannot be written. The target is untouched.
    """
    path = Path(path)
    temporary: str | None = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".tmp")
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o666 & ~current_umask())
        os.replace(temporary, path)
    except OSError as error:
        if temporary is not None and os.path.exists(temporary):
            os.unlink(temporary)
        raise CollabplanError(write_failure(path, error)) from error


def write_text(path: Path, text: str) -> None:
    """`write_bytes` of UTF-8 text. Raises the same."""
    write_bytes(path, text.encode())


def write_failure(path: Path, error: OSError) -> str:
    """One sentence for a failed write: what, where, what to do."""
    if error.errno == errno.ENOSPC:
        return f"no space left on the device for {path}; free some space and run again (nothing was half written)"
    return f"cannot write {path}: {error.strerror or error}; choose a writable place with -o"


def current_umask() -> int:
    """The process's umask (it can only be read by setting it)."""
    mask = os.umask(0)
    os.umask(mask)
    return mask
