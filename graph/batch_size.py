"""How many samples a device takes at once: fewer each time its memory runs out."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator
from typing import TypeVar

import torch

from ..records import CollabplanError

T = TypeVar("T")

_WORDS = ("out of memory", "can't allocate memory", "ALLOC_FAILED")
"""In errors of devices and libraries that do not raise `torch.OutOfMemoryError`: Apple GPUs, CPUs, cuBLAS and cuDNN."""


def out_of_memory(error: BaseException) -> bool:
    """Whether a device's memory did not suffice.

    Examples:
        >>> out_of_memory(RuntimeError("MPS backend out of memory")), out_of_memory(RuntimeError("sizes differ"))
        (True, False)
    """
    if isinstance(error, torch.OutOfMemoryError):
        return True
    return isinstance(error, RuntimeError) and any(word in str(error) for word in _WORDS)


class BatchSize:
    """A batch size that is halved each time the memory runs out, and stays so.

    Args:
        size: samples to begin with.
        fixed: no other size can be run.

    Examples:
        >>> batch = BatchSize(4)
        >>> [(part.start, part.stop) for part in batch.over(6, lambda part: part)]
        [(0, 4), (4, 6)]
    """

    def __init__(self, size: int, *, fixed: bool = False) -> None:
        self.size, self._fixed = size, fixed

    def attempt(self, run: Callable[[], T]) -> T:
        """What `run` gives, which reads `size` and is called again from its beginning after each halving.

        Raises:
            CollabplanError: the memory does not suffice for one sample, or for the only size that can be run.
        """
        while True:
            try:
                return run()
            except RuntimeError as error:
                if not out_of_memory(error):
                    raise
                if self._fixed or self.size == 1:
                    raise CollabplanError(self._refusal(error)) from error
            # Out here nothing refers to the error any more, whose frames hold what filled the memory.
            self.size //= 2
            _give_back()

    def over(self, count: int, run: Callable[[slice], T]) -> Iterator[T]:
        """What `run` gives for successive samples out of `count`, at most `size` at a time.

        Only what did not fit is run again. Raises CollabplanError as `attempt`.
        """
        start = 0

        def piece() -> tuple[int, T]:
            stop = min(start + self.size, count)
            return stop, run(slice(start, stop))

        while start < count:
            start, made = self.attempt(piece)
            yield made

    def _refusal(self, error: BaseException) -> str:
        some = "one sample" if self.size == 1 else f"{self.size} samples, which this model runs together,"
        said = str(error).partition("\n")[0].rstrip(". ")
        return f"the memory does not suffice for {some} at a time ({said}); free some, or run it with --device cpu"


def _give_back() -> None:
    """Return what allocators keep for later, so that a smaller batch finds room in one piece."""
    gc.collect()
    if torch.accelerator.is_available():
        torch.accelerator.empty_cache()
