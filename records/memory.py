"""How much memory a command may fill: what does not fit lies in unnamed files on the disk, mapped into memory.

Nothing that is computed depends on the budget: a mapped tensor is a tensor like any other. An unnamed file belongs to
its process alone, and the operating system frees it at any end of that process, `kill -9` included.
"""

from __future__ import annotations

import math
import mmap
import os
import tempfile
import threading
import weakref
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .atomic import make_folder
from .errors import CollabplanError
from .units import parse_size

if TYPE_CHECKING:
    import torch

ARRAY_BYTES = 4_000_000_000
"""What arrays may fill where nobody said anything."""

SMALL = 1 << 20
"""Arrays below are not counted."""

_ALIGNED = 64
_TICK_S = 0.02
_LEAST_RESIDENT = 1 << 26


class MemoryBudget:
    """Tensors in memory up to a budget, which all users of the object share; beyond it, in a folder.

    Pages of a file that were read stay in memory until they are too many: a thread then drops them.

    Args:
        array_bytes: the most bytes of tensors in memory.
        folder: where the others lie; None: they are in memory all the same.

    Examples:
        >>> import tempfile, torch
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     memory = MemoryBudget(0, Path(folder))
        ...     rows = memory.empty((1000, 1000), torch.float32).fill_(1)
        ...     memory.spilled_bytes, float(rows.sum())
        (4000000, 1000000.0)
    """

    def __init__(self, array_bytes: int = ARRAY_BYTES, folder: Path | None = None) -> None:
        self.array_bytes, self.folder = array_bytes, folder
        self._held = self._spilled = 0
        self._maps: dict[int, mmap.mmap] = {}
        self._lock = threading.RLock()
        self._watch: threading.Thread | None = None

    @classmethod
    def of_process(cls, most_bytes: int, folder: Path) -> MemoryBudget:
        """The budget of a process that may fill `most_bytes` in all, what it fills already included.

        Half of what is left is for the tensors made here, the other half for what is computed from them.
        """
        return cls(max(most_bytes - resident_bytes(), 0) // 2, folder)

    @property
    def held_bytes(self) -> int:
        """Bytes of tensors in memory now."""
        return self._held

    @property
    def spilled_bytes(self) -> int:
        """Bytes of tensors on the disk now."""
        return self._spilled

    @property
    def spills(self) -> bool:
        """Whether there is a place beyond memory."""
        return self.folder is not None

    def empty(self, shape: Sequence[int], dtype: torch.dtype) -> torch.Tensor:
        """A tensor `shape` without content, on the CPU.

        Raises:
            CollabplanError: it does not fit into memory, nor is there space for it on the disk.
        """
        import numpy as np
        import torch

        size = math.prod(shape) * dtype.itemsize
        if size < SMALL:
            return torch.empty(tuple(shape), dtype=dtype)
        with self._lock:
            spilled = self.folder is not None and self._held + size > self.array_bytes
            base: Any = self._mapped(size) if spilled else np.empty(size + _ALIGNED, dtype=np.uint8)
            if spilled:
                self._spilled += size
            else:
                self._held += size
        weakref.finalize(base, self._release, size, id(base) if spilled else None).atexit = False
        start = -base.ctypes.data % _ALIGNED  # like torch's own: some kernels round by it
        return torch.from_numpy(base[start : start + size]).view(dtype).view(tuple(shape))

    def _mapped(self, size: int) -> Any:
        """An array of bytes in an unnamed file."""
        import numpy as np

        assert self.folder is not None
        try:
            make_folder(self.folder)
            with tempfile.TemporaryFile(dir=self.folder) as file:
                _reserve(file.fileno(), size)
                base: Any = np.memmap(file, dtype=np.uint8, mode="r+", shape=(size,))
        except OSError as error:
            raise CollabplanError(
                f"{size / 1e9:.1f} GB of activations fit neither into --memory nor into {self.folder} "
                f"({error.strerror}); free space there, give more --memory, or fewer samples"
            ) from error
        self._maps[id(base)] = base._mmap
        if self._watch is None and hasattr(mmap, "MADV_DONTNEED"):
            self._watch = threading.Thread(target=self._drop_pages, name="collabplan-memory", daemon=True)
            self._watch.start()
        return base

    def _release(self, size: int, mapped: int | None) -> None:
        with self._lock:
            if mapped is None:
                self._held -= size
            else:
                self._spilled -= size
                del self._maps[mapped]

    def _drop_pages(self) -> None:
        """Drop the pages of all files whenever too many are in memory; what was written to them stays in the files."""
        most = _file_pages_bytes() + max(self.array_bytes // 4, _LEAST_RESIDENT)
        pause = threading.Event()
        while True:
            pause.wait(_TICK_S)
            with self._lock:
                if not self._maps:
                    self._watch = None
                    return
                opened = list(self._maps.values())
            if _file_pages_bytes() > most:
                for each in opened:
                    each.madvise(mmap.MADV_DONTNEED)


UNBOUNDED = MemoryBudget()
"""Everything is in memory."""


def memory_bytes(text: str | None) -> int:
    """What `--memory` says, `4GB`, in bytes; None: half of what is free.

    Raises:
        CollabplanError: it is no size.

    Examples:
        >>> memory_bytes("4GB")
        4000000000
    """
    try:
        return free_bytes() // 2 if text is None else parse_size(text)
    except CollabplanError as error:
        raise CollabplanError(f"--memory: {error}") from None


def free_bytes() -> int:
    """Memory that this process may still fill, with what it fills already: the machine's, or what its group may."""
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
        known = {name: int(rest.split()[0]) * 1024 for name, _, rest in (line.partition(":") for line in lines)}
        free = known["MemAvailable"] + resident_bytes()
    except (OSError, ValueError, KeyError, IndexError):
        try:
            return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2
        except (AttributeError, ValueError, OSError):
            return 2 * ARRAY_BYTES
    return min(free, *group_limits(Path("/sys/fs/cgroup"), Path("/proc/self/cgroup")))


def group_limits(mounted: Path, of_process: Path) -> list[int]:
    """What control groups leave to this process, by group and those above it; versions 1 and 2.

    Args:
        mounted: where the groups are mounted.
        of_process: lists those of the process.
    """
    found: list[int] = []
    try:
        lines = of_process.read_text(encoding="utf-8").splitlines()
    except OSError:
        return found
    for line in lines:
        _, kinds, path = line.split(":", 2)
        if kinds not in ("", "memory"):
            continue
        root = mounted / "memory" if kinds else mounted
        most, used = ("memory.limit_in_bytes", "memory.usage_in_bytes") if kinds else ("memory.max", "memory.current")
        own = root / path.strip("/")
        for folder in (own, *(each for each in own.parents if each == root or root in each.parents)):
            limit, filled = _number(folder / most), _number(folder / used)
            if limit is not None and filled is not None:
                caches = _statistic(folder / "memory.stat", "inactive_file") + resident_bytes()
                found.append(max(limit - max(filled - caches, 0), 0))
    return found


def _number(file: Path) -> int | None:
    try:
        return int(file.read_text(encoding="ascii"))
    except (OSError, ValueError):  # "max"
        return None


def _statistic(file: Path, name: str) -> int:
    try:
        lines = file.read_text(encoding="ascii").splitlines()
        return next((int(line.split()[1]) for line in lines if line.split()[:1] == [name]), 0)
    except (OSError, ValueError, IndexError):
        return 0


def resident_bytes() -> int:
    """What this process fills now; 0 where the system does not say."""
    return _statm(1)


def _file_pages_bytes() -> int:
    """What pages of files fill of that."""
    return _statm(2)


def _statm(field: int) -> int:
    try:
        with open("/proc/self/statm", encoding="ascii") as file:
            return int(file.read().split()[field]) * mmap.PAGESIZE
    except (OSError, ValueError, IndexError):
        return 0


def _reserve(file: int, size: int) -> None:
    """Space for `size` bytes, now: a write into a mapped file that finds the disk full ends the process."""
    if hasattr(os, "posix_fallocate"):
        os.posix_fallocate(file, 0, size)
    else:
        os.truncate(file, size)
