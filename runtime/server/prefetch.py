"""Reads a stream's next requests while earlier ones run, so that micro-batches fill."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterator
from typing import Generic, TypeVar

from ..wire.framing import FrameError

Item = TypeVar("Item")

AHEAD = 1
"""How many requests of a stream are read ahead, besides the one that is answered next."""


class ReadAhead(Generic[Item]):
    """Applies `make` to a stream's frames in a thread of its own, and yields the results in order. Iterate it once.

    The iterator ends when the stream ends or breaks off. It raises the FrameError that `make` raised.

    Args:
        frames: the stream.
        make: called with each frame, at most `AHEAD` frames before its result is wanted.
    """

    def __init__(self, frames: Iterator[bytes], make: Callable[[bytes], Item]) -> None:
        self._frames, self._make = frames, make
        self._items: deque[Item] = deque()
        self._changed = threading.Condition()
        self._ended = self._left = False
        self._error: FrameError | None = None
        threading.Thread(target=self._read, name="collabplan-prefetch", daemon=True).start()

    @property
    def pending(self) -> bool:
        """True if a result waits to be yielded."""
        return bool(self._items)

    def leave(self) -> None:
        """Stop reading: no further result is wanted."""
        with self._changed:
            self._left = True
            self._changed.notify_all()

    def __iter__(self) -> Iterator[Item]:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._items or self._ended)
                if not self._items:
                    break
                item = self._items.popleft()
                self._changed.notify_all()
            yield item
        if self._error is not None:
            raise self._error

    def _read(self) -> None:
        try:
            for frame in self._frames:
                with self._changed:
                    self._changed.wait_for(lambda: self._left or len(self._items) < AHEAD)
                    if self._left:
                        return
                item = self._make(frame)
                with self._changed:
                    self._items.append(item)
                    self._changed.notify_all()
        except FrameError as error:
            self._error = error
        except Exception:
            pass  # gRPC raises when the stream is over
        finally:
            with self._changed:
                self._ended = True
                self._changed.notify_all()
