"""The C library's memory, for a process that runs networks over and over."""

from __future__ import annotations

import contextlib
import ctypes

_TRIM_THRESHOLD, _TOP_PAD, _MMAP_MAX, _ARENA_MAX = -1, -2, -4, -8
"""Of glibc's malloc.h."""

_NEVER, _STEP = 2**31 - 1, 64 * 2**20


def keep_memory() -> None:
    """Have the process allocate from one heap, and hand nothing of it back. Does nothing without glibc.

    Else glibc maps large tensors anew in each run, or hands the heap's end back and takes it again, by how they happen
    to lie: thousands of page faults, a third of MobileNetV2's time at 224 x 224, in one process and not in the next, so
    that none predicts another. Threads that start from now on share the heap: each would have one of its own, with the
    same fate. The process stays as large as it ever was.
    """
    with contextlib.suppress(OSError, AttributeError):
        library = ctypes.CDLL(None)
        for option, value in ((_TRIM_THRESHOLD, _NEVER), (_TOP_PAD, _STEP), (_MMAP_MAX, 0), (_ARENA_MAX, 1)):
            library.mallopt(option, value)
