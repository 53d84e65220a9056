"""Times the two halves of candidate cuts as wholes, interleaved with the whole model.

A round runs every chosen cut once, the prefix and then the suffix on the tensors that the prefix has just
made, and the whole model between cuts. The next round runs in the opposite order. So a machine that
becomes slower for a while slows all cuts alike, and the medians stay comparable. Rounds go on until every median is
known closely (`steady_enough`), or the budget is spent. Disturbed runs do not count (`steady`).

A rest precedes each run: in a deployment each side waits for the other and for the link, and starts with cold caches
(measured: 10 % slower at 30 ms, 20 % at 3 ms). The budget of seconds decides how many cuts get `MIN_SAMPLES` samples
each. Cuts that one tensor crosses come first, then those with more tensors; among equals comes the one farthest (in
node time) from all chosen before it. The other cuts are interpolated between their measured neighbours by the node
breakdown, and marked; then all are put into order (`cut_timings`).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import Any

from torch import Tensor

from ..graph import Cut, TracedGraph, split
from ..records import Role
from ..records.byte_cache import ByteBoundedCache
from .cut_timings import CutTiming, CutTimings, fill, in_order
from .steady import steady_timing
from .timers import R, Timer, timed

MIN_SAMPLES = 5
ENOUGH_SAMPLES = 10
MAX_SAMPLES = 25
"""Undisturbed samples of each half: to be measured at all, to be known closely, and the most that are taken."""

MAX_ROUNDS = 60
"""Rounds after which no more are taken, however many runs were disturbed."""

CLOSE = 0.02
"""A median is known closely if its 90 % interval reaches at most this share of the whole model's time to each side."""

WHOLE_EVERY = 6
"""The number of cuts between two runs of the whole model."""

REST_S, REST_SHARE = 0.01, 1e-3
"""The rest before each timed run: seconds, and at most this share of the budget."""

CACHE_BYTES = 512 * 2**20
"""The most crossing tensors kept for timing suffixes alone. Beyond it the prefix makes them again, untimed."""


@dataclass(eq=False)
class _Run:
    """One measured cut: its halves, and the samples so far in milliseconds."""

    cut: Cut
    edge: Callable[..., Any]
    cloud: Callable[..., Any]
    edge_ms: list[float] = field(default_factory=list)
    cloud_ms: list[float] = field(default_factory=list)

    @property
    def count(self) -> int:
        """The number of samples so far."""
        return max(len(self.edge_ms), len(self.cloud_ms))

    def timing(self) -> CutTiming:
        """The summary of the samples."""
        edge = steady_timing(self.edge_ms) if self.edge_ms else None
        cloud = steady_timing(self.cloud_ms) if self.cloud_ms else None
        return CutTiming(edge, cloud, interpolated=False)


def time_cuts(
    traced: TracedGraph,
    cuts: Sequence[Cut],
    depth_ms: Mapping[str, float],
    timer: Timer,
    role: Role,
    seconds: float,
    on_fraction: Callable[[float], None] | None = None,
) -> CutTimings:
    """Time prefixes and suffixes of `cuts` on the example inputs of `traced`.

    Args:
        traced: the placed graph (see `placement`).
        cuts: all candidates of this graph, cloud-only and edge-only included.
        depth_ms: by cut id, the node time of its edge half, to choose cuts and to interpolate.
        timer: of the device.
        role: `edge` times prefixes alone, `cloud` suffixes alone.
        seconds: the budget. The whole model gets `MIN_SAMPLES` samples even beyond it.
        on_fraction: called between rounds with the share that is done.
    """
    session = _Session(traced, timer, role, seconds, on_fraction)
    session.warm_up()
    session.measure(ranked([cut for cut in cuts if cut.kind == "proper"], depth_ms), depth_ms)
    found = {run.cut.id: run.timing() for run in session.runs}
    measured, whole = in_order(cuts, found, steady_timing(session.whole_ms))
    return CutTimings(whole, fill(cuts, depth_ms, measured, whole, role))


class _Session:
    """One measurement: which halves run, in which order, and until when."""

    def __init__(
        self,
        traced: TracedGraph,
        timer: Timer,
        role: Role,
        seconds: float,
        on_fraction: Callable[[float], None] | None,
    ) -> None:
        self.traced, self.timer, self.role = traced, timer, role
        self.inputs = traced.example_inputs
        self.started = time.monotonic()
        self.deadline = self.started + seconds
        self.rest_s = min(REST_S, REST_SHARE * seconds)
        self.on_fraction = on_fraction
        self.runs: list[_Run] = []
        self.whole_ms: list[float] = []
        self.whole_wall_ms: list[float] = []
        self.crossings = ByteBoundedCache[str, tuple[Tensor, ...]](CACHE_BYTES, _storage_bytes, evicts=False)

    def warm_up(self) -> None:
        """Three runs of the whole model: the first prepares kernels, the others set the expectation."""
        for _ in range(3):
            self.run_whole()
        self.expected_ms = min(self.whole_wall_ms[1:])
        self.whole_ms.clear()

    def run_whole(self) -> None:
        """Take one sample of the whole model, as the flat graph that the halves are made of."""
        started = time.monotonic()
        elapsed_ms, _ = self.timed(self.traced.flat, *self.inputs)
        self.whole_ms.append(elapsed_ms)
        self.whole_wall_ms.append(1e3 * (time.monotonic() - started - self.rest_s))

    def timed(self, function: Callable[..., R], *args: Any) -> tuple[float, R]:
        """Milliseconds and result of a run after a rest."""
        time.sleep(self.rest_s)
        return timed(self.timer, function, *args)

    def measure(self, order: Sequence[Cut], depth_ms: Mapping[str, float]) -> None:
        """Measure as many cuts as get enough samples, in this order, then take more samples of all of them."""
        pending = list(order)
        while pending:
            chosen = self.choose(pending, depth_ms)
            if not chosen:
                break
            self.runs += self.sample(chosen)
        while len(self.whole_ms) < MIN_SAMPLES:
            self.run_whole()
        round_s = 0.0
        while self.left_s() > round_s and not self.known_closely():
            round_s = self.round(self.runs)

    def known_closely(self) -> bool:
        """Need no more rounds be run?"""
        if min((run.count for run in self.runs), default=len(self.whole_ms)) >= MAX_ROUNDS:
            return True
        least_ms = CLOSE * median(self.whole_ms)
        series = [self.whole_ms, *(each for run in self.runs for each in (run.edge_ms, run.cloud_ms) if each)]
        return all(steady_enough(each, least_ms) for each in series)

    def left_s(self) -> float:
        """Seconds to the deadline, negative beyond it."""
        return self.deadline - time.monotonic()

    def choose(self, pending: list[Cut], depth_ms: Mapping[str, float]) -> list[_Run]:
        """Take cuts off `pending`, split them and warm them up, as long as the budget suffices to sample them all."""
        total_ms = max(depth_ms.values(), default=0.0)
        chosen: list[_Run] = []
        promised_ms = self.expected_ms * (MIN_SAMPLES + 1)
        while pending:
            share = depth_ms[pending[0].id] / total_ms if total_ms else 0.5
            cost_ms = self.expected_ms * (cost_share(self.role, share) + 1 / WHOLE_EVERY)
            cost_ms += 1e3 * self.rest_s * ((2 if self.role == "both" else 1) + 1 / WHOLE_EVERY)
            promised_ms += MIN_SAMPLES * cost_ms
            if promised_ms + cost_ms > 1e3 * self.left_s():
                break
            halves = split(self.traced, pending[0])
            run = _Run(pending.pop(0), halves.edge.graph_module, halves.cloud.graph_module)  # type: ignore[arg-type]
            self.run_once(run)
            run.edge_ms.clear()
            run.cloud_ms.clear()
            chosen.append(run)
        return chosen

    def sample(self, runs: list[_Run]) -> list[_Run]:
        """`MIN_SAMPLES` rounds over new cuts. If the machine has become slower, the last of them are given up."""
        for left in range(MIN_SAMPLES, 0, -1):
            needed_s = left * self.round(runs, backwards=bool(left % 2))
            needed_s *= (left - 1) / left
            if needed_s > 1.25 * max(self.left_s(), 0.0):
                runs = runs[: int(len(runs) * max(self.left_s(), 0.0) / needed_s)]
        self.expected_ms = median(self.whole_wall_ms[-MIN_SAMPLES:])
        return runs

    def round(self, runs: Sequence[_Run], *, backwards: bool = False) -> float:
        """One sample of each of `runs` in the order of depth, with the whole model between them. Returns seconds."""
        started = time.monotonic()
        for index, run in enumerate(sorted(runs, key=lambda run: run.cut.depth, reverse=backwards)):
            if index % WHOLE_EVERY == 0:
                self.run_whole()
            self.run_once(run)
        self.run_whole()
        self.report()
        return time.monotonic() - started

    def run_once(self, run: _Run) -> None:
        """One sample of the cut's halves, as far as the role needs them."""
        if self.role == "cloud":
            crossing = self.crossing_of(run)
        else:
            elapsed_ms, crossing = self.timed(run.edge, *self.inputs)
            run.edge_ms.append(elapsed_ms)
        if self.role != "edge":
            elapsed_ms, _ = self.timed(run.cloud, *crossing)
            run.cloud_ms.append(elapsed_ms)

    def crossing_of(self, run: _Run) -> tuple[Tensor, ...]:
        """What crosses the cut, kept for the next samples of its suffix while there is room."""
        crossing = self.crossings.get(run.cut.id)
        if crossing is None:
            crossing = run.edge(*self.inputs)
            self.crossings.put(run.cut.id, crossing)
        return crossing

    def report(self) -> None:
        """Report the share that is done."""
        if self.on_fraction:
            spent = time.monotonic() - self.started
            self.on_fraction(min(1.0, spent / max(self.deadline - self.started, 1e-9)))


def steady_enough(samples_ms: Sequence[float], least_ms: float) -> bool:
    """Is the median of the undisturbed runs known to `least_ms`, or are there as many runs as are ever taken?

    The standard error of a normal median is 1.2533 sigma / sqrt(n), and the interquartile range 1.349 sigma.
    """
    timing = steady_timing(samples_ms)
    count = len(timing.samples_ms)
    reach_ms = 1.645 * 1.2533 * timing.iqr_ms / 1.349 / count**0.5
    return count >= MAX_SAMPLES or (count >= ENOUGH_SAMPLES and reach_ms <= least_ms)


def _storage_bytes(crossing: tuple[Tensor, ...]) -> int:
    return sum(tensor.untyped_storage().nbytes() for tensor in crossing)


def cost_share(role: Role, share: float) -> float:
    """The cost of one sample of a cut as a share of the whole model's, where `share` is that of the prefix."""
    return {"both": 1.0, "edge": share, "cloud": 1.0 - share}[role]


def ranked(cuts: Sequence[Cut], depth_ms: Mapping[str, float]) -> list[Cut]:
    """Proper cuts by importance: fewer crossing tensors first, then the farthest from those before."""
    total_ms = max(depth_ms.values(), default=0.0)
    order: list[Cut] = []
    for count in sorted({len(cut.crossing) for cut in cuts}):
        group = [cut for cut in cuts if len(cut.crossing) == count]
        taken = [0.0, total_ms, *(depth_ms[cut.id] for cut in order)]
        gaps = [min(abs(depth_ms[cut.id] - place) for place in taken) for cut in group]
        while group:
            best = max(range(len(group)), key=gaps.__getitem__)
            chosen = group.pop(best)
            gaps.pop(best)
            order.append(chosen)
            place = depth_ms[chosen.id]
            gaps = [min(gap, abs(depth_ms[cut.id] - place)) for gap, cut in zip(gaps, group, strict=True)]
    return order
