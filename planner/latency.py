"""End-to-end latency of one request, predicted by adding up what was measured and what the link formula says.

    latency = edge + defense + serialisation + transfer + cloud + download

Medians are added for the median, and the parts' own 95 % quantiles for p95: exact where all parts are
slow together, too long where they are independent, so that a budget held at p95 errs on the safe side.
The median's 90 % interval takes device, network and cloud to be independent: their distances to their
own 5 % and 95 % quantiles are added in squares. These are quantiles of single runs, farther from the
median than a later series' median is. Runs of one profile do not show how the machine's speed differs from one
session to the next: that is assumed (`DRIFT`), for both sides at once, and added in squares to either figure. Neither
covers contention with other programs, whose runs the profiler does not count, or another network.
"""

from __future__ import annotations

import math

from ..defenses.dropout import DropoutStage
from ..defenses.noise import NoiseStage
from ..defenses.pipeline import Defense
from ..defenses.quantizer import QuantizerStage
from ..profilers.cuts import MIN_SAMPLES
from ..profilers.joining import JoinedCut
from ..profilers.link import serialisation_ms, transfer_interval
from ..records import EdgePower, Interval, Latency, LatencyParts, Link, ResultAt, Timing
from ..records.base import quantile

STEP_FIXED_MS = 0.03
"""Milliseconds of each stage of the defense per tensor, beside the stage's own nanoseconds per element. Measured on one
thread of a 2-core x86 server with torch 2.13 (10^4 to 10^6 elements; element masks, noise and stochastic
rounding cost a number each from the operating system's cryptographic generator, or from a key, which is a
little quicker). A model constant and not a measurement of the user's device, so that a candidate's figures
never depend on the moment; `edge_slowdown` applies."""

LEVEL = 0.9
"""Of the intervals: 5 % and 95 % quantiles."""

DRIFT = 0.1
"""How far a machine's speed in another session lies from that of the profile, at the ends of a 90 % interval, as a
share. An assumption and not a measurement of the user's machine: the 2-core server on which it was chosen wandered by
10 to 20 % within minutes."""

REQUEST_FIXED_MS, RECEIVE_FIXED_MS = 0.5, 0.4
"""What a request costs whatever is in it: the device checks the input and makes the request; in the cloud it waits for
its turn and is unpacked, and the answer is packed. Measured where both rest between requests."""


def defense_ms(defense: Defense, batch: int = 1) -> float:
    """Milliseconds that the device spends on what the defense does to one request of `batch` samples."""
    total = 0.0
    for spent_ns in defense.transforms.nanoseconds():
        total += STEP_FIXED_MS + batch * spent_ns * 1e-6
    record = defense.record
    for crossing in defense.tail.crossing:
        elements = crossing.sample_elements * batch
        if record.dropout is not None and defense.drops(crossing):
            total += STEP_FIXED_MS + elements * DropoutStage.nanoseconds[record.dropout.granularity] * 1e-6
        if record.noise is not None and defense.noises(crossing):
            total += STEP_FIXED_MS + elements * NoiseStage.nanoseconds[record.noise.distribution] * 1e-6
        if defense.wire_bits(crossing) is not None:
            rounding = QuantizerStage.rounding_nanoseconds if record.rounds_randomly else 0.0
            total += STEP_FIXED_MS + elements * (QuantizerStage.nanoseconds + rounding) * 1e-6
    return total


def predict_latency(
    cut: JoinedCut,
    link: Link,
    *,
    upload_bytes: int,
    download_bytes: int,
    device_defense_ms: float = 0.0,
    edge_slowdown: float = 1.0,
    result_at: ResultAt = "edge",
) -> Latency:
    """Latency of one request at the profile's batch size.

    Args:
        cut: the edge device's prefix joined with the cloud's suffix.
        link: the network between them.
        upload_bytes: what the edge sends in one request: the released tensors of the whole batch.
        download_bytes: what the cloud sends back in one request where the result is wanted at the edge.
        device_defense_ms: see `defense_ms`, for the whole batch.
        edge_slowdown: declared factor on everything that the edge computes.
        result_at: where the result is wanted. Edge-only with the result at the edge sends nothing.
    """
    edge_only = cut.cut.kind == "edge-only"
    sent = 0 if edge_only and result_at == "edge" else upload_bytes
    fetched = 0 if edge_only or result_at == "cloud" else download_bytes
    prefix, suffix = _spread(cut.edge, edge_slowdown), _spread(cut.cloud, fixed_ms=RECEIVE_FIXED_MS if sent else 0.0)
    up, down, network = _ways(sent, fetched, link)
    defending = (device_defense_ms + REQUEST_FIXED_MS) * edge_slowdown if sent else 0.0
    packing = serialisation_ms(sent) + serialisation_ms(fetched)
    parts = LatencyParts(
        edge_ms=prefix.value,
        defense_ms=defending,
        serialisation_ms=packing,
        transfer_ms=up.value,
        cloud_ms=suffix.value,
        download_ms=down.value,
    )
    constant = defending + packing
    p50 = prefix.value + suffix.value + network.value + constant
    drift = DRIFT * sum(side.p50_ms * factor for side, factor in ((cut.edge, edge_slowdown), (cut.cloud, 1.0)) if side)
    faster = math.hypot(*(part.value - part.low for part in (prefix, suffix, network)), drift)
    below = min(faster, p50 - constant)
    above = math.hypot(*(part.high - part.value for part in (prefix, suffix, network)), drift)
    slow = math.hypot(prefix.high - prefix.value + suffix.high - suffix.value, drift)
    return _latency(p50, below, above, p50 + slow + network.high - network.value, parts)


def edge_energy_mj(latency: Latency, moved_bytes: int, power: EdgePower) -> float:
    """Millijoules of one request on the device: what it computes at its watts, what its radio moves.

    Args:
        latency: of the request; its edge and defense parts count, as medians.
        moved_bytes: sent and received.
    """
    computing_ms = latency.parts.edge_ms + latency.parts.defense_ms
    return power.watts * computing_ms + power.joules_per_megabyte * moved_bytes * 1e-3


def _spread(timing: Timing | None, factor: float = 1.0, *, fixed_ms: float = 0.0) -> Interval:
    """Median, 5 % and 95 % quantile of one side, in milliseconds; nothing to run takes no time of its own.

    The outer quantiles of n runs lie nearer to their median than those of all runs do. Their distances are multiplied
    by 1 + 3 / n, which for normal runs is right within 2 % from n = 5 on (a test draws them). An interpolated timing
    has no runs of its own: it counts as one of the fewest that are measured. The lower distance is that of the runs
    from their own median, from which the profile's may have been moved.
    """
    if timing is None:
        return Interval(value=fixed_ms, low=fixed_ms, high=fixed_ms, level=LEVEL)
    runs, middle = sorted(timing.samples_ms), timing.p50_ms
    widened = factor * (1 + 3 / (len(runs) or MIN_SAMPLES))
    above = widened * (timing.p95_ms - middle)
    below = widened * (quantile(runs, 0.5) - quantile(runs, 0.05)) if runs else above
    value = middle * factor + fixed_ms
    return Interval(value=value, low=max(value - below, fixed_ms), high=value + above, level=LEVEL)


def over_link(latency: Latency, planned: Link, link: Link, *, upload_bytes: int, download_bytes: int) -> Latency:
    """A prediction for one link as it is for another: the ways up and down are exchanged, all else stays.

    Args:
        latency: as predicted for `planned`.
        upload_bytes, download_bytes: of one request; a way that took no time was not gone and is not now.
    """
    if link == planned:
        return latency
    sent = upload_bytes if latency.parts.transfer_ms else 0
    fetched = download_bytes if latency.parts.download_ms else 0
    _, _, before = _ways(sent, fetched, planned)
    up, down, after = _ways(sent, fetched, link)
    median = latency.p50_ms
    return _latency(
        median.value + after.value - before.value,
        _exchanged(median.value - median.low, before.value - before.low, after.value - after.low),
        _exchanged(median.high - median.value, before.high - before.value, after.high - after.value),
        latency.p95_ms + after.high - before.high,
        latency.parts.model_copy(update={"transfer_ms": up.value, "download_ms": down.value}),
    )


def _ways(sent: int, fetched: int, link: Link) -> tuple[Interval, Interval, Interval]:
    """Milliseconds up, down, and both as one network: where it is slow, it is slow both ways."""
    up, down = transfer_interval(sent, link), transfer_interval(fetched, link.back)
    both = Interval(value=up.value + down.value, low=up.low + down.low, high=up.high + down.high, level=LEVEL)
    return up, down, both


def _exchanged(whole: float, before: float, after: float) -> float:
    """A distance made of squares, with one part's distance exchanged for another's."""
    return math.sqrt(max(whole**2 - before**2, 0.0) + after**2)


def _latency(p50: float, below: float, above: float, p95: float, parts: LatencyParts) -> Latency:
    """The median, how far its interval reaches to either side, and the p95, which rounding may put below the median."""
    p50_ms = Interval(value=p50, low=p50 - below, high=p50 + above, level=LEVEL)
    return Latency(p50_ms=p50_ms, p95_ms=max(p95, p50), parts=parts)
