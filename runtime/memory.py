"""The C library's memory, for a process that runs networks in several threads."""

from __future__ import annotations

import contextlib
import ctypes

_ARENA_MAX = -8
"""`M_ARENA_MAX` of glibc's malloc.h."""


def use_one_arena() -> None:
    """Have all threads that start from now on allocate from the main heap. Does nothing without glibc.

    glibc gives threads heaps of their own, which it hands back to the system whenever their end is free: large tensors
    are then mapped anew in each request (8 % of the throughput of VGG-11's second half), and each of many threads
    keeps memory to itself.
    """
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).mallopt(_ARENA_MAX, 1)
