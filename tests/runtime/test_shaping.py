"""A shaped link takes as long as the formula says: by arithmetic, and (with wide margins) by the clock."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator

import pytest
from collabplan.profilers import transfer_ms
from collabplan.records import CollabplanError, Link
from collabplan.records.link import SEGMENT_BYTES
from collabplan.runtime.shaping import Lane, Shape, ShapedLink, ShapingProxy
from hypothesis import given, settings
from hypothesis import strategies as st


@settings(max_examples=40, deadline=None)
@given(
    segments=st.integers(1, 700),
    bandwidth=st.floats(1e6, 1e9),
    rtt_ms=st.floats(0.2, 100.0),
    slow_start=st.booleans(),
)
def test_a_lane_takes_as_long_as_the_formula_says(
    segments: int, bandwidth: float, rtt_ms: float, slow_start: bool
) -> None:
    link = Link(bandwidth_bps=bandwidth, rtt_ms=rtt_ms, slow_start=slow_start)
    lane = Lane(bandwidth, rtt_ms / 2e3, slow_start)
    took_ms = (lane.arrival(5.0, segments * SEGMENT_BYTES) - 5.0) * 1e3
    assert took_ms == pytest.approx(transfer_ms(segments * SEGMENT_BYTES, link), rel=1e-6)


def test_it_does_not_matter_in_how_many_pieces_bytes_come() -> None:
    whole, pieces = (Lane(20e6, 0.0075) for _ in range(2))
    for _ in range(50):
        last = pieces.arrival(1.0, 4 * SEGMENT_BYTES)
    assert last == pytest.approx(whole.arrival(1.0, 200 * SEGMENT_BYTES))


def test_slow_start_comes_again_after_a_pause_alone() -> None:
    size = 100 * SEGMENT_BYTES
    lane = Lane(100e6, 0.02, restart_s=0.2)
    first = lane.arrival(1.0, size) - 1.0
    second = lane.arrival(1.3, size) - 1.3
    third = lane.arrival(10.0, size) - 10.0
    assert second < first - 0.02, "the window stays as it grew"
    assert third == pytest.approx(first)


def test_what_follows_waits_for_what_is_still_leaving() -> None:
    lane = Lane(12e6, 0.01, slow_start=False)  # a full segment takes 1 ms
    first = lane.arrival(0.0, 10 * SEGMENT_BYTES)
    second = lane.arrival(0.0, 10 * SEGMENT_BYTES)
    assert first == pytest.approx(0.02)
    assert second == pytest.approx(0.03)


def test_a_shape_is_written_as_people_write_it() -> None:
    assert Shape.parse("20mbps,15ms") == Shape(20e6, 20e6, 15.0)
    assert Shape.parse("20mbps/5mbps,200us") == Shape(20e6, 5e6, 0.2)
    assert Shape.of(Shape.parse("20mbps/5mbps,15ms").link) == Shape.parse("20mbps/5mbps,15ms")
    for wrong in ("20mbps", "15ms,20mbps", "20,15", "20mbps/,15ms", ""):
        with pytest.raises(CollabplanError, match="for example"):
            Shape.parse(wrong)


@pytest.fixture
def echo() -> Iterator[str]:
    """A server that sends back what it gets, piece by piece."""
    listener = socket.create_server(("127.0.0.1", 0))

    def serve(each: socket.socket) -> None:
        while piece := each.recv(1 << 16):
            each.sendall(piece)
        each.close()

    def accept() -> None:
        while True:
            try:
                threading.Thread(target=serve, args=(listener.accept()[0],), daemon=True).start()
            except OSError:
                return

    threading.Thread(target=accept, daemon=True).start()
    yield f"127.0.0.1:{listener.getsockname()[1]}"
    listener.shutdown(socket.SHUT_RDWR)
    listener.close()


def connected(address: str) -> socket.socket:
    host, _, port = address.rpartition(":")
    made = socket.create_connection((host, int(port)), timeout=20.0)
    made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return made


def asked(connection: socket.socket, data: bytes) -> tuple[bytes, float]:
    """What came back, and milliseconds."""
    started, found = time.perf_counter(), b""
    connection.sendall(data)
    while len(found) < len(data):
        found += connection.recv(1 << 16)
    return found, (time.perf_counter() - started) * 1e3


def test_bytes_pass_unchanged_and_never_sooner_than_the_link_lets_them(echo: str) -> None:
    with ShapingProxy(echo, Shape(8e6, 8e6, 30.0, slow_start=False)) as proxy, connected(proxy.address) as connection:
        data = bytes(range(256)) * 80
        found, took_ms = asked(connection, data)
        assert found == data
        # The first bytes come back while the last still go up, so it is less than twice the way.
        assert took_ms >= 30.0 + len(data) * 8 / 8e6 * 1e3


def test_a_link_of_another_process_is_the_same(echo: str) -> None:
    with ShapedLink(echo, Shape.parse("100mbps,20ms")) as link, connected(link.address) as connection:
        found, took_ms = asked(connection, b"collabplan")
        assert found == b"collabplan"
        assert took_ms >= 20.0


def test_a_held_link_loses_nothing_and_a_cut_one_breaks(echo: str) -> None:
    with ShapingProxy(echo, Shape.parse("1gbps,200us")) as proxy:
        with connected(proxy.address) as connection:
            assert asked(connection, b"one")[0] == b"one"
            proxy.hold(0.3)
            found, took_ms = asked(connection, b"two")
            assert found == b"two"
            assert took_ms >= 200.0
            proxy.cut(0.2)
            assert connection.recv(1) == b""
        with connected(proxy.address) as refused:
            assert refused.recv(1) == b""
        time.sleep(0.3)
        with connected(proxy.address) as again:
            assert asked(again, b"three")[0] == b"three"


def test_an_address_that_is_none_is_refused() -> None:
    with pytest.raises(CollabplanError, match="not an address"):
        ShapingProxy("nowhere", Shape.parse("1mbps,1ms"))
