"""Reads secrets from files that their owner guards."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from .errors import CollabplanError
from .ownership import grants

_FLAGS = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
"""A pipe does not wait for its writer. Windows has no such flag, but turns line ends unless asked not to."""


def read_private(path: Path, what: str, *, forbidden: int, advice: str) -> bytes:
    """The content of a secret file. The file that is checked is the one that is read.

    Args:
        path: the file.
        what: names it in errors.
        forbidden: bits of the mode that it must not have: 0o077 for a file of its owner alone. Windows has none.
        advice: how such a file is made; the end of an error.

    Raises:
        CollabplanError: it is missing, is not a plain file, cannot be read, or others may read or change it.
    """
    try:
        handle = os.open(path, _FLAGS)
        with os.fdopen(handle, "rb") as file:
            state = os.fstat(handle)
            if not stat.S_ISREG(state.st_mode):
                raise CollabplanError(f"{what} {path} is not a plain file; {advice}")
            if grants(state, forbidden):
                raise CollabplanError(f"{what} {path} may be read by others; run: chmod 600 {path}")
            return file.read()
    except FileNotFoundError:
        raise CollabplanError(f"{what} {path} does not exist; {advice}") from None
    except OSError as error:
        raise CollabplanError(f"{what} {path} cannot be read ({error.strerror}); {advice}") from None
