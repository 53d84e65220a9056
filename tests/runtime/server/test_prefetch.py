"""Reading ahead keeps order, stops where it should, and leaves no thread behind."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest
from collabplan.runtime.server.prefetch import AHEAD, ReadAhead
from collabplan.runtime.wire.framing import FrameError


def reading() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "collabplan-ahead"]


def over() -> bool:
    for thread in reading():
        thread.join(5)
    return not reading()


def test_items_come_in_order_and_the_thread_ends() -> None:
    assert list(ReadAhead(iter([b"a", b"b", b"c"]), bytes.upper)) == [b"A", b"B", b"C"]
    assert over()


def test_no_more_is_read_than_was_said() -> None:
    made, asked = list[bytes](), threading.Event()

    def make(frame: bytes) -> bytes:
        made.append(frame)
        if len(made) == 1 + AHEAD:
            asked.set()
        return frame

    items = iter(found := ReadAhead(iter([b"%d" % at for at in range(9)]), make))
    assert next(items) == b"0"
    assert asked.wait(5)
    threading.Event().wait(0.05)
    assert len(made) == 1 + AHEAD
    assert found.pending
    found.leave()
    assert over()


def test_a_broken_frame_is_raised_after_what_came_before() -> None:
    def make(frame: bytes) -> bytes:
        if frame == b"x":
            raise FrameError("no frame")
        return frame

    found = iter(ReadAhead(iter([b"a", b"x", b"b"]), make))
    assert next(found) == b"a"
    with pytest.raises(FrameError, match="no frame"):
        next(found)
    assert over()


def test_a_stream_that_breaks_off_is_the_end() -> None:
    def frames() -> Iterator[bytes]:
        yield b"a"
        raise RuntimeError("cancelled")

    assert list(ReadAhead(frames(), bytes)) == [b"a"]
    assert over()
