"""The suite for device timers passes ours and one written here, and fails what is no clock."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest
import torch
from collabplan.profilers import CudaTimer, MpsTimer, Timer, WallTimer, check_timer
from collabplan.profilers.conformance import CHECKS, Work
from collabplan.profilers.timers import RunningTimer, timed, timer_for

EXAMPLES: dict[str, Callable[[], Timer]] = {
    "wall": WallTimer,
    "running": RunningTimer,
    "cuda": lambda: CudaTimer(torch.device("cuda", 0)),
    "mps": MpsTimer,
}
PRESENT = {
    "wall": True,
    "running": isinstance(timer_for(torch.device("cpu"), threads=1), RunningTimer),
    "cuda": torch.cuda.is_available(),
    "mps": torch.backends.mps.is_available(),
}


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
@pytest.mark.parametrize("name", EXAMPLES)
def test_our_timers_pass(name: str, check: Callable[[Timer, Work], None]) -> None:
    if not PRESENT[name]:
        pytest.skip(f"this machine has no {name} device")
    check(EXAMPLES[name](), lambda: time.sleep(0.02))


class QueueTimer:
    """A device of one's own: marks are tickets, which `synchronize` turns into moments."""

    def __init__(self) -> None:
        self.moments: dict[int, float] = {}
        self.open: list[tuple[int, float]] = []

    def mark(self) -> int:
        ticket = len(self.moments) + len(self.open)
        self.open.append((ticket, time.monotonic()))
        return ticket

    def synchronize(self) -> None:
        self.moments.update(self.open)
        self.open.clear()

    def elapsed_ms(self, start: int, end: int) -> float:
        return 1e3 * (self.moments[end] - self.moments[start])


def test_a_timer_written_elsewhere_passes() -> None:
    check_timer(QueueTimer())
    elapsed_ms, result = timed(QueueTimer(), lambda: "done")
    assert (elapsed_ms >= 0, result) == (True, "done")


class Seconds(QueueTimer):
    def elapsed_ms(self, start: int, end: int) -> float:
        return super().elapsed_ms(start, end) / 1e3


class Stopped(QueueTimer):
    def elapsed_ms(self, start: int, end: int) -> float:
        del start, end
        return 0.0


class Backwards(QueueTimer):
    def elapsed_ms(self, start: int, end: int) -> float:
        return super().elapsed_ms(end, start)


class ReadLate(QueueTimer):
    """Reads the clock when it is asked for a time, not when the mark is taken."""

    def synchronize(self) -> None:
        self.open = [(ticket, time.monotonic()) for ticket, _ in self.open]
        super().synchronize()


class Whole(QueueTimer):
    def elapsed_ms(self, start: int, end: int) -> Any:
        return int(super().elapsed_ms(start, end))


@pytest.mark.parametrize(
    ("timer", "says"),
    [(Seconds, "of 20 ms"), (Stopped, "of 20 ms"), (Backwards, "of 20 ms"), (ReadLate, "of 20 ms|own time"),
     (Whole, "is a float")],
)  # fmt: skip
def test_what_is_no_clock_of_milliseconds_fails_with_what_was_expected(timer: type[Timer], says: str) -> None:
    with pytest.raises(AssertionError, match=f"{timer.__name__}: .*({says})"):
        check_timer(timer())
