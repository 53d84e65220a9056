"""Streams are counted, refused beyond their number, and ended when their client is silent."""

from __future__ import annotations

import pytest
from collabplan.runtime.server.streams import OpenStreams, Stream, TooManyStreamsError, address_of


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


def test_one_address_takes_no_more_than_its_part() -> None:
    streams = OpenStreams(3, 2)
    with streams.opened(Call(), "a"), streams.opened(Call(), "a"):
        with pytest.raises(TooManyStreamsError, match="this address"), streams.opened(Call(), "a"):
            pass
        with streams.opened(Call(), "b"):
            assert len(streams) == 3


def test_the_call_that_waits_longest_makes_room_for_the_next() -> None:
    streams, first, second, third = OpenStreams(2, makes_room=True), Call(), Call(), Call()
    with streams.opened(first), streams.opened(second) as busy:
        busy.begin("running")
        with streams.opened(third):
            assert len(streams) == 2
            assert (first.cancelled, second.cancelled, third.cancelled) == (1, 0, 0)


def test_a_call_that_is_answered_makes_no_room() -> None:
    streams, call = OpenStreams(1, makes_room=True), Call()
    with streams.opened(call) as busy:
        busy.begin("running")
        with pytest.raises(TooManyStreamsError), streams.opened(Call()):
            pass
    assert call.cancelled == 0


def test_an_address_makes_room_among_its_own_calls() -> None:
    streams, others, own = OpenStreams(3, 1, makes_room=True), Call(), Call()
    with streams.opened(others, "a"), streams.opened(own, "b"), streams.opened(Call(), "b"):
        assert (others.cancelled, own.cancelled) == (0, 1)


@pytest.mark.parametrize(
    ("peer", "address"),
    [
        ("ipv4:192.0.2.7:50112", "192.0.2.7"),
        ("ipv6:%5B2001:db8:0:1::7%5D:50112", "2001:db8:0:1::/64"),
        ("ipv6:%5B::ffff:192.0.2.7%5D:1", "192.0.2.7"),
        ("ipv6:%5Bfe80::1%25eth0%5D:1", "fe80::/64"),
        ("unix:", "unix:"),
        ("a test", "a test"),
    ],
)
def test_an_address_is_read_from_what_grpc_calls_a_peer(peer: str, address: str) -> None:
    assert address_of(peer) == address
