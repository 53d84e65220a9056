"""The edge client with a stopwatch: where the time of each request goes."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, cast

from ...graph import Program
from ...records import Timing
from ..parts import EdgePart
from .client import EdgeClient
from .model_inputs import Inputs


@dataclass(frozen=True, slots=True)
class TimeSpent:
    """The milliseconds of one request.

    Attributes:
        total: from the inputs to the output.
        edge: the edge half.
        defense: checking the inputs, defending what crosses, and making the frame.
        way: both ways over the link, including what both hosts spend on it.
        cloud: the server's queue and run, as it reports them.
    """

    total: float
    edge: float
    defense: float
    way: float
    cloud: float


class _Stopwatch:
    """A program that notes how long its last run took."""

    def __init__(self, program: Program) -> None:
        self._program = program
        self.last_ms = 0.0

    def __call__(self, *inputs: Any) -> Any:
        started = time.perf_counter()
        outputs = self._program(*inputs)
        self.last_ms = (time.perf_counter() - started) * 1e3
        return outputs


class TimedClient(EdgeClient):
    """An `EdgeClient` that can say where the time of a request goes. Takes the arguments of an `EdgeClient`."""

    def __init__(self, part: EdgePart, address: str | None, **options: Any) -> None:
        self._watch = _Stopwatch(part.program)
        super().__init__(replace(part, program=cast("Program", self._watch)), address, **options)

    def __enter__(self) -> TimedClient:
        return self

    def timed(self, inputs: Inputs) -> TimeSpent:
        """Run one request and return its times. Raises as `infer`."""
        started = time.perf_counter()
        request = self.prepare(inputs)
        prepared = time.perf_counter()
        self.collect(self.submit(request))
        ended = time.perf_counter()
        total, edge = (ended - started) * 1e3, self._watch.last_ms
        if request.future is None:  # the device runs everything
            return TimeSpent(total, edge, total - edge, 0.0, 0.0)
        answer = request.future.result()
        cloud = (answer.queue_us + answer.compute_us) / 1e3
        way = max((ended - prepared) * 1e3 - cloud, 0.0)
        return TimeSpent(total, edge, (prepared - started) * 1e3 - edge, way, cloud)

    def series(self, inputs: Sequence[Inputs], *, warming: int = 3, pause_s: float = 0.0) -> list[TimeSpent]:
        """Run requests one after the other.

        Args:
            inputs: of the requests.
            warming: how many of the first requests are run once beforehand, untimed.
            pause_s: the seconds of rest before each request.

        Raises:
            CollabplanError: as `infer`.
        """
        found = []
        for each in (*inputs[:warming], *inputs):
            if pause_s:
                time.sleep(pause_s)
            found.append(self.timed(each))
        return found[len(inputs[:warming]) :]


def timing(spent: Sequence[TimeSpent], part: str, slowdown: float = 1.0) -> Timing:
    """Summarise one part of some requests, as on a device that is `slowdown` times slower.

    Args:
        spent: the requests.
        part: an attribute of `TimeSpent`. The slowdown applies to "edge" and "defense", and to "total" through them.
        slowdown: at least 1.
    """
    times = []
    for each in spent:
        extra = (slowdown - 1) * (each.edge + each.defense)
        own = float(getattr(each, part))
        times.append({"total": own + extra, "edge": own * slowdown, "defense": own * slowdown}.get(part, own))
    return Timing.from_samples(times)
