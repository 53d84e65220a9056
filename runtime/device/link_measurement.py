"""Measures the link to a running server by echoes: empty ones, rounds of a few sizes, and some after pauses.

`profilers.link_fit` fits the link to their times. The server answers from memory and runs no model.
"""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from typing import Any

import torch

from ...profilers.link_fit import fit_link
from ...profilers.timers import identify, load_average
from ...records import CollabplanError, EchoTimes, LinkReport, Timing, collect_provenance, printable
from ..wire import protocol_pb2 as messages
from ..wire.service import BUNDLE_KEY, Stub
from ..wire.transport import grpc
from .errors import UnreachableError
from .session import Address

FIRST_BYTES = 1 << 14
_ROUND_TRIPS = 40
_LEAST_ROUND_TRIPS = 8
_ROUNDS = 40
_LEAST_ROUNDS = 5
_WARMING = 2
_AFTER_PAUSE = 3
_PAUSE_S = 0.5
"""Longer than Linux's least retransmission timeout. After it, an idle connection goes through slow start again."""


def measure_link(
    address: Address,
    bundle_id: str,
    *,
    seconds: float = 1.0,
    most_bytes: int = 1 << 24,
    timeout_s: float = 30.0,
    pause_s: float = _PAUSE_S,
    command: Sequence[str] | None = None,
) -> LinkReport:
    """Measure the link to a running server.

    Args:
        address: of the server.
        bundle_id: of the bundle that it serves: it echoes for nobody else.
        seconds: the time for each of round trip, way up and way down. A slow link takes longer, for at least 5 rounds.
        most_bytes: the largest echo. A server takes no more than its plan's largest request, or 1 MiB.
        timeout_s: the time limit of one echo, in seconds.
        pause_s: the rest before each echo that shows slow start, in seconds, besides two round trips.
        command: recorded as the provenance; None records this process's command line.

    Raises:
        UnreachableError: there is no connection, or an echo was not answered in time.
        CollabplanError: no link fits the times (see `fit_link`).

    Source: slow start after a pause, RFC 5681, section 4.1.
    """
    channel = address.channel(most_bytes + FIRST_BYTES, timeout_s)
    try:
        return _Echoes(Stub(channel), address.text, bundle_id, timeout_s).report(seconds, most_bytes, pause_s, command)
    finally:
        channel.close()


class _TooLarge(Exception):
    """The server refuses an echo of this size."""


class _Echoes:
    """Asks for echoes, and counts the bytes that they move."""

    def __init__(self, stub: Stub, name: str, bundle_id: str, timeout_s: float) -> None:
        self._stub, self._name, self._timeout_s = stub, name, timeout_s
        self._metadata = [(BUNDLE_KEY, bundle_id)]
        self._moved = 0

    def report(self, seconds: float, most_bytes: int, pause_s: float, command: Sequence[str] | None) -> LinkReport:
        load = load_average()
        for _ in range(_WARMING):
            self._echo(0, 0)
        empty = self._empty(seconds)
        found = [*self._way(seconds, most_bytes, up=True), *self._way(seconds, most_bytes, up=False)]
        largest = max(echo.up_bytes for echo in found)
        paused = []
        for _ in range(_AFTER_PAUSE):
            time.sleep(pause_s + 2 * max(empty) / 1e3)
            paused.append(self._echo(largest, 0))
        found.append(EchoTimes(up_bytes=largest, down_bytes=0, after_pause=True, times_ms=tuple(paused)))
        link, warnings = fit_link(empty, found)
        return LinkReport(
            link=link,
            round_trip=Timing.from_samples(empty),
            echoes=tuple(found),
            moved_bytes=self._moved,
            warnings=warnings,
            device=identify(torch.device("cpu"), torch.get_num_threads(), load),
            provenance=collect_provenance(command=None if command is None else tuple(command)),
        )

    def _empty(self, seconds: float) -> list[float]:
        until, times = time.perf_counter() + seconds, [self._echo(0, 0)]
        while len(times) < _LEAST_ROUND_TRIPS or (len(times) < _ROUND_TRIPS and time.perf_counter() < until):
            times.append(self._echo(0, 0))
        return times

    def _way(self, seconds: float, most_bytes: int, *, up: bool) -> list[EchoTimes]:
        """Rounds of echoes of a quarter, half and all of the largest size that a few rounds have time for."""
        largest = self._largest(seconds, most_bytes, up=up)
        sizes = [largest // 4, largest // 2, largest]
        until, rounds = time.perf_counter() + seconds, [self._round(sizes, up=up) for _ in range(_WARMING)]
        while len(rounds) < _WARMING + _LEAST_ROUNDS or (
            len(rounds) < _WARMING + _ROUNDS and time.perf_counter() < until
        ):
            rounds.append(self._round(sizes, up=up))
        return [
            EchoTimes(up_bytes=size if up else 0, down_bytes=0 if up else size, times_ms=times)
            for size, times in zip(sizes, zip(*rounds[_WARMING:], strict=True), strict=True)
        ]

    def _largest(self, seconds: float, most_bytes: int, *, up: bool) -> int:
        size = FIRST_BYTES
        try:
            while self._echo(size if up else 0, 0 if up else size) < seconds * 1e3 / 12 and 2 * size <= most_bytes:
                size *= 2
        except _TooLarge:
            # The limit is on the whole message, which includes the payload's tag and length.
            size = size // 2 if size > FIRST_BYTES else 0
        if not size:
            raise CollabplanError(
                f"the server at {self._name} refuses an echo of {FIRST_BYTES:,} bytes; run `collabplan serve` there"
            )
        return size

    def _round(self, sizes: Sequence[int], *, up: bool) -> list[float]:
        return [self._echo(size if up else 0, 0 if up else size) for size in sizes]

    def _echo(self, up: int, down: int) -> float:
        """The milliseconds of one echo. Raises UnreachableError or `_TooLarge`."""
        request = messages.EchoRequest(payload=os.urandom(up), answer_bytes=down)
        started = time.perf_counter()
        try:
            self._stub.echo(request, timeout=self._timeout_s, metadata=self._metadata)
        except grpc.RpcError as error:
            raise self._explained(error) from None
        self._moved += up + down
        return (time.perf_counter() - started) * 1e3

    def _explained(self, error: Any) -> Exception:
        code = error.code()
        if code in (grpc.StatusCode.RESOURCE_EXHAUSTED, grpc.StatusCode.INVALID_ARGUMENT):
            return _TooLarge()
        details = printable(str(error.details() or ""))
        if code is grpc.StatusCode.FAILED_PRECONDITION:
            details += "; give the --bundle that it serves"
        return UnreachableError(f"the server at {self._name} does not echo: {code.name}: {details}")
