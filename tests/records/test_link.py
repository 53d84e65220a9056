"""A link has two directions, and says where its figures come from."""

import pytest
from collabplan.records import EchoTimes, Link
from pydantic import ValidationError


def test_an_assumed_link_is_marked() -> None:
    assert (Link.assumed().source, Link.assumed().bandwidth_bps, Link.assumed().rtt_ms) == ("assumed", 20e6, 15.0)


def test_the_way_back_has_the_other_bandwidth_and_the_same_round_trip() -> None:
    link = Link(bandwidth_bps=1e6, download_bps=8e6, rtt_ms=5.0)
    assert (link.back.bandwidth_bps, link.back.download_bps, link.back.rtt_ms) == (8e6, 1e6, 5.0)
    assert link.back.back == link


def test_without_a_download_bandwidth_both_ways_are_the_same() -> None:
    link = Link(bandwidth_bps=1e6, rtt_ms=5.0)
    assert link.back is link


@pytest.mark.parametrize(
    "fields", [{"bandwidth_bps": 0.0}, {"rtt_ms": -1.0}, {"rtt_spread": 1.0}, {"download_bps": 0.0}]
)
def test_an_impossible_link_is_refused(fields: dict[str, float]) -> None:
    with pytest.raises(ValidationError):
        Link.model_validate({"bandwidth_bps": 1e6, "rtt_ms": 5.0, **fields})


def test_an_echo_needs_a_time() -> None:
    with pytest.raises(ValidationError):
        EchoTimes(up_bytes=1, down_bytes=1, times_ms=())
