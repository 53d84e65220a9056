"""Compares what was measured of a plan with what it predicts, and lists what is not as planned."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from ..planner.latency import over_link
from ..records import Interval, Latency, Link, Measured, Plan, collect_provenance
from .device.stopwatch import TimeSpent, timing
from .parts import EdgePart
from .wire.response_codec import answer_bytes

_Z90 = 1.645


@dataclass(frozen=True, slots=True)
class Measurements:
    """What was measured of a running plan.

    Attributes:
        link: the link that predictions are made for.
        shaped: the link was simulated on this machine.
        spent: the times of each request.
        direct: the times of the same requests without the simulated link; None if there was none.
        accuracy, metric: the mean score over the wire, and what was scored.
        sample_count: the samples that were scored.
        exact: the samples whose undefended outputs equal the halves in memory, or what differs; None if not compared.
    """

    link: Link
    shaped: bool
    spent: Sequence[TimeSpent]
    direct: Sequence[TimeSpent] | None
    accuracy: Interval
    metric: str
    sample_count: int
    exact: int | str | None


def judged(plan: Plan, part: EdgePart, found: Measurements, *, same_samples: bool) -> Measured:
    """The record of a verification: predictions, measurements, and violations of the plan.

    Args:
        plan: as it was chosen.
        part: its edge part.
        found: what was measured.
        same_samples: the plan's own accuracy was measured on the same samples.
    """
    slowdown = plan.edge_slowdown
    predicted = over_link(
        plan.chosen.latency,
        plan.link,
        found.link,
        upload_bytes=plan.chosen.payload_bytes * plan.batch,
        download_bytes=answer_bytes(part.manifest.part.outputs, plan.batch),
    )
    total = timing(found.spent, "total", slowdown)
    p50 = median_interval(total.samples_ms)
    violations = [
        *_latency_violations(p50, predicted),
        *_accuracy_violations(plan, found.accuracy, same_samples=same_samples),
        *([found.exact] if isinstance(found.exact, str) else []),
    ]
    return Measured(
        link=found.link,
        shaped=found.shaped,
        predicted=predicted,
        p50_ms=p50,
        total=total,
        edge=timing(found.spent, "edge", slowdown),
        defense=timing(found.spent, "defense", slowdown),
        way=timing(found.spent, "way"),
        cloud=timing(found.spent, "cloud"),
        direct=None if found.direct is None else timing(found.direct, "way"),
        edge_slowdown=slowdown,
        metric=found.metric,
        accuracy=found.accuracy,
        sample_count=found.sample_count,
        exact_samples=found.exact if isinstance(found.exact, int) else None,
        violations=tuple(violations),
        provenance=collect_provenance(),
    )


def median_interval(times_ms: Sequence[float]) -> Interval:
    """The median of some times with its 90 % interval by order statistics, in milliseconds.

    The ends are the order statistics of ranks n/2 -+ 1.645 sqrt(n) / 2.

    Source: the normal approximation of the binomial interval for a quantile (Conover, Practical Nonparametric
    Statistics, 1999, section 3.2).

    Examples:
        >>> median_interval([1.0, 2.0, 3.0]).value
        2.0
    """
    ordered, count = sorted(times_ms), len(times_ms)
    half = _Z90 * math.sqrt(count) / 2
    low, high = max(math.floor(count / 2 - half), 0), min(math.ceil(count / 2 + half), count - 1)
    middle = (ordered[(count - 1) // 2] + ordered[count // 2]) / 2
    return Interval(value=middle, low=min(ordered[low], middle), high=max(ordered[high], middle), level=0.9)


def _latency_violations(p50: Interval, predicted: Latency) -> Iterator[str]:
    """A median counts as outside if its whole interval is."""
    planned = predicted.p50_ms
    if p50.high < planned.low or p50.low > planned.high:
        side = "slower" if p50.low > planned.high else "faster"
        yield (
            f"latency is {side} than planned: p50 {p50.value:.4g} ms ({p50.low:.4g} to {p50.high:.4g}) is outside "
            f"{planned.low:.4g} to {planned.high:.4g} ms"
        )


def _accuracy_violations(plan: Plan, accuracy: Interval, *, same_samples: bool) -> Iterator[str]:
    """On the plan's own samples the value must lie in its interval; on others the two intervals must overlap."""
    wanted = plan.chosen.accuracy.accuracy
    low, high = (accuracy.value, accuracy.value) if same_samples else (accuracy.low, accuracy.high)
    if high < wanted.low or low > wanted.high:
        yield (
            f"accuracy over the wire is {accuracy.value:.4f} ({accuracy.low:.4f} to {accuracy.high:.4f}), outside the "
            f"plan's {wanted.low:.4f} to {wanted.high:.4f}"
        )
