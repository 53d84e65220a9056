"""Times the two halves of candidate cuts as wholes, interleaved with the whole model.

A round runs every chosen cut once, the prefix and then the suffix on the tensors that the prefix has just
made, and the whole model between cuts. The next round runs in the opposite order. So a machine that
becomes slower for a while slows all cuts alike, and the medians stay comparable. A rest precedes each run: in a
deployment each side waits for the other and for the link, and starts with cold caches (measured: 10 % slower at 30 ms,
20 % at 3 ms). The budget of seconds decides how many cuts get `MIN_SAMPLES` samples each. Cuts that one tensor crosses
come first, then those with more tensors; among equals comes the one farthest (in node time) from all chosen before it.
The other cuts are interpolated between their measured neighbours by the node breakdown, and marked.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import Any

from torch import Tensor

from ..graph import Cut, TracedGraph, split
from ..records import Role, Timing
from ..records.byte_cache import ByteBoundedCache
from .interpolation import NO_TIME, between
from .timers import R, Timer, timed

MIN_SAMPLES = 5
MAX_SAMPLES = 25
WHOLE_EVERY = 6
"""The number of cuts between two runs of the whole model."""

REST_S, REST_SHARE = 0.01, 1e-3
"""The rest before each timed run: seconds, and at most this share of the budget."""

CACHE_BYTES = 512 * 2**20
"""The most crossing tensors kept for timing suffixes alone. Beyond it the prefix makes them again, untimed."""


@dataclass(frozen=True, slots=True)
class CutTiming:
    """Prefix and suffix of one cut; None where the role or the cut lacks that part."""

    edge: Timing | None
    cloud: Timing | None
    interpolated: bool


@dataclass(frozen=True)
class CutTimings:
    """The whole model, and every cut by id."""

    whole: Timing
    cuts: dict[str, CutTiming]


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
        edge = Timing.from_samples(self.edge_ms) if self.edge_ms else None
        cloud = Timing.from_samples(self.cloud_ms) if self.cloud_ms else None
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
    whole = Timing.from_samples(session.whole_ms)
    measured = {run.cut.id: run.timing() for run in session.runs}
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
        self.crossings = ByteBoundedCache[str, tuple[Tensor, ...]](CACHE_BYTES, _storage_bytes, evicts=False)

    def warm_up(self) -> None:
        """Three runs of the whole model: the first prepares kernels, the others set the expectation."""
        for _ in range(3):
            self.run_whole()
        self.expected_ms = min(self.whole_ms[1:])
        self.whole_ms.clear()

    def run_whole(self) -> None:
        """Take one sample of the whole model, as the flat graph that the halves are made of."""
        elapsed_ms, _ = self.timed(self.traced.flat, *self.inputs)
        self.whole_ms.append(elapsed_ms)

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
        while self.fewest() < MAX_SAMPLES and self.left_s() > round_s:
            round_s = self.round(self.runs)

    def fewest(self) -> int:
        """The smallest number of samples of a cut, or that of the whole model if no cut is measured."""
        return min((run.count for run in self.runs), default=len(self.whole_ms))

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
        self.expected_ms = median(self.whole_ms[-MIN_SAMPLES:])
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


def fill(
    cuts: Sequence[Cut],
    depth_ms: Mapping[str, float],
    measured: Mapping[str, CutTiming],
    whole: Timing,
    role: Role,
) -> dict[str, CutTiming]:
    """The timings of all cuts: measured, the whole itself at both ends, the rest interpolated."""
    known = [(depth_ms[cut.id], measured[cut.id]) for cut in cuts if cut.id in measured]
    total_ms = max(depth_ms.values(), default=0.0)
    edges = [(0.0, NO_TIME), *((at, t.edge) for at, t in known if t.edge), (total_ms, whole)]
    clouds = [(0.0, whole), *((at, t.cloud) for at, t in known if t.cloud), (total_ms, NO_TIME)]
    edges.sort(key=lambda point: point[0])
    clouds.sort(key=lambda point: point[0])
    timings = {}
    for cut in cuts:
        if cut.kind == "proper":
            at = depth_ms[cut.id]
            timings[cut.id] = measured.get(cut.id) or CutTiming(
                edge=between(edges, at) if role != "cloud" else None,
                cloud=between(clouds, at) if role != "edge" else None,
                interpolated=True,
            )
        else:
            timings[cut.id] = CutTiming(
                edge=whole if cut.kind == "edge-only" and role != "cloud" else None,
                cloud=whole if cut.kind == "cloud-only" and role != "edge" else None,
                interpolated=False,
            )
    return timings
