"""Reads files that count only while others cannot have had a hand in them: secrets, and whom to trust."""

from __future__ import annotations

import os
import shlex
import stat
from collections.abc import Callable
from pathlib import Path

from .errors import CollabplanError
from .ownership import grants, how_others_may_change

MOST_BYTES = 2**22
"""More than any key, and any list of authorities."""

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

    def refusal(state: os.stat_result) -> str | None:
        shown = grants(state, forbidden)
        return f"may be read by others; run: chmod 600 {shlex.quote(str(path))}" if shown else None

    return _read(path, what, refusal, advice)


def read_trusted(path: Path, what: str, *, advice: str) -> bytes:
    """The content of a public file that decides whom to trust, such as a certificate. Anybody may read it.

    Args:
        path: the file.
        what: names it in errors.
        advice: how such a file is made; the end of an error.

    Raises:
        CollabplanError: it is missing, is not a plain file, cannot be read, or others may change it.
    """
    return _read(path, what, lambda state: how_others_may_change(path, state), advice)


def _read(path: Path, what: str, refusal: Callable[[os.stat_result], str | None], advice: str) -> bytes:
    try:
        handle = os.open(path, _FLAGS)
        with os.fdopen(handle, "rb") as file:
            state = os.fstat(handle)
            if not stat.S_ISREG(state.st_mode):
                raise CollabplanError(f"{what} {path} is not a plain file; {advice}")
            refused = refusal(state)
            if refused is not None:
                raise CollabplanError(f"{what} {path} {refused}")
            data = file.read(MOST_BYTES + 1)
    except FileNotFoundError:
        raise CollabplanError(f"{what} {path} does not exist; {advice}") from None
    except OSError as error:
        raise CollabplanError(f"{what} {path} cannot be read ({error.strerror}); {advice}") from None
    if len(data) > MOST_BYTES:
        raise CollabplanError(f"{what} {path} is larger than any such file; {advice}")
    return data
