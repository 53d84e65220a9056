"""The network between edge and cloud as a formula: the transfer time of one message of given size.

The connection stays open, so there is no handshake. But Linux resets an idle connection to its
initial window (`tcp_slow_start_after_idle`), so every request goes through TCP's slow start again. With
segments of MSS = 1460 bytes of data and 40 bytes of headers, R the bandwidth, t = 8 (MSS + 40) / R
the time one segment occupies the wire, n = ceil(payload / MSS) segments and windows of
w_k = 10 * 2^k segments (k = 0, 1, ...; RFC 6928, RFC 5681), a message that needs K windows takes

    transfer = 8 (payload + 40 n) / R  +  RTT / 2  +  sum_{k=0}^{K-2} max(0, RTT + t - w_k t)

that is serialisation on the wire, propagation, and the stall after each window that is exhausted
before its first acknowledgement is back (Kurose & Ross, *Computer Networking*, TCP delay modelling
with a dynamic window, initial window 10 instead of 1). The formula knows no loss, queueing, receive-window limit or
delayed acknowledgement. Losses and a busy link make a transfer longer. A link that was measured to have no slow start
(`Link.slow_start`) has no stalls. A link with two speeds is given as its direction sees it (`Link.back`).
"""

from __future__ import annotations

import math

from ..graph import Step
from ..records import CollabplanError, Interval, Link
from ..records.link import HEADER_BYTES, INITIAL_WINDOW_SEGMENTS, SEGMENT_BYTES

HOP_FIXED_MS = 0.7
HOP_MS_PER_BYTE = 1.5e-6
"""Host cost of one hop in the runtime: a line fitted to half of what a request over loopback takes in addition to both
halves (1.4 ms at 4 KB, 1.6 ms at 33 KB, 2.0 ms at 200 KB, 2.6 ms at 800 KB, each with a small answer). Measured between
processes that rest between requests on a 2-core server. A stream echo in a tight loop takes a third of it."""


def transfer_ms(payload_bytes: int, link: Link) -> float:
    """Milliseconds from the first byte sent to the last byte received, one way, by this module's formula.

    An empty payload takes no time. The result is non-decreasing in the payload and in the round trip,
    and non-increasing in the bandwidth.

    Args:
        payload_bytes: the message without headers.
        link: as the message's direction sees it.

    Raises:
        CollabplanError: a negative payload.

    Examples:
        >>> from collabplan.profilers import transfer_ms
        >>> from collabplan.records import Link
        >>> round(transfer_ms(1460, Link(bandwidth_bps=12e6, rtt_ms=10.0)), 3)
        6.0
    """
    segments = segment_count(payload_bytes)
    if segments == 0:
        return 0.0
    wire_ms = (payload_bytes + HEADER_BYTES * segments) * 8e3 / link.bandwidth_bps
    return wire_ms + link.rtt_ms / 2 + slow_start_ms(segments, link)


def slow_start_ms(segments: int, link: Link) -> float:
    """Milliseconds in which the sender waits for acknowledgements while its window still grows.

    Args:
        segments: TCP segments of the message.
        link: as the message's direction sees it.

    Examples:
        >>> from collabplan.profilers import slow_start_ms
        >>> from collabplan.records import Link
        >>> slow_start_ms(10, Link.assumed()), slow_start_ms(11, Link.assumed()) > 0
        (0.0, True)
    """
    if not link.slow_start:
        return 0.0
    segment_ms = (SEGMENT_BYTES + HEADER_BYTES) * 8e3 / link.bandwidth_bps
    stalled_ms, sent, window = 0.0, 0, INITIAL_WINDOW_SEGMENTS
    while sent + window < segments:
        stall_ms = link.rtt_ms + segment_ms - window * segment_ms
        if stall_ms <= 0:
            break
        stalled_ms += stall_ms
        sent += window
        window *= 2
    return stalled_ms


def slow_start_steps(link: Link) -> list[Step]:
    """`slow_start_ms` as steps in the payload: the bytes that fit before each further wait, and the waits so far."""
    steps: list[Step] = []
    segments, window = INITIAL_WINDOW_SEGMENTS, INITIAL_WINDOW_SEGMENTS
    while not steps or slow_start_ms(segments, link) > steps[-1].ms:
        steps.append(Step(segments * SEGMENT_BYTES, slow_start_ms(segments, link)))
        window *= 2
        segments += window
    return [*steps[:-1], Step(math.inf, steps[-1].ms)]


def byte_ms(link: Link) -> float:
    """Milliseconds per byte between two steps: wire, headers and hosts. Exact up to the header of the last segment."""
    return (1 + HEADER_BYTES / SEGMENT_BYTES) * 8e3 / link.bandwidth_bps + HOP_MS_PER_BYTE


def segment_count(payload_bytes: int) -> int:
    """The number of TCP segments for `payload_bytes`. Raises CollabplanError for a negative payload."""
    if payload_bytes < 0:
        raise CollabplanError(f"a payload cannot have {payload_bytes} bytes; give zero or more")
    return math.ceil(payload_bytes / SEGMENT_BYTES)


def transfer_interval(payload_bytes: int, link: Link) -> Interval:
    """`transfer_ms` with the interval from the link's spreads, in milliseconds.

    The transfer time is monotone in bandwidth and round trip, so its ends lie at the corners: fast
    and near, slow and far. Both spreads are 90 % intervals. Both are taken at their ends at once, so the coverage is at
    least 90 % (two independent extremes rarely coincide). Zero spreads give a point: declared figures count as exact.

    Args:
        payload_bytes: the message without headers.
        link: as the message's direction sees it.

    Raises:
        CollabplanError: a negative payload.

    Examples:
        >>> from collabplan.profilers import transfer_interval
        >>> from collabplan.records import Link
        >>> found = transfer_interval(1460, Link(bandwidth_bps=12e6, rtt_ms=10.0, rtt_spread=0.2))
        >>> round(found.low, 3), round(found.high, 3)
        (5.0, 7.0)
    """
    return Interval(
        value=transfer_ms(payload_bytes, link),
        low=transfer_ms(payload_bytes, scaled(link, 1 + link.bandwidth_spread, 1 - link.rtt_spread)),
        high=transfer_ms(payload_bytes, scaled(link, 1 - link.bandwidth_spread, 1 + link.rtt_spread)),
        level=0.9,
    )


def scaled(link: Link, bandwidth: float, rtt: float) -> Link:
    """The link with its bandwidth and round trip multiplied by two factors."""
    return link.model_copy(update={"bandwidth_bps": link.bandwidth_bps * bandwidth, "rtt_ms": link.rtt_ms * rtt})


def serialisation_ms(payload_bytes: int) -> float:
    """Milliseconds that both hosts spend on one hop in addition to the network: framing, copies, system calls.

    This is an affine fit (see `HOP_MS_PER_BYTE`) to requests on one class of machine, not a measurement of
    yours. It is small compared with any real network. An empty payload costs nothing.

    Args:
        payload_bytes: the message without headers.

    Raises:
        CollabplanError: a negative payload.

    Examples:
        >>> from collabplan.profilers import serialisation_ms
        >>> serialisation_ms(0), serialisation_ms(200_000)
        (0.0, 1.0)
    """
    if segment_count(payload_bytes) == 0:
        return 0.0
    return HOP_FIXED_MS + HOP_MS_PER_BYTE * payload_bytes
