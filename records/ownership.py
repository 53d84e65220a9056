"""Whether other people of a machine may read or change a file.

Windows has neither owner numbers nor mode bits: access follows lists that a file inherits from its folder, and what
`os.stat` reports there says nothing of them. All functions here then answer False.
"""

from __future__ import annotations

import os
import shlex
import stat
from pathlib import Path

_UID_MAP, _OVERFLOW = Path("/proc/self/uid_map"), Path("/proc/sys/kernel/overflowuid")


def grants(state: os.stat_result, bits: int) -> bool:
    """True if the mode of the file has any of `bits`.

    Args:
        state: of the file, best from `os.fstat` of what is open.
        bits: of the mode: 0o077 for whatever anyone but the owner may do.

    Examples:
        >>> grants(os.stat_result((0o100640, *[0] * 9)), bits=0o037)
        False
    """
    return os.name != "nt" and bool(stat.S_IMODE(state.st_mode) & bits)


def may_be_read_by_others(state: os.stat_result) -> bool:
    """True if anyone but the file's owner may read, write or run it.

    Args:
        state: of the file, best from `os.fstat` of what is open.

    Examples:
        >>> may_be_read_by_others(os.stat_result((0o100600, *[0] * 9)))
        False
        >>> may_be_read_by_others(os.stat_result((0o100640, *[0] * 9)))
        True
    """
    return grants(state, 0o077)


def belongs_to_others(state: os.stat_result) -> bool:
    """True if the file belongs to neither this user nor root.

    Args:
        state: of the file or link.

    Examples:
        >>> belongs_to_others(os.stat_result((0o100644, 0, 0, 1, 0, *[0] * 5)))
        False
    """
    return os.name != "nt" and state.st_uid not in (os.geteuid(), *_roots())


def may_be_changed_by_others(state: os.stat_result) -> bool:
    """True if the file belongs to neither this user nor root, or anyone but its owner may write it.

    Args:
        state: of the file, best from `os.fstat` of what is open.

    Examples:
        >>> may_be_changed_by_others(os.stat_result((0o100644, 0, 0, 1, 0, *[0] * 5)))
        False
        >>> may_be_changed_by_others(os.stat_result((0o100664, 0, 0, 1, 0, *[0] * 5)))
        True
    """
    return belongs_to_others(state) or grants(state, 0o022)


def how_others_may_change(path: Path, state: os.stat_result) -> str | None:
    """How somebody else could change a file, and what to do about it, as the end of an error; None if nobody can.

    Args:
        path: the file, as the user named it.
        state: of the file, best from `os.fstat` of what is open.

    Examples:
        >>> how_others_may_change(Path("ca.pem"), os.stat_result((0o100664, 0, 0, 1, 0, *[0] * 5)))
        'may be changed by others; run: chmod go-w ca.pem'
    """
    if belongs_to_others(state):
        return "belongs to another user, who may change it; give a copy of your own"
    if may_be_changed_by_others(state):
        return f"may be changed by others; run: chmod go-w {shlex.quote(str(path))}"
    return None


def _roots() -> tuple[int, ...]:
    """The owner numbers that stand for root.

    In a sandbox whose user namespace leaves root out (bubblewrap), root's files show the overflow number, and so do
    those of everybody else whom it leaves out: user_namespaces(7).
    """
    try:
        outside = [int(line.split()[1]) for line in _UID_MAP.read_text(encoding="ascii").splitlines()]
        return (0,) if 0 in outside else (0, int(_OVERFLOW.read_text(encoding="ascii")))
    except (OSError, ValueError, IndexError):  # no Linux
        return (0,)
