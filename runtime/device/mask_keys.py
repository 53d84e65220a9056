"""The file of secret mask keys: one key a line, at least 64 hexadecimal digits, readable by its owner alone.

The last line is the newest key, which is used. To rotate keys, append a line and restart the client. Older lines may
stay for going back, but are not used. A new key gives every input another mask and noise, so each rotation is one more
release of every input that was seen before. No message here holds a key.
"""

from __future__ import annotations

from pathlib import Path

from ...records import CollabplanError, read_private

KEY_BYTES = 32
"""The shortest key: 256 bits."""

_MAKE = "make one with `(umask 077; openssl rand -hex 32 >> KEYFILE)`"


def newest_key(path: Path) -> bytes:
    """Read the newest key from a key file.

    Raises:
        CollabplanError: the file is missing, others can read it, or its last line is not a key.
    """
    lines = read_private(path, "mask key file", forbidden=0o077, advice=_MAKE).split()
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
