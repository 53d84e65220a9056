"""Simulates a link of a given bandwidth and round trip in user space, by a TCP proxy on loopback.

`Lane` models one direction of one connection by arithmetic alone: from the time at which bytes enter, it computes when
the last of them has passed. It has no clock, so the same bytes at the same times always arrive at the same times. Bytes
leave at the link's rate, each segment with its headers, and arrive one delay later. TCP's slow start is simulated
segment by segment (RFC 6928, RFC 5681). The kernel's own slow start does not show, because the loopback connections on
both sides of the proxy have almost no round trip. `profilers.link` has the closed form of the same model.

`ShapingProxy` delays real bytes accordingly. It runs in threads. `ShapedLink` runs it in a process of its own, because
a thread that waits for another thread's interpreter lock is late by milliseconds.
"""

from __future__ import annotations

import argparse
import contextlib
import math
import queue
import socket
import sys
import threading
import time
from dataclasses import dataclass, field

from ..records import CollabplanError, Link, parse_bandwidth, parse_duration_ms
from ..records.link import HEADER_BYTES, INITIAL_WINDOW_SEGMENTS, SEGMENT_BYTES
from .child_process import ChildProcess

RESTART_S = 0.2
"""Linux's least retransmission timeout: a connection that was idle for longer goes through slow start again."""

_PIECE_BYTES = 1 << 16
_MOST_PIECES = 4096
_SPIN_S = 0.0003
"""A sleep may end this much late, so the last part of a wait is spent in a loop."""


@dataclass(frozen=True, slots=True)
class Shape:
    """The properties of a shaped link.

    Attributes:
        up_bps, down_bps: bits per second in each direction.
        rtt_ms: the round trip in milliseconds.
        slow_start: simulate TCP's slow start.
        restart_s: the pause in seconds after which slow start begins again.
    """

    up_bps: float
    down_bps: float
    rtt_ms: float
    slow_start: bool = True
    restart_s: float = RESTART_S

    @classmethod
    def parse(cls, text: str) -> Shape:
        """Read `20mbps,15ms`, or `20mbps/5mbps,15ms` if the bandwidth down differs.

        Raises:
            CollabplanError: the text has another form.
        """
        rates, comma, rtt = text.partition(",")
        up, slash, down = rates.partition("/")
        if not comma or (slash and not down):
            raise CollabplanError(f"{text!r} is not a link; write bandwidth and round trip, for example 20mbps,15ms")
        return cls(parse_bandwidth(up), parse_bandwidth(down) if slash else parse_bandwidth(up), parse_duration_ms(rtt))

    @classmethod
    def of(cls, link: Link, *, restart_s: float = RESTART_S) -> Shape:
        """The shape of a declared or measured link, without its spread."""
        return cls(link.bandwidth_bps, link.back.bandwidth_bps, link.rtt_ms, link.slow_start, restart_s)

    @property
    def link(self) -> Link:
        """The same as a `Link`, for predictions."""
        down = None if self.down_bps == self.up_bps else self.down_bps
        return Link(bandwidth_bps=self.up_bps, rtt_ms=self.rtt_ms, download_bps=down, slow_start=self.slow_start)


@dataclass(slots=True)
class Lane:
    """One direction of one connection. All times are in seconds on any one clock.

    While TCP's window grows, segment j since the last restart leaves when ceil((j - 9) / 2) of the earlier segments are
    acknowledged: each acknowledgement lets two follow. When enough segments are under way to fill the round trip, the
    rate alone counts.
    """

    bits_per_s: float
    delay_s: float
    slow_start: bool = True
    restart_s: float = RESTART_S
    _free: float = 0.0
    _quiet: float = -math.inf
    _ends: list[float] = field(default_factory=list)
    _open: bool = False

    def arrival(self, now: float, size: int) -> float:
        """The time at which the last of `size` bytes arrives that enter at `now`. Call it in the order of time."""
        if now > self._quiet + self.restart_s:
            self._ends, self._open = [], not self.slow_start
        left = size
        while left > 0 and not self._open:
            segment = min(left, SEGMENT_BYTES)
            self._leave(max(now, self._window(len(self._ends))), segment)
            under_way = len(self._ends) - self._needed(len(self._ends))
            self._ends.append(self._free)
            left -= segment
            self._open = under_way * self._wire_s(SEGMENT_BYTES) >= 2 * self.delay_s
        if left > 0:
            self._leave(now, left)
        self._quiet = self._free + 2 * self.delay_s
        return self._free + self.delay_s

    def _window(self, segment: int) -> float:
        """The time at which TCP's window lets a segment leave."""
        needed = self._needed(segment)
        return self._ends[needed - 1] + 2 * self.delay_s if needed else 0.0

    @staticmethod
    def _needed(segment: int) -> int:
        """The number of acknowledgements that a segment waits for."""
        return max(0, (segment - INITIAL_WINDOW_SEGMENTS) // 2 + 1)

    def _leave(self, ready: float, size: int) -> None:
        self._free = max(ready, self._free) + self._wire_s(size)

    def _wire_s(self, size: int) -> float:
        return size * (1 + HEADER_BYTES / SEGMENT_BYTES) * 8 / self.bits_per_s


class ShapingProxy:
    """Forwards TCP connections to `target` as a shaped link would. Also a context manager.

    Args:
        target: `HOST:PORT`.
        shape: the link. Each connection has a link of its own.

    Attributes:
        address: the `HOST:PORT` on loopback that it listens on.

    Raises:
        CollabplanError: the target is not an address.
    """

    def __init__(self, target: str, shape: Shape) -> None:
        host, _, port = target.rpartition(":")
        if not host or not port.isdecimal():
            raise CollabplanError(f"{target!r} is not an address; write HOST:PORT")
        self._target, self._shape = (host.strip("[]"), int(port)), shape
        self._lock = threading.Lock()
        self._sockets: set[socket.socket] = set()
        self._held_until = self._cut_until = 0.0
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self._listener.getsockname()[1]}"
        threading.Thread(target=self._accept, name="collabplan-shaping", daemon=True).start()

    def hold(self, seconds: float) -> None:
        """Let nothing pass for some seconds, and lose nothing: a radio that is out of reach for a while."""
        self._held_until = time.perf_counter() + seconds

    def cut(self, seconds: float) -> None:
        """Break every connection, and accept none for some seconds."""
        self._cut_until = time.perf_counter() + seconds
        self._break()

    def close(self) -> None:
        """Break every connection and stop listening."""
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._break()

    def __enter__(self) -> ShapingProxy:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _break(self) -> None:
        with self._lock:
            broken = list(self._sockets)
            self._sockets.clear()
        for each in broken:
            _end(each)

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self._listener.accept()
            except OSError:
                return
            if time.perf_counter() < self._cut_until:
                near.close()
                continue
            threading.Thread(target=self._connect, args=(near,), daemon=True).start()

    def _connect(self, near: socket.socket) -> None:
        try:
            far = socket.create_connection(self._target)
        except OSError:
            near.close()
            return
        for each in (near, far):
            each.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        with self._lock:
            self._sockets |= {near, far}
        shape = self._shape
        for source, sink, rate in ((near, far, shape.up_bps), (far, near, shape.down_bps)):
            lane = Lane(rate, shape.rtt_ms / 2e3, shape.slow_start, shape.restart_s)
            under_way: queue.Queue[tuple[float, bytes]] = queue.Queue(_MOST_PIECES)
            threading.Thread(target=self._take, args=(source, lane, under_way), daemon=True).start()
            threading.Thread(target=self._give, args=(sink, source, under_way), daemon=True).start()

    def _take(self, source: socket.socket, lane: Lane, under_way: queue.Queue[tuple[float, bytes]]) -> None:
        """Read at once, and note when each piece arrives."""
        piece = b"-"
        while piece:
            try:
                piece = source.recv(_PIECE_BYTES)
            except OSError:
                piece = b""
            under_way.put((lane.arrival(time.perf_counter(), len(piece)), piece))

    def _give(self, sink: socket.socket, source: socket.socket, under_way: queue.Queue[tuple[float, bytes]]) -> None:
        """Write each piece when it arrives."""
        with contextlib.suppress(OSError):
            while True:
                through, piece = under_way.get()
                _wait_until(through)
                while (held := self._held_until) > time.perf_counter():
                    _wait_until(held)
                if not piece:
                    break
                sink.sendall(piece)
        for each in (sink, source):
            with self._lock:
                self._sockets.discard(each)
            _end(each)


class ShapedLink:
    """A `ShapingProxy` in a process of its own. Also a context manager. Raises as `ChildProcess` does."""

    def __init__(self, target: str, shape: Shape) -> None:
        self.shape = shape
        numbers = [str(value) for value in (shape.up_bps, shape.down_bps, shape.rtt_ms, int(shape.slow_start))]
        self._child = ChildProcess(__name__, target, *numbers, str(shape.restart_s))
        self.address = self._child.first_line

    def hold(self, seconds: float) -> None:
        """As `ShapingProxy.hold`."""
        self._child.tell(f"hold {seconds}")

    def cut(self, seconds: float) -> None:
        """As `ShapingProxy.cut`."""
        self._child.tell(f"cut {seconds}")

    def close(self) -> None:
        """End the proxy and all connections through it."""
        self._child.close()

    def __enter__(self) -> ShapedLink:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _wait_until(moment: float) -> None:
    while (left := moment - time.perf_counter()) > 0:
        if left > _SPIN_S:
            time.sleep(left - _SPIN_S)


def _end(each: socket.socket) -> None:
    with contextlib.suppress(OSError):
        each.shutdown(socket.SHUT_RDWR)
    each.close()


def _main() -> None:
    """What the process of a `ShapedLink` runs."""
    parser = argparse.ArgumentParser()
    parser.add_argument("target")
    for name in ("up_bps", "down_bps", "rtt_ms", "slow_start", "restart_s"):
        parser.add_argument(name, type=float)
    given = parser.parse_args()
    shape = Shape(given.up_bps, given.down_bps, given.rtt_ms, bool(given.slow_start), given.restart_s)
    with ShapingProxy(given.target, shape) as proxy:
        print(proxy.address, flush=True)
        for line in sys.stdin:
            what, seconds = line.split()
            {"hold": proxy.hold, "cut": proxy.cut}[what](float(seconds))


if __name__ == "__main__":
    _main()
