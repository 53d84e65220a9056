"""A link from echoes: bandwidth, round trip and their spread, by the terms of the formula in `link`.

An echo of u bytes up and d bytes down over a warm connection takes

    echo = RTT  +  8 (1 + 40/1460) (u / R_up + d / R_down)  +  the hosts' time for two hops (`ECHO_FIXED_MS`)

So the round trip is the median empty echo minus the hosts' time, and a bandwidth is the slope of time over size: a line
is fitted (least squares) within each round of a few sizes, and the median over the rounds counts, which is robust
against a disturbed round. A quotient of one size and one time would include the round trip and the hosts. TCP's slow
start does not affect these rounds, which run back to back over a warm connection. The excess of echoes after a pause
shows whether the link has it.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence

from ..records import CollabplanError, EchoTimes, Link
from ..records.base import quantile
from ..records.link import HEADER_BYTES, SEGMENT_BYTES
from .link import segment_count, slow_start_ms

_WIRE_BITS = 8e3 * (1 + HEADER_BYTES / SEGMENT_BYTES)
ECHO_FIXED_MS, ECHO_MS_PER_BYTE = 0.6, 0.65e-6
"""The hosts' time for an echo (unary calls, one after the other), fixed and per byte, in addition to the network.
Measured over loopback on a 2-core server. A request of the runtime takes more: see `link.HOP_FIXED_MS`."""

_WIDEST = 0.95
"""The largest spread. It must be below 1: no formula can use the spread of a link that sometimes stalls."""

_LEAST_STALL_MS = 1.0
"""The shortest stall that echoes can show."""


def fit_link(round_trips_ms: Sequence[float], echoes: Sequence[EchoTimes]) -> tuple[Link, tuple[str, ...]]:
    """The link that fits the echoes, and warnings about it.

    Args:
        round_trips_ms: times of empty echoes.
        echoes: of a few sizes in each direction alone, in rounds: the n-th times of all sizes are one round. Echoes
            after a pause serve only to find slow start.

    Raises:
        CollabplanError: no empty echo, or fewer than two sizes in a direction.
    """
    if not round_trips_ms:
        raise CollabplanError("a link needs at least one empty echo to be measured by")
    warnings: list[str] = []
    ordered = sorted(round_trips_ms)
    rtt_ms = max(quantile(ordered, 0.5) - ECHO_FIXED_MS, 0.0)
    up, up_spread = _bandwidth(echoes, lambda echo: (echo.up_bytes, echo.down_bytes), "up", warnings)
    down, down_spread = _bandwidth(echoes, lambda echo: (echo.down_bytes, echo.up_bytes), "down", warnings)
    link = Link(
        bandwidth_bps=up,
        download_bps=down,
        rtt_ms=rtt_ms,
        bandwidth_spread=max(up_spread, down_spread),
        rtt_spread=min((quantile(ordered, 0.95) - quantile(ordered, 0.05)) / 2 / rtt_ms, _WIDEST) if rtt_ms else 0.0,
        source="measured",
        sample_count=len(round_trips_ms) + sum(len(echo.times_ms) for echo in echoes),
    )
    if max(link.bandwidth_spread, link.rtt_spread) > 0.5:
        warnings.append("the link is unsteady: its figures scatter by more than half, measure again or for longer")
    return link.model_copy(update={"slow_start": _slow_start(link, echoes)}), tuple(warnings)


def _bandwidth(
    echoes: Sequence[EchoTimes], sizes: Callable[[EchoTimes], tuple[int, int]], way: str, warnings: list[str]
) -> tuple[float, float]:
    """Bits per second one way, and the relative half-width of the rounds' 90 %."""
    chosen = [echo for echo in echoes if not echo.after_pause and sizes(echo)[0] > sizes(echo)[1]]
    along = [float(sizes(echo)[0]) for echo in chosen]
    if len(set(along)) < 2:
        raise CollabplanError(f"the bandwidth {way} needs echoes of two sizes at least; measure again")
    rounds = list(zip(*(echo.times_ms for echo in chosen), strict=False))
    slopes = sorted(statistics.linear_regression(along, times).slope for times in rounds)
    slope = quantile(slopes, 0.5)
    if slope <= 0:
        raise CollabplanError(
            f"larger messages took no longer {way}: the link is too unsteady, or too fast, to be measured; declare "
            "--bandwidth and --rtt"
        )
    wire = slope - ECHO_MS_PER_BYTE
    if wire < slope / 4:
        warnings.append(f"the hosts are slower than the link {way}: its bandwidth is that at least")
        wire = slope / 4
    spread = (quantile(slopes, 0.95) - quantile(slopes, 0.05)) / 2 / wire
    return _WIRE_BITS / wire, min(spread, _WIDEST)


def _slow_start(link: Link, echoes: Sequence[EchoTimes]) -> bool:
    """True where a pause makes echoes longer by at least half of what slow start costs.

    Also True where slow start costs too little to be seen, and to matter, and where there is nothing to compare.
    """
    warm = {(echo.up_bytes, echo.down_bytes): echo for echo in echoes if not echo.after_pause}
    longer = expected = 0.0
    for echo in echoes:
        same = warm.get((echo.up_bytes, echo.down_bytes))
        stall = slow_start_ms(segment_count(echo.up_bytes), link)
        if echo.after_pause and same is not None and stall >= _LEAST_STALL_MS:
            longer += statistics.median(echo.times_ms) - statistics.median(same.times_ms)
            expected += stall
    return expected == 0 or longer > expected / 2
