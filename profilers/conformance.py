"""What every device timer must do. Call `check_timer` on your own."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import Any

import torch

from .timers import RunningTimer, Timer, timed

WORK_S = 0.02
"""Length of the work that the checks time: far above the resolution of any clock that can profile a model."""

SLOWEST_S = 2.0
"""On a busy machine, the same work may appear to take this long."""

MOMENT_MS, MARK_MS = 0.05, 0.5
"""How far two stretches may miss their whole: where marks are moments, and where taking one lasts and is in neither."""

Work = Callable[[], Any]
"""Keeps the device busy for at least `WORK_S` seconds once it is synchronised."""


def check_timer(timer: Timer, work: Work | None = None) -> None:
    """Run every check.

    Args:
        timer: of any device.
        work: keeps that device busy for at least `WORK_S` seconds; None: the host sleeps, which every clock must see.

    Raises:
        AssertionError: the first check that fails; it says what was expected and what came.

    Examples:
        >>> from collabplan.profilers import WallTimer, check_timer
        >>> check_timer(WallTimer())
    """
    for check in CHECKS:
        check(timer, work or _sleep)


def _sleep() -> None:
    time.sleep(WORK_S)


def _name(timer: Timer) -> str:
    return type(timer).__name__


def check_milliseconds(timer: Timer, work: Work) -> None:
    """Work is timed in milliseconds, and covers all of it."""
    work()  # the first call may prepare kernels
    elapsed_ms, _ = timed(timer, work)
    assert isinstance(elapsed_ms, float), f"{_name(timer)}: elapsed_ms is a float, got {type(elapsed_ms).__name__}"
    least, most = 0.95e3 * WORK_S, 1e3 * SLOWEST_S
    assert least <= elapsed_ms <= most, (
        f"{_name(timer)}: work of {1e3 * WORK_S:g} ms takes {least:g} to {most:g} ms, got {elapsed_ms}"
    )


def check_nothing(timer: Timer, work: Work) -> None:
    """Nothing takes almost no time, and never less than none."""
    shortest = min(timed(timer, lambda: None)[0] for _ in range(5))
    assert math.isfinite(shortest), f"{_name(timer)}: nothing takes a finite time, got {shortest}"
    assert 0 <= shortest < 1e3 * WORK_S, f"{_name(timer)}: nothing takes 0 to {1e3 * WORK_S:g} ms, got {shortest}"
    del work


def check_order(timer: Timer, work: Work) -> None:
    """Marks that are read late still hold the moment at which they were taken, in order."""
    timer.synchronize()
    first = timer.mark()
    work()
    second = timer.mark()
    work()
    third = timer.mark()
    timer.synchronize()
    parts = timer.elapsed_ms(first, second), timer.elapsed_ms(second, third)
    whole = timer.elapsed_ms(first, third)
    assert min(parts) >= 0.95e3 * WORK_S, f"{_name(timer)}: each of two works takes its own time, got {parts}"
    most_ms = MARK_MS if isinstance(timer, RunningTimer) else MOMENT_MS
    assert math.isclose(sum(parts), whole, rel_tol=1e-3, abs_tol=most_ms), (
        f"{_name(timer)}: two stretches in a row add up to the whole, got {parts} and {whole}"
    )


def check_result(timer: Timer, work: Work) -> None:
    """What is timed runs once, and its result comes back unchanged."""
    calls: list[int] = []
    result = torch.arange(3)

    def run() -> torch.Tensor:
        calls.append(1)
        return result

    _, returned = timed(timer, run)
    assert returned is result, f"{_name(timer)}: the result of the work is returned"
    assert len(calls) == 1, f"{_name(timer)}: the work runs once, ran {len(calls)} times"
    del work


def check_waits(timer: Timer, work: Work) -> None:
    """`synchronize` may be called at any time, also twice, and before any mark."""
    timer.synchronize()
    timer.synchronize()
    work()
    timer.synchronize()


CHECKS: tuple[Callable[[Timer, Work], None], ...] = (
    check_milliseconds, check_nothing, check_order, check_result, check_waits
)  # fmt: skip
"""The suite, for a test that wants a case each."""
