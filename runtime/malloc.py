"""Settings of the C library's allocator for a process that runs networks over and over."""

from __future__ import annotations

import contextlib
import ctypes

_TRIM_THRESHOLD, _TOP_PAD, _MMAP_MAX, _ARENA_MAX = -1, -2, -4, -8
"""Option numbers from glibc's malloc.h."""

_NEVER, _STEP = 2**31 - 1, 64 * 2**20


def keep_memory() -> None:
    """Have this process allocate from one heap and return none of it to the system. Does nothing without glibc.

    By default glibc maps large tensors anew in each run, or shrinks and grows the heap, depending on where they lie.
    That costs thousands of page faults, a third of MobileNetV2's time at 224 x 224, in one process and not in the next,
    so that no timing predicts another. Threads that start later share the heap too. The process never shrinks.

    Source: the manual page mallopt(3).
    """
    with contextlib.suppress(OSError, AttributeError):
        library = ctypes.CDLL(None)
        for option, value in ((_TRIM_THRESHOLD, _NEVER), (_TOP_PAD, _STEP), (_MMAP_MAX, 0), (_ARENA_MAX, 1)):
            library.mallopt(option, value)
