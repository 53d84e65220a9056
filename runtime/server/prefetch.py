"""Reads a stream's requests while earlier ones run, so that a micro-batch finds the next ones waiting."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterator
from typing import Generic, TypeVar

from ..wire.framing import FrameError

Item = TypeVar("Item")

AHEAD = 1
"""Requests of a stream that are read beside the one that is answered next."""


class ReadAhead(Generic[Item]):
    """What `make` gives of a stream's frames, in their order, made by a thread of its own. Iterated once.

    The iterator ends where the stream ends or breaks off, and raises the FrameError that `make` raised.
    """

    def __init__(self, frames: Iterator[bytes], make: Callable[[bytes], Item]) -> None:
        self._frames, self._make = frames, make
        self._items: deque[Item] = deque()
        self._changed = threading.Condition()
        self._ended = self._left = False
        self._error: FrameError | None = None
        threading.Thread(target=self._read, name="collabplan-ahead", daemon=True).start()

    @property
    def pending(self) -> bool:
        """True where something was read that was not handed out."""
        return bool(self._items)

    def leave(self) -> None:
        """Nothing more is wanted."""
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
            pass  # gRPC's way to say that the stream is over
        finally:
            with self._changed:
                self._ended = True
                self._changed.notify_all()
