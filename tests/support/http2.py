"""Reads what a gRPC client sent: HTTP/2 frames (RFC 9113, section 4.1), and the messages in them."""

from __future__ import annotations

from dataclasses import dataclass

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, RESET, SETTINGS, PING, GOAWAY, WINDOW = 0, 1, 3, 4, 6, 7, 8
OVERHEAD = {RESET, SETTINGS, PING, GOAWAY, WINDOW}
FIXED_BYTES = {RESET: 4, PING: 8, WINDOW: 4}


@dataclass(frozen=True)
class Captured:
    """What a device sent: the messages and the header blocks of each stream, and the rest as (type, bytes)."""

    messages: dict[int, list[bytes]]
    headers: dict[int, bytes]
    rest: list[tuple[int, bytes]]


def read(data: bytes) -> Captured:
    assert data.startswith(PREFACE)
    start = len(PREFACE)
    streams: dict[int, bytearray] = {}
    headers: dict[int, bytes] = {}
    rest: list[tuple[int, bytes]] = []
    while start < len(data):
        size, kind = int.from_bytes(data[start : start + 3], "big"), data[start + 3]
        stream = int.from_bytes(data[start + 5 : start + 9], "big") & 0x7FFFFFFF
        payload = data[start + 9 : start + 9 + size]
        start += 9 + size
        if kind == DATA:
            assert data[start - size - 5] & ~1 == 0 or size == 0, "no padding: it would be room for more"
            streams.setdefault(stream, bytearray()).extend(payload)
        elif kind == HEADERS:
            headers[stream] = headers.get(stream, b"") + payload
        else:
            rest.append((kind, payload))
    return Captured({stream: divided(bytes(all_)) for stream, all_ in streams.items()}, headers, rest)


def divided(data: bytes) -> list[bytes]:
    found = []
    while data:
        assert data[0] == 0, "not compressed: the size would depend on what is in it"
        size = int.from_bytes(data[1:5], "big")
        found.append(data[5 : 5 + size])
        data = data[5 + size :]
    return found
