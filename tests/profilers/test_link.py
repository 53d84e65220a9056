"""The link formula against cases worked out by hand, and what must hold for every payload."""

import pytest
from collabplan.profilers import serialisation_ms, slow_start_ms, transfer_interval, transfer_ms
from collabplan.profilers.link import HOP_FIXED_MS, byte_ms, segment_count, slow_start_steps
from collabplan.records import CollabplanError, Link
from collabplan.records.link import HEADER_BYTES
from hypothesis import given
from hypothesis import strategies as st

LINK = Link(bandwidth_bps=12e6, rtt_ms=20.0)  # 1500 bytes, one segment with headers, take exactly 1 ms
SIZES = st.integers(0, 50_000_000)
LINKS = st.builds(
    Link,
    bandwidth_bps=st.floats(1e5, 1e10),
    rtt_ms=st.floats(0, 500),
    bandwidth_spread=st.floats(0, 0.9),
    rtt_spread=st.floats(0, 0.9),
)


def test_one_segment_pays_the_wire_and_half_the_round_trip() -> None:
    assert transfer_ms(1460, LINK) == pytest.approx(1 + 10)


def test_the_first_window_is_sent_without_waiting() -> None:
    assert transfer_ms(10 * 1460, LINK) == pytest.approx(10 + 10)


def test_the_eleventh_segment_waits_for_the_first_acknowledgement() -> None:
    # sent in 10 ms, the first acknowledgement arrives at 20 + 1 ms: 11 ms of silence
    assert transfer_ms(11 * 1460, LINK) == pytest.approx(11 + 10 + 11)


def test_a_window_that_fills_the_pipe_ends_the_stalls() -> None:
    # the second window (20 segments, 20 ms) still waits 1 ms, the third (40 ms) covers the round trip of 21 ms
    assert slow_start_ms(30, LINK) == pytest.approx(11)
    assert slow_start_ms(31, LINK) == pytest.approx(11 + 1)
    assert slow_start_ms(10_000, LINK) == pytest.approx(11 + 1)


def test_without_a_round_trip_only_the_wire_is_paid() -> None:
    near = LINK.model_copy(update={"rtt_ms": 0.0})
    assert transfer_ms(100 * 1460, near) == pytest.approx(100)


def test_nothing_to_send_takes_no_time() -> None:
    assert transfer_ms(0, LINK) == 0
    assert serialisation_ms(0) == 0


def test_a_negative_payload_is_refused() -> None:
    for measure in (lambda: transfer_ms(-1, LINK), lambda: serialisation_ms(-1), lambda: segment_count(-1)):
        with pytest.raises(CollabplanError, match="-1 bytes"):
            measure()


def test_serialisation_reproduces_the_requests_it_was_fitted_to() -> None:
    for payload_bytes, request_ms in ((4096, 1.4), (32_768, 1.6), (200_704, 2.0), (802_816, 2.6)):
        assert serialisation_ms(payload_bytes) + serialisation_ms(40) == pytest.approx(request_ms, abs=0.3)


@given(SIZES, SIZES, LINKS)
def test_more_bytes_never_take_less_time(one: int, other: int, link: Link) -> None:
    assert transfer_ms(min(one, other), link) <= transfer_ms(max(one, other), link) * (1 + 1e-12)


@given(SIZES, LINKS)
def test_the_interval_holds_the_value_and_widens_with_the_spreads(payload_bytes: int, link: Link) -> None:
    interval = transfer_interval(payload_bytes, link)
    assert interval.low <= interval.value * (1 + 1e-9)
    assert interval.value <= interval.high * (1 + 1e-9)
    assert interval.value == transfer_ms(payload_bytes, link)


def test_a_link_without_spread_gives_a_point() -> None:
    interval = transfer_interval(50_000, LINK)
    assert interval.low == interval.value == interval.high


@given(st.integers(1, 50_000_000), LINKS)
def test_slow_start_as_steps_is_slow_start(payload: int, link: Link) -> None:
    step = next(step for step in slow_start_steps(link) if payload <= step.most_bytes)
    assert step.ms == pytest.approx(slow_start_ms(segment_count(payload), link))
    sent_ms = transfer_ms(payload, link) + serialisation_ms(payload)
    along_steps = payload * byte_ms(link) + step.ms + link.rtt_ms / 2 + HOP_FIXED_MS
    assert along_steps - 1e-6 <= sent_ms <= along_steps + HEADER_BYTES * 8e3 / link.bandwidth_bps + 1e-6
