"""Frames: there and back, and every single damaged bit is found."""

from __future__ import annotations

import struct

import pytest
from collabplan.runtime.wire.framing import (
    ANSWER_HEADER_BYTES,
    REQUEST_HEADER_BYTES,
    Answer,
    BodyKind,
    FrameError,
    Request,
    Status,
    crc_of,
    pack_answer,
    pack_request,
    unpack_answer,
    unpack_request,
)
from hypothesis import given
from hypothesis import strategies as st

REQUEST = Request(BodyKind.defended, 2**60, 3, 1500, b"some bytes")
ANSWER = Answer(Status.ok, 7, 3, b"an output", 10, 2**40, 99)


def test_a_request_comes_back_as_it_was() -> None:
    frame = pack_request(REQUEST)
    found = unpack_request(frame)
    assert len(frame) == REQUEST_HEADER_BYTES + len(REQUEST.body)
    assert (found.kind, found.id, found.batch, found.patience_ms) == (BodyKind.defended, 2**60, 3, 1500)
    assert bytes(found.body) == REQUEST.body
    assert found.crc == crc_of(frame)


def test_an_answer_comes_back_as_it_was_its_times_capped() -> None:
    frame = pack_answer(ANSWER)
    found = unpack_answer(frame)
    assert len(frame) == ANSWER_HEADER_BYTES + len(ANSWER.body)
    assert (found.status, found.id, found.batch, found.queue_us, found.request_crc) == (Status.ok, 7, 3, 10, 99)
    assert found.compute_us == 2**32 - 1
    assert bytes(found.body) == ANSWER.body


def test_no_damaged_bit_and_no_missing_byte_goes_unnoticed() -> None:
    for frame, unpack in ((pack_request(REQUEST), unpack_request), (pack_answer(ANSWER), unpack_answer)):
        for bit in range(8 * len(frame)):
            damaged = bytearray(frame)
            damaged[bit // 8] ^= 1 << (bit % 8)
            with pytest.raises(FrameError):
                unpack(bytes(damaged))
        for length in range(len(frame)):
            with pytest.raises(FrameError):
                unpack(frame[:length])
        with pytest.raises(FrameError, match="header says"):
            unpack(frame + b"x")


@given(st.binary(max_size=200))
def test_any_bytes_are_refused_in_words(data: bytes) -> None:
    for unpack in (unpack_request, unpack_answer):
        with pytest.raises(FrameError):
            unpack(data)


def test_a_request_and_an_answer_are_not_confused() -> None:
    with pytest.raises(FrameError):
        unpack_answer(pack_request(REQUEST))
    with pytest.raises(FrameError, match="not a collabplan frame"):
        unpack_request(pack_answer(ANSWER))


def test_another_protocol_is_named() -> None:
    frame = bytearray(pack_request(REQUEST))
    struct.pack_into("<B", frame, 4, 9)
    with pytest.raises(FrameError, match="protocol 9, this side speaks 1"):
        unpack_request(bytes(frame))


def test_a_reason_is_short_printable_text() -> None:
    reason = Answer(Status.failed, 1, 1, b"bad\x1b[31m\nnews \xff" + b"x" * 1000).reason
    assert reason.isprintable()
    assert len(reason) <= 500
