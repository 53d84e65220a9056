"""Clocks of the devices: wall time on the CPU, events on CUDA, synchronised wall time on MPS.

A new device is one class with the three methods of `Timer`, which passes `conformance.check_timer`, and a line in
`timer_for`. Everything is timed by `timed`, in the state that `quiet` sets up: no gradients, the garbage collector off,
a fixed number of threads.
"""

from __future__ import annotations

import gc
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

import torch

from ..records import CollabplanError, DeviceIdentity, processor_name

R = TypeVar("R")


class Timer(Protocol):
    """One device's clock. Marks are taken without waiting; times are read after `synchronize`.

    See `conformance.check_timer` for what every implementation must do.
    """

    def mark(self) -> Any:
        """The current point in the device's stream of work."""

    def synchronize(self) -> None:
        """Wait until all queued work is done. Afterwards, marks can be read."""

    def elapsed_ms(self, start: Any, end: Any) -> float:
        """Milliseconds between two marks."""


class WallTimer:
    """`time.perf_counter_ns`, for the CPU, whose operators return when they are done."""

    def mark(self) -> int:
        """Nanoseconds of a monotonic clock."""
        return time.perf_counter_ns()

    def synchronize(self) -> None:
        """Nothing is queued on a CPU."""

    def elapsed_ms(self, start: int, end: int) -> float:
        """Milliseconds between two marks."""
        return (end - start) / 1e6


@dataclass
class RunningTimer:
    """For one thread on Linux: wall time without the time that the thread was ready while others had its core.

    The kernel keeps that time (`run_delay` in `/proc/thread-self/schedstat`). What the thread waits for of its own
    accord counts, as does what other programs cost it while it runs: their share of caches and memory. A kernel that
    does not keep it leaves wall time.

    Attributes:
        wall_ms, waited_ms: of all that was timed so far: wall time, and the part of it that was left out.
    """

    wall_ms: float = 0.0
    waited_ms: float = 0.0

    def mark(self) -> tuple[int, int, int]:
        """Nanoseconds: the clock, how long this thread has waited for a core in its life, the clock again."""
        before = time.perf_counter_ns()
        with open(WAITED_FILE, "rb", buffering=0) as file:
            waited = int(file.read(100).split()[1])
        return before, waited, time.perf_counter_ns()

    def synchronize(self) -> None:
        """Nothing is queued on a CPU."""

    def elapsed_ms(self, start: tuple[int, int, int], end: tuple[int, int, int]) -> float:
        """Milliseconds from the end of one mark to the beginning of another.

        The kernel's figure includes waits within the two marks, which are no part of the run: a mark that took too long
        is taken to have waited.
        """
        wall = end[0] - start[2]
        marking = sum(after - before for before, _, after in (start, end) if after - before >= MARK_NS)
        waited = min(max(end[1] - start[1] - marking, 0), wall)
        self.wall_ms += wall / 1e6
        self.waited_ms += waited / 1e6
        return (wall - waited) / 1e6


WAITED_FILE = "/proc/thread-self/schedstat"

MARK_NS = 200_000
"""A mark takes some 10,000 ns, or 100,000 after a sleep. One that takes longer than this has waited for a core."""


class CudaTimer:
    """CUDA events on the device's current stream.

    The time between two events includes gaps in which the GPU waits for Python to launch the next
    kernel, as in a real request.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device

    def mark(self) -> Any:
        """An event, recorded after the work queued so far."""
        event = torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]
        event.record(torch.cuda.current_stream(self._device))
        return event

    def synchronize(self) -> None:
        """Wait for the device."""
        torch.cuda.synchronize(self._device)

    def elapsed_ms(self, start: Any, end: Any) -> float:
        """Milliseconds between two events that the device has reached."""
        return float(start.elapsed_time(end))


class MpsTimer(WallTimer):
    """Wall time, read once the device is idle: each mark drains the queue, so per-node times include that wait."""

    def mark(self) -> int:
        """Wait for the device, then read the clock."""
        torch.mps.synchronize()
        return super().mark()

    def synchronize(self) -> None:
        """Wait for the device."""
        torch.mps.synchronize()


def timer_for(device: torch.device, threads: int | None = None) -> Timer:
    """The clock of a device from `resolve_device`. `threads`: inside an operator, where that is known."""
    if device.type == "cuda":
        return CudaTimer(device)
    if device.type == "mps":
        return MpsTimer()
    return RunningTimer() if threads == 1 and _counts_waits() else WallTimer()


def _counts_waits() -> bool:
    try:
        RunningTimer().mark()
    except (OSError, ValueError, IndexError):
        return False
    return True


def timed(timer: Timer, function: Callable[..., R], *args: Any) -> tuple[float, R]:
    """Milliseconds that `function(*args)` takes on an initially idle device, and its result."""
    timer.synchronize()
    start = timer.mark()
    result = function(*args)
    end = timer.mark()
    timer.synchronize()
    return timer.elapsed_ms(start, end), result


@contextmanager
def quiet(threads: int | None) -> Iterator[int]:
    """The state in which things are timed. It yields the number of threads, and is undone on leaving.

    Gradients are off (inference mode), the garbage collector runs once and is then off, torch uses
    `threads` threads inside an operator (None: no change).
    """
    before, collecting = torch.get_num_threads(), gc.isenabled()
    if threads is not None:
        torch.set_num_threads(threads)
    gc.collect()
    gc.disable()
    try:
        with torch.inference_mode():
            yield torch.get_num_threads()
    finally:
        torch.set_num_threads(before)
        if collecting:
            gc.enable()


def resolve_device(name: str) -> torch.device:
    """The device called `name`, if this machine has it.

    Args:
        name: `cpu`, `cuda`, `cuda:INDEX` or `mps`.

    Raises:
        CollabplanError: this machine has no such device, or it cannot be timed.

    Examples:
        >>> from collabplan.profilers import resolve_device
        >>> resolve_device("cpu")
        device(type='cpu')
    """
    try:
        device = torch.device(name)
    except RuntimeError:
        raise CollabplanError(f"unknown device {name!r}; give cpu, cuda, cuda:INDEX or mps") from None
    if device.type == "cpu":
        return torch.device("cpu")
    if device.type == "cuda":
        return _resolve_cuda(name, device)
    if device.type == "mps":
        if not torch.backends.mps.is_available():
            raise CollabplanError(f"device {name!r} asked for, but this torch finds no Apple GPU; use --device cpu")
        return device
    raise CollabplanError(f"device {name!r} cannot be timed; give cpu, cuda, cuda:INDEX or mps")


def _resolve_cuda(name: str, device: torch.device) -> torch.device:
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if count == 0:
        why = "was built without CUDA" if torch.version.cuda is None else "finds no CUDA device (see nvidia-smi)"
        raise CollabplanError(
            f"device {name!r} asked for, but this torch ({torch.__version__}) {why}; use --device cpu, or run it where "
            "a GPU is"
        )
    index = device.index or 0
    if index >= count:
        raise CollabplanError(f"device {name!r} asked for, but there are {count} CUDA devices (0 to {count - 1})")
    return torch.device("cuda", index)


def identify(device: torch.device, threads: int, load_average: float | None) -> DeviceIdentity:
    """The record of the machine that is measured.

    Args:
        device: from `resolve_device`.
        threads: the number that torch uses inside an operator.
        load_average: of the last minute, before the measurement.
    """
    name, memory = processor_name(), _host_memory_bytes()
    if device.type == "cuda":
        properties = torch.cuda.get_device_properties(device)
        name, memory = properties.name, int(properties.total_memory)
    return DeviceIdentity(
        device=str(device), name=name, threads=threads, load_average=load_average, memory_bytes=memory
    )


def load_average() -> float | None:
    """The mean number of runnable processes in the last minute; None where the system does not report it."""
    try:
        return os.getloadavg()[0]
    except (AttributeError, OSError):
        return None


def core_count() -> int:
    """The number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _host_memory_bytes() -> int | None:
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return None
