"""A link from echoes: bandwidth, round trip and their spread, by the terms of the formula in `link`.

An echo of u bytes up and d bytes down over a connection in use takes

    echo = RTT  +  8 (1 + 40/1460) (u / R_up + d / R_down)  +  what both hosts spend on two hops (`ECHO_FIXED_MS`)

so the round trip is the median empty echo less the hosts' share, and a bandwidth is the slope of time over size: within
each round of a few sizes a line is fitted (least squares), and the median over the rounds counts, which a disturbed
round does not move. One size over one time would hold the round trip and the hosts too. TCP's slow start is kept out of
it: the rounds run back to back over a warm connection. Echoes after a pause tell by their excess whether there is one.
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
"""What both hosts spend on an echo (a unary call, one after the other) beside the network, and on each of its bytes.
Measured over loopback on a 2-core server. A request of the runtime costs them more: see `link.HOP_FIXED_MS`."""

_WIDEST = 0.95
"""A spread is below 1: a link that stands still now and then has none that a formula could use."""

_LEAST_STALL_MS = 1.0


def fit_link(round_trips_ms: Sequence[float], echoes: Sequence[EchoTimes]) -> tuple[Link, tuple[str, ...]]:
    """The link that echoes show, and what is doubtful about it.

    Args:
        round_trips_ms: of empty echoes.
        echoes: of a few sizes in each direction alone, in rounds: the times at one place of all sizes are one round.
            Those after a pause tell of slow start and nothing else.

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


def expected_echo_ms(echo: EchoTimes, link: Link) -> float:
    """An echo over a connection in use, by the formula above."""
    wire = echo.up_bytes / link.bandwidth_bps + echo.down_bytes / link.back.bandwidth_bps
    return link.rtt_ms + _WIRE_BITS * wire + _hosts_ms(echo)


def _hosts_ms(echo: EchoTimes) -> float:
    return ECHO_FIXED_MS + ECHO_MS_PER_BYTE * (echo.up_bytes + echo.down_bytes)


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
    """Whether echoes after a pause took longer than the same without, by at least half of what slow start costs.

    True also where it costs too little to be seen, which then matters to nobody, and where nothing can be compared.
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
