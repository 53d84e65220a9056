"""The streams that are open on a server: who may open one, and which have been silent for too long."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator
from typing import Any, Literal

Activity = Literal["reading", "running", "sending"]


class TooManyStreamsError(Exception):
    """The server has as many streams as it takes."""


class Stream:
    """One client's stream: what it is doing, and since when. Safe to use from several threads.

    Args:
        context: the gRPC context of the call; only its `cancel` is used.
    """

    def __init__(self, context: Any) -> None:
        self._context, self._lock = context, threading.Lock()
        self._activity: Activity = "reading"
        self._since, self._ended = time.monotonic(), False

    @property
    def reading(self) -> bool:
        """True while the stream waits for a request."""
        return self._activity == "reading"

    def begin(self, activity: Activity) -> bool:
        """Note what the stream does from now on. False if the stream was ended in the meantime."""
        with self._lock:
            self._activity, self._since = activity, time.monotonic()
            return not self._ended

    def end_if_silent(self, *, idle_s: float) -> None:
        """Cancel the call if its client has been silent for `idle_s` seconds. A running request is never cancelled."""
        with self._lock:
            waits = self._activity != "running" and time.monotonic() - self._since >= idle_s
            if self._ended or not waits:
                return
            self._ended = True
        self._context.cancel()


class OpenStreams:
    """All streams of a server, at most `most` of them."""

    def __init__(self, most: int) -> None:
        self._most, self._lock = most, threading.Lock()
        self._streams: set[Stream] = set()

    def __len__(self) -> int:
        return len(self._streams)

    @contextlib.contextmanager
    def opened(self, context: Any) -> Iterator[Stream]:
        """Within: one more stream.

        Raises:
            TooManyStreamsError: `most` streams are open already.
        """
        stream = Stream(context)
        with self._lock:
            if len(self._streams) >= self._most:
                raise TooManyStreamsError("the server has as many streams as it takes")
            self._streams.add(stream)
        try:
            yield stream
        finally:
            with self._lock:
                self._streams.discard(stream)

    def end_silent(self, *, idle_s: float, reading_only: bool = False) -> None:
        """Cancel the streams whose clients have been silent for `idle_s` seconds.

        Args:
            idle_s: seconds without a request or an answer.
            reading_only: spare the streams that are sending an answer.
        """
        with self._lock:
            streams = list(self._streams)
        for stream in streams:
            if stream.reading or not reading_only:
                stream.end_if_silent(idle_s=idle_s)
