"""The fit finds the link that made the echoes, and what it predicts for a message is what the message took."""

from __future__ import annotations

import random

import pytest
from collabplan.profilers import transfer_ms
from collabplan.profilers.link import slow_start_ms
from collabplan.profilers.link_fit import ECHO_FIXED_MS, ECHO_MS_PER_BYTE, fit_link
from collabplan.records import CollabplanError, Link
from collabplan.records.link import EchoTimes

TRUE = Link(bandwidth_bps=20e6, download_bps=80e6, rtt_ms=15.0)
SIZES = (1 << 15, 1 << 16, 1 << 17)


def echo_ms(up: int, down: int, link: Link) -> float:
    """An echo over a warm connection, by the formula of the module's docstring."""
    wire = 8e3 * (1 + 40 / 1460) * (up / link.bandwidth_bps + down / link.back.bandwidth_bps)
    return link.rtt_ms + wire + ECHO_FIXED_MS + ECHO_MS_PER_BYTE * (up + down)


def echoes(
    link: Link, noise: random.Random | None = None, *, paused: bool = True
) -> tuple[list[float], list[EchoTimes]]:
    """Round trips and echoes over a link that is exactly the formula, but for noise of up to 0.2 ms."""

    def late() -> float:
        return noise.uniform(0.0, 0.2) if noise else 0.0

    def times(up: int, down: int, extra_ms: float = 0.0) -> EchoTimes:
        taken = tuple(echo_ms(up, down, link) + extra_ms + late() for _ in range(9))
        return EchoTimes(up_bytes=up, down_bytes=down, times_ms=taken, after_pause=extra_ms > 0)

    found = [times(size, 0) for size in SIZES] + [times(0, size) for size in SIZES]
    if paused:
        stall = slow_start_ms(-(-SIZES[-1] // 1460), link)
        found.append(times(SIZES[-1], 0, max(stall, 1e-9)))
    return [link.rtt_ms + ECHO_FIXED_MS + late() for _ in range(20)], found


def test_exact_echoes_give_the_link_back() -> None:
    link, warnings = fit_link(*echoes(TRUE))
    assert link.bandwidth_bps == pytest.approx(TRUE.bandwidth_bps)
    assert link.download_bps == pytest.approx(TRUE.download_bps)
    assert link.rtt_ms == pytest.approx(TRUE.rtt_ms)
    assert link.bandwidth_spread == pytest.approx(0, abs=1e-9)
    assert link.rtt_spread == pytest.approx(0, abs=1e-9)
    assert link.slow_start
    assert (link.source, link.sample_count) == ("measured", 20 + 7 * 9)
    assert not warnings


def test_transfers_that_are_predicted_are_those_that_were_measured() -> None:
    link, _ = fit_link(*echoes(TRUE, random.Random(1)))
    for payload in (2_000, 40_000, 1_000_000):
        assert transfer_ms(payload, link) == pytest.approx(transfer_ms(payload, TRUE), rel=0.03)
        assert transfer_ms(payload, link.back) == pytest.approx(transfer_ms(payload, TRUE.back), rel=0.03)
    assert 0 < link.bandwidth_spread < 0.05


def test_one_disturbed_round_moves_nothing_much() -> None:
    trips, found = echoes(TRUE)
    slow = found[2].model_copy(update={"times_ms": (5_000.0, *found[2].times_ms[1:])})
    link, _ = fit_link(trips, [*found[:2], slow, *found[3:]])
    assert link.bandwidth_bps == pytest.approx(TRUE.bandwidth_bps)


def test_a_connection_that_stays_fast_after_a_pause_has_no_slow_start() -> None:
    fast = TRUE.model_copy(update={"slow_start": False})
    trips, found = echoes(fast)
    link, _ = fit_link(trips, found)
    assert not link.slow_start
    assert fit_link(*echoes(fast, paused=False))[0].slow_start, "what is not known is taken at its worst"


def test_a_link_faster_than_the_hosts_is_said_to_be() -> None:
    link, warnings = fit_link(*echoes(Link(bandwidth_bps=1e12, rtt_ms=0.1)))
    assert link.bandwidth_bps > 1e9
    assert sum("hosts are slower" in warning for warning in warnings) == 2


def test_what_cannot_be_fitted_is_refused() -> None:
    trips, found = echoes(TRUE)
    with pytest.raises(CollabplanError, match="empty echo"):
        fit_link([], found)
    with pytest.raises(CollabplanError, match="two sizes"):
        fit_link(trips, found[:1])
    level = [echo.model_copy(update={"times_ms": (1.0,) * 9}) for echo in found]
    with pytest.raises(CollabplanError, match="too unsteady, or too fast"):
        fit_link(trips, level)
