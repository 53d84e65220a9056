"""Frames: the bytes of one request and of one answer on the wire.

A frame is a fixed little-endian header and a body of raw bytes. The size of a request depends on the plan and its
number of samples alone, never on its content. A checksum over the whole frame detects damage. It does not stop somebody
who damages frames on purpose: TLS does.

Request header (32 bytes): magic, version, body kind, two zero bytes, request id, samples, body bytes, patience in
milliseconds, CRC-32.

Answer header (40 bytes): magic, version, status, two zero bytes, request id, samples, body bytes, microseconds in the
queue, microseconds computing, the request's CRC-32, CRC-32.
"""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass
from enum import IntEnum
from typing import Any

from ...records import CollabplanError, printable

PROTOCOL = 1
_REQUEST, _ANSWER = b"CPRQ", b"CPAN"
_REQUEST_HEAD, _ANSWER_HEAD = struct.Struct("<4sBBHQIII"), struct.Struct("<4sBBHQIIIII")
_CRC = struct.Struct("<I")

REQUEST_HEADER_BYTES = _REQUEST_HEAD.size + _CRC.size
ANSWER_HEADER_BYTES = _ANSWER_HEAD.size + _CRC.size

MOST_MESSAGE_BYTES = 2**31 - 1
"""gRPC counts the bytes of a message in a signed number of 32 bits."""

MOST_PATIENCE_MS = 2**32 - 1

MOST_REASON_BYTES = 500
_MOST_U32 = 2**32 - 1


class FrameError(CollabplanError):
    """A frame that cannot be read: it is too short, of another kind, or damaged."""


class BodyKind(IntEnum):
    """What the body of a request holds."""

    defended = 1
    """What the plan's defense released."""
    undefended = 2
    """The crossing tensors themselves, to verify the halves."""


class Status(IntEnum):
    """What became of a request."""

    ok = 0
    invalid = 1
    """The body does not match the plan; the request was not run."""
    overloaded = 2
    """The server's queue is full; the request was not run."""
    late = 3
    """The request waited longer than its patience and was not run."""
    failed = 4
    """The cloud half raised."""
    stopping = 5
    """The server is stopping; the request was not run."""

    @property
    def may_help_later(self) -> bool:
        """True if sending the same request again later may help."""
        return self in (Status.overloaded, Status.stopping)


@dataclass(frozen=True, slots=True)
class Request:
    """One request.

    Attributes:
        kind: what the body holds.
        id: unique within its stream.
        batch: the number of samples.
        patience_ms: the milliseconds that the client waits for an answer.
        body: the bytes to send, or a view of the received ones.
        crc: the checksum of a received frame.
    """

    kind: BodyKind
    id: int
    batch: int
    patience_ms: int
    body: bytes | memoryview
    crc: int = 0


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer.

    Attributes:
        status: what became of the request.
        id, batch, request_crc: those of the request.
        body: the outputs if `status` is ok, otherwise a short reason in UTF-8.
        queue_us, compute_us: microseconds that the request waited and ran.
    """

    status: Status
    id: int
    batch: int
    body: bytes | memoryview
    queue_us: int = 0
    compute_us: int = 0
    request_crc: int = 0

    @property
    def reason(self) -> str:
        """Why there is no output, as printable text."""
        return printable(bytes(self.body[:MOST_REASON_BYTES]).decode("utf-8", "replace"))


def pack_request(request: Request) -> bytes:
    """The frame of a request."""
    head = _REQUEST_HEAD.pack(
        _REQUEST, PROTOCOL, request.kind, 0, request.id, request.batch, len(request.body), request.patience_ms
    )
    return b"".join((head, _crc(head, request.body), request.body))


def crc_of(frame: bytes) -> int:
    """The checksum in the header of a packed request."""
    return int(_CRC.unpack_from(frame, _REQUEST_HEAD.size)[0])


def unpack_request(frame: bytes) -> Request:
    """Read the frame of a request. Nothing is copied, and no size that a header claims is allocated.

    Raises:
        FrameError: the frame is too short, of another kind, or damaged.
    """
    magic, version, kind, zero, number, batch, size, patience_ms = _head(frame, _REQUEST_HEAD)
    body = _body(frame, _REQUEST_HEAD, magic == _REQUEST and zero == 0, version, size)
    if kind not in tuple(BodyKind) or batch == 0:
        raise FrameError("the frame is of a kind that this server does not know")
    return Request(BodyKind(kind), number, batch, patience_ms, body, crc_of(frame))


def pack_answer(answer: Answer) -> bytes:
    """The frame of an answer."""
    head = _ANSWER_HEAD.pack(
        _ANSWER,
        PROTOCOL,
        answer.status,
        0,
        answer.id,
        answer.batch,
        len(answer.body),
        min(answer.queue_us, _MOST_U32),
        min(answer.compute_us, _MOST_U32),
        answer.request_crc,
    )
    return b"".join((head, _crc(head, answer.body), answer.body))


def unpack_answer(frame: bytes) -> Answer:
    """Read the frame of an answer. Raises FrameError as `unpack_request` does."""
    head = _head(frame, _ANSWER_HEAD)
    magic, version, status, zero, number, batch, size, queue_us, compute_us, request_crc = head
    body = _body(frame, _ANSWER_HEAD, magic == _ANSWER and zero == 0, version, size)
    if status not in tuple(Status):
        raise FrameError(f"the frame has the unknown status {status}")
    return Answer(Status(status), number, batch, body, queue_us, compute_us, request_crc)


def _crc(head: bytes, body: bytes | memoryview) -> bytes:
    return _CRC.pack(zlib.crc32(body, zlib.crc32(head)))


def _head(frame: bytes, layout: struct.Struct) -> tuple[Any, ...]:
    if len(frame) < layout.size + _CRC.size:
        raise FrameError(f"a frame of {len(frame)} bytes is shorter than its header")
    return layout.unpack_from(frame)


def _body(frame: bytes, layout: struct.Struct, ours: bool, version: int, size: int) -> memoryview:
    """The body, after checking the header, the size that it claims, and the checksum."""
    view = memoryview(frame)
    if not ours:
        raise FrameError("these bytes are not a collabplan frame")
    if version != PROTOCOL:
        raise FrameError(f"the frame is of protocol {version}, this side speaks {PROTOCOL}")
    start = layout.size + _CRC.size
    if len(frame) - start != size:
        raise FrameError(f"the frame's header says {size} bytes, {len(frame) - start} came")
    if _crc(bytes(view[: layout.size]), view[start:]) != view[layout.size : start]:
        raise FrameError("the frame was damaged on its way (its checksum is wrong)")
    return view[start:]
