"""Streams are counted, refused beyond their number, and ended when their client is silent."""

from __future__ import annotations

import pytest
from collabplan.runtime.server.streams import OpenStreams, Stream, TooManyStreamsError


class Call:
    """A gRPC call that can be cancelled."""

    def __init__(self) -> None:
        self.cancelled = 0

    def cancel(self) -> None:
        self.cancelled += 1


def test_one_stream_too_many_is_refused_until_another_ends() -> None:
    streams = OpenStreams(2)
    with streams.opened(Call()), streams.opened(Call()):
        assert len(streams) == 2
        with pytest.raises(TooManyStreamsError), streams.opened(Call()):
            pass
    with streams.opened(Call()):
        assert len(streams) == 1
    assert len(streams) == 0


def test_a_silent_stream_is_ended_once_and_told_so() -> None:
    call = Call()
    stream = Stream(call)
    stream.end_if_silent(idle_s=60.0)
    assert call.cancelled == 0
    for _ in range(2):
        stream.end_if_silent(idle_s=0.0)
    assert call.cancelled == 1
    assert not stream.begin("running")


def test_a_running_stream_is_never_ended() -> None:
    call, streams = Call(), OpenStreams(1)
    with streams.opened(call) as stream:
        assert stream.begin("running")
        streams.end_silent(idle_s=0.0)
    assert call.cancelled == 0


def test_a_sending_stream_can_be_spared() -> None:
    call, streams = Call(), OpenStreams(1)
    with streams.opened(call) as stream:
        stream.begin("sending")
        streams.end_silent(idle_s=0.0, reading_only=True)
        assert call.cancelled == 0
        streams.end_silent(idle_s=0.0)
        assert call.cancelled == 1
