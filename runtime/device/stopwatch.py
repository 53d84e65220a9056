"""The edge client with a stopwatch: where the time of each request goes."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, cast

from ...graph import Program
from ...records import Timing
from ..parts import EdgePart
from .client import EdgeClient, Inputs


@dataclass(frozen=True, slots=True)
class Spent:
    """Milliseconds of one request.

    `edge` is the half itself, `defense` the rest until the request's bytes are made, `cloud` the server's queue and
    computing as it reports them, `way` everything else until the output is there: hosts and link, both ways.
    """

    total: float
    edge: float
    defense: float
    way: float
    cloud: float


class _Stopwatch:
    """A program that remembers how long its last run took."""

    def __init__(self, program: Program) -> None:
        self._program = program
        self.last_ms = 0.0

    def __call__(self, *inputs: Any) -> Any:
        started = time.perf_counter()
        outputs = self._program(*inputs)
        self.last_ms = (time.perf_counter() - started) * 1e3
        return outputs


class TimedClient(EdgeClient):
    """An `EdgeClient` whose `timed` tells where a request's time goes. Takes what an `EdgeClient` does."""

    def __init__(self, part: EdgePart, address: str | None, **options: Any) -> None:
        self._watch = _Stopwatch(part.program)
        super().__init__(replace(part, program=cast("Program", self._watch)), address, **options)

    def __enter__(self) -> TimedClient:
        return self

    def timed(self, inputs: Inputs) -> Spent:
        """One request. Raises as `infer` does."""
        started = time.perf_counter()
        given, batch = self._checked(inputs)
        if not self.part.sends:
            self.infer(inputs)
            total = (time.perf_counter() - started) * 1e3
            return Spent(total, self._watch.last_ms, total - self._watch.last_ms, 0.0, 0.0)
        sent = self._made(given, batch)
        made = time.perf_counter()
        self._settled(self._send(sent))
        ended = time.perf_counter()
        assert sent.future is not None
        answer = sent.future.result()
        cloud = (answer.queue_us + answer.compute_us) / 1e3
        making = (made - started) * 1e3
        edge = self._watch.last_ms
        return Spent((ended - started) * 1e3, edge, making - edge, max((ended - made) * 1e3 - cloud, 0.0), cloud)

    def series(self, inputs: Sequence[Inputs], *, warming: int = 3, pause_s: float = 0.0) -> list[Spent]:
        """One request after the other, each after a pause; the first are run twice, and not counted at first."""
        found = []
        for each in (*inputs[:warming], *inputs):
            if pause_s:
                time.sleep(pause_s)
            found.append(self.timed(each))
        return found[len(inputs[:warming]) :]


def timing(spent: Sequence[Spent], part: str, slowdown: float = 1.0) -> Timing:
    """The summary of one part; the device's, and the total with it, as on a device `slowdown` times slower."""
    times = []
    for each in spent:
        extra = (slowdown - 1) * (each.edge + each.defense)
        own = float(getattr(each, part))
        times.append({"total": own + extra, "edge": own * slowdown, "defense": own * slowdown}.get(part, own))
    return Timing.from_samples(times)
