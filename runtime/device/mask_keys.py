"""The file of secret mask keys: one key a line, at least 64 hexadecimal digits, readable by its owner alone.

The last line is the newest key, which is used. To rotate keys, append a line and restart the client. Older lines may
stay for going back, but are not used. A new key gives every input another mask and noise, so each rotation is one more
release of every input that was seen before. No message here holds a key.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path

from ...records import CollabplanError

KEY_BYTES = 32
"""The shortest key: 256 bits."""

_MAKE = "make one with `(umask 077; openssl rand -hex 32 >> KEYFILE)`"


def newest_key(path: Path) -> bytes:
    """Read the newest key from a key file.

    Raises:
        CollabplanError: the file is missing, others can read it, or its last line is not a key.
    """
    try:
        handle = os.open(path, os.O_RDONLY)
        with os.fdopen(handle, "rb") as file:
            state = os.fstat(handle)
            if not stat.S_ISREG(state.st_mode) or stat.S_IMODE(state.st_mode) & 0o077:
                raise CollabplanError(f"mask key file {path} may be read by others; run: chmod 600 {path}")
            lines = file.read().split()
    except FileNotFoundError:
        raise CollabplanError(f"mask key file {path} does not exist; {_MAKE}") from None
    except OSError as error:
        raise CollabplanError(f"mask key file {path} cannot be read ({error.strerror}); {_MAKE}") from None
    if not lines:
        raise CollabplanError(f"mask key file {path} is empty; {_MAKE}")
    try:
        key = bytes.fromhex(lines[-1].decode("ascii"))
    except (ValueError, UnicodeDecodeError):
        raise CollabplanError(f"the last line of mask key file {path} is not hexadecimal; {_MAKE}") from None
    if len(key) < KEY_BYTES:
        raise CollabplanError(
            f"the newest key in {path} has {len(key)} bytes, at least {KEY_BYTES} are needed; {_MAKE}"
        )
    return key
