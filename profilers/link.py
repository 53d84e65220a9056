"""The network between edge and cloud as a formula: how long one message of given size is under way.

The connection is kept open, so no handshake is paid, but Linux puts an idle connection back to its
initial window (`tcp_slow_start_after_idle`), so every request climbs TCP's slow start anew. With
segments of MSS = 1460 bytes of data and 40 bytes of headers, R the bandwidth, t = 8 (MSS + 40) / R
the time one segment occupies the wire, n = ceil(payload / MSS) segments and windows of
w_k = 10 * 2^k segments (k = 0, 1, ...; RFC 6928, RFC 5681), a message that needs K windows takes

    transfer = 8 (payload + 40 n) / R  +  RTT / 2  +  sum_{k=0}^{K-2} max(0, RTT + t - w_k t)

that is serialisation on the wire, propagation, and the stall after each window that is sent out
before its first acknowledgement is back (Kurose & Ross, *Computer Networking*, TCP delay modelling
with a dynamic window, initial window 10 instead of 1). No loss, no queueing, no receive-window limit,
no delayed acknowledgement. Losses and a busy link make it longer. A link that was measured to have no slow start
(`Link.slow_start`) has no stalls, and one that is slower in one direction is given as that direction sees it
(`Link.back`).
"""

from __future__ import annotations

import math

from ..graph import Step
from ..records import CollabplanError, Interval, Link
from ..records.link import HEADER_BYTES, INITIAL_WINDOW_SEGMENTS, SEGMENT_BYTES

HOP_FIXED_MS = 0.7
HOP_MS_PER_BYTE = 1.5e-6
"""Host cost of one hop in the runtime: half of what a request takes over loopback beside both halves (1.4 ms
at 4 KB, 1.6 ms at 33 KB, 2.0 ms at 200 KB, 2.6 ms at 800 KB with a small answer), fitted by a line. Measured between
processes that rest between requests on a 2-core server; a stream echo in a tight loop takes a third of it."""


def transfer_ms(payload_bytes: int, link: Link) -> float:
    """Milliseconds from the first byte sent to the last byte received, one way, by the formula above.

    Nothing to send takes no time. The result is non-decreasing in the payload and in the round trip,
    and non-increasing in the bandwidth.

    Raises:
        CollabplanError: a negative payload.
    """
    segments = segment_count(payload_bytes)
    if segments == 0:
        return 0.0
    wire_ms = (payload_bytes + HEADER_BYTES * segments) * 8e3 / link.bandwidth_bps
    return wire_ms + link.rtt_ms / 2 + slow_start_ms(segments, link)


def slow_start_ms(segments: int, link: Link) -> float:
    """Milliseconds in which the sender waits for acknowledgements while its window still grows."""
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
    """`slow_start_ms` as steps in the payload: the bytes that go out before each further wait, and the waits so far."""
    steps: list[Step] = []
    segments, window = INITIAL_WINDOW_SEGMENTS, INITIAL_WINDOW_SEGMENTS
    while not steps or slow_start_ms(segments, link) > steps[-1].ms:
        steps.append(Step(segments * SEGMENT_BYTES, slow_start_ms(segments, link)))
        window *= 2
        segments += window
    return [*steps[:-1], Step(math.inf, steps[-1].ms)]


def byte_ms(link: Link) -> float:
    """What one byte more costs between two steps: wire, headers and hosts. Exact up to the header of a last segment."""
    return (1 + HEADER_BYTES / SEGMENT_BYTES) * 8e3 / link.bandwidth_bps + HOP_MS_PER_BYTE


def segment_count(payload_bytes: int) -> int:
    """TCP segments that carry `payload_bytes`. Raises CollabplanError where it is negative."""
    if payload_bytes < 0:
        raise CollabplanError(f"a payload cannot have {payload_bytes} bytes; give zero or more")
    return math.ceil(payload_bytes / SEGMENT_BYTES)


def transfer_interval(payload_bytes: int, link: Link) -> Interval:
    """`transfer_ms` with the interval that the link's spreads give, in milliseconds.

    The transfer time is monotone in bandwidth and round trip, so its ends lie at the corners: fast
    and near, slow and far. Both spreads are 90 % intervals; taking both at their ends at once makes
    the result at least as wide as 90 % (two independent ends seldom meet). Zero spreads give a
    point: what is declared is then taken at its word.
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
    """Milliseconds both hosts spend on one hop beside the network: framing, copies, system calls.

    An affine fit (see `HOP_MS_PER_BYTE`) to requests on one class of machine, not a measurement of
    yours; small beside any real network. Nothing to send costs nothing.

    Raises:
        CollabplanError: a negative payload.
    """
    if segment_count(payload_bytes) == 0:
        return 0.0
    return HOP_FIXED_MS + HOP_MS_PER_BYTE * payload_bytes
