"""The calls that are open on a server: who may open one, and which have been silent for too long."""

from __future__ import annotations

import contextlib
import ipaddress
import threading
import time
from collections.abc import Iterator
from typing import Any, Literal
from urllib.parse import unquote

Activity = Literal["reading", "running", "sending"]


class TooManyStreamsError(Exception):
    """The server holds as many calls as it may, in all or from one address."""


class Stream:
    """One client's call: what it is doing, and since when. Safe to use from several threads.

    Args:
        context: the gRPC context of the call; only its `cancel` is used.
        peer: the client's address, as `address_of` returns it.
    """

    def __init__(self, context: Any, peer: str = "") -> None:
        self.peer = peer
        self._context, self._lock = context, threading.Lock()
        self._activity: Activity = "reading"
        self._since, self._ended = time.monotonic(), False

    @property
    def reading(self) -> bool:
        """True while the call waits for a request."""
        return self._activity == "reading"

    def begin(self, activity: Activity) -> bool:
        """Note what the call does from now on. False if the call was ended in the meantime."""
        with self._lock:
            self._activity, self._since = activity, time.monotonic()
            return not self._ended

    def end_if_silent(self, *, idle_s: float) -> bool:
        """Cancel the call if its client has been silent for `idle_s` seconds. A running request is never cancelled.

        Returns:
            True if the call is cancelled now.
        """
        with self._lock:
            waits = self._activity != "running" and time.monotonic() - self._since >= idle_s
            if self._ended or not waits:
                return False
            self._ended = True
        self._context.cancel()
        return True


class OpenStreams:
    """All calls of one kind on a server.

    Args:
        most: the most calls at once.
        most_per_peer: the most of one address; None: `most`.
        makes_room: where there is no room, end the call that has waited longest for its request, of the same address
            first. A client that sends its request with the call waits for no time, so it is not the one that is ended.
    """

    def __init__(self, most: int, most_per_peer: int | None = None, *, makes_room: bool = False) -> None:
        self._most, self._most_per_peer, self._makes_room = most, most_per_peer or most, makes_room
        self._lock = threading.Lock()
        self._streams: dict[Stream, None] = {}  # in the order in which they were opened

    def __len__(self) -> int:
        return len(self._streams)

    @contextlib.contextmanager
    def opened(self, context: Any, peer: str = "") -> Iterator[Stream]:
        """Within: one more call.

        Args:
            context: the gRPC context of the call.
            peer: the client's address.

        Raises:
            TooManyStreamsError: there are as many calls as may be, and none of them makes room.
        """
        stream = Stream(context, peer)
        with self._lock:
            self._require_room(peer)
            self._streams[stream] = None
        try:
            yield stream
        finally:
            with self._lock:
                self._streams.pop(stream, None)

    def end_silent(self, *, idle_s: float, reading_only: bool = False) -> None:
        """Cancel the calls whose clients have been silent for `idle_s` seconds.

        Args:
            idle_s: seconds without a request or an answer.
            reading_only: spare the calls that are sending an answer.
        """
        with self._lock:
            streams = list(self._streams)
        for stream in streams:
            if stream.reading or not reading_only:
                stream.end_if_silent(idle_s=idle_s)

    def _require_room(self, peer: str) -> None:
        """Raise TooManyStreamsError if one more call of `peer` cannot be taken. The caller holds the lock."""
        of_peer = [stream for stream in self._streams if stream.peer == peer]
        if len(of_peer) >= self._most_per_peer and not self._ended_one(of_peer):
            raise TooManyStreamsError("the server holds as many streams of this address as it may; close one first")
        if len(self._streams) >= self._most and not self._ended_one(list(self._streams)):
            raise TooManyStreamsError("the server holds as many streams as it may; try again later")

    def _ended_one(self, streams: list[Stream]) -> bool:
        """True if one of `streams` made room. The caller holds the lock."""
        if self._makes_room:
            for stream in streams:
                if stream.reading and stream.end_if_silent(idle_s=0.0):
                    del self._streams[stream]
                    return True
        return False


def address_of(peer: str) -> str:
    """The address in what gRPC calls a peer. One of IPv6 stands for its network of 2^64, which one customer holds.

    Examples:
        >>> address_of("ipv4:192.0.2.7:50112"), address_of("ipv6:%5B2001:db8::7%5D:50112")
        ('192.0.2.7', '2001:db8::/64')
    """
    host = unquote(peer).partition(":")[2].rpartition(":")[0].strip("[]").partition("%")[0]
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return host or peer
    if isinstance(address, ipaddress.IPv4Address):
        return str(address)
    if address.ipv4_mapped is not None:
        return str(address.ipv4_mapped)
    return str(ipaddress.ip_network((int(address) >> 64 << 64, 64)))
