"""Watts while the model runs, from energy counters: NVML for a CUDA device, powercap for a processor.

A counter is read before and after an interval, and the difference is divided by the interval's seconds. It counts one
part of the machine, for all programs: the processor's packages (without memory, board or radio), or one GPU (without
its host). NVML counts millijoules since the driver was loaded. powercap counts microjoules and wraps around at
`max_energy_range_uj` (minutes to hours of full load), at most once in an interval of seconds. A counter that cannot be
read gives None and the reason, never a zero.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from ..records import CollabplanError, MeasuredPower, PowerSource
from ..records.extras import optional_imports

POWERCAP = Path("/sys/class/powercap")

SECONDS = 1.0
"""Length of the interval at rest and of that at work. NVML's counter advances only every tenth of a second."""


@dataclass(frozen=True, slots=True)
class Count:
    """Joules since some moment in the past. The counter wraps around at `range_joules` (None: never)."""

    joules: float
    range_joules: float | None = None


Reading = Mapping[str, Count]
"""By name, the counters of one device at one moment."""


@dataclass(frozen=True, slots=True)
class Meter:
    """Reads the counters of one device."""

    source: PowerSource
    read: Callable[[], Reading]


def read_powercap(root: Path = POWERCAP) -> Reading:
    """The counters of all processor packages, without their parts (cores, graphics) and the platform's counter.

    Args:
        root: holds `intel-rapl:0` and so on. Linux uses these names for AMD's processors too.

    Raises:
        CollabplanError: there is no package, or one of them cannot be read (a sum without it would be wrong).
    """
    domains = [path for path in sorted(root.glob("intel-rapl:*")) if _text(path / "name").startswith("package")]
    if not domains:
        raise CollabplanError(f"{root} has no processor package (it rarely has in virtual machines and containers)")
    return {
        path.name: Count(_joules(path / "energy_uj"), _joules(path / "max_energy_range_uj") or None) for path in domains
    }


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8").strip()
    except FileNotFoundError:
        return ""
    except PermissionError as error:
        raise CollabplanError(
            f"{path} cannot be read ({error.strerror}); Linux reserves it for root since 5.10, who may allow reading it"
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        raise CollabplanError(f"{path} cannot be read ({error})") from None


def _joules(path: Path) -> float:
    text = _text(path)
    if not text.isdecimal():
        raise CollabplanError(f"{path} holds no count of microjoules but {text[:20]!r}")
    return int(text) / 1e6


def read_nvml(module: Any, uuid: str) -> Reading:
    """The total of one CUDA device.

    Args:
        module: `pynvml`, initialised.
        uuid: as NVML spells it, `GPU-...`. An index would not do: CUDA may number devices in another order.

    Raises:
        CollabplanError: NVML does not know the device (such as a part of a GPU), or it has no such counter.
    """
    try:
        handle = module.nvmlDeviceGetHandleByUUID(uuid)
        return {uuid: Count(module.nvmlDeviceGetTotalEnergyConsumption(handle) / 1e3)}
    except module.NVMLError as error:
        raise CollabplanError(f"NVML has no energy counter of {uuid} ({error})") from None


def spent_joules(before: Reading, after: Reading) -> float:
    """Joules between two readings, summed over all counters.

    Raises:
        CollabplanError: a counter is gone, or went backwards though it never wraps around.

    Examples:
        >>> spent_joules({"package": Count(9.0, range_joules=10.0)}, {"package": Count(1.5, range_joules=10.0)})
        2.5
    """
    total = 0.0
    for name, first in before.items():
        if name not in after:
            raise CollabplanError(f"the energy counter {name} is gone")
        spent = after[name].joules - first.joules
        if spent < 0:
            spent += first.range_joules or 0.0
        if spent < 0:
            raise CollabplanError(f"the energy counter {name} went backwards")
        total += spent
    return total


@contextmanager
def open_meter(device: torch.device) -> Iterator[Meter]:
    """The counters of a device, while this lasts.

    Raises:
        CollabplanError: there are none that can be read; it says why.
    """
    if device.type == "cpu":
        yield Meter("powercap", lambda: read_powercap(POWERCAP))
    elif device.type == "cuda":
        module, uuid = _nvml(), f"GPU-{torch.cuda.get_device_properties(device).uuid}"
        try:
            module.nvmlInit()
        except module.NVMLError as error:
            raise CollabplanError(f"NVML does not start ({error})") from None
        try:
            yield Meter("nvml", lambda: read_nvml(module, uuid))
        finally:
            module.nvmlShutdown()
    else:
        raise CollabplanError(f"no energy counter of {device.type} devices is known")


def _nvml() -> Any:
    with optional_imports():
        import pynvml  # the module of the package nvidia-ml-py
    return pynvml


def measure_power(
    device: torch.device, run: Callable[[], object], seconds: float | None = None
) -> tuple[MeasuredPower | None, str | None]:
    """The power of a device at rest and while the model runs, or None and the reason why it cannot be measured.

    Args:
        device: from `timers.resolve_device`.
        run: runs the whole model once, and returns when the device is done.
        seconds: the least length of each interval; None: `SECONDS`.
    """
    try:
        with open_meter(device) as meter:
            return mean_power(meter, run, SECONDS if seconds is None else seconds), None
    except CollabplanError as error:
        return None, str(error)


def mean_power(
    meter: Meter,
    run: Callable[[], object],
    seconds: float,
    *,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> MeasuredPower:
    """Mean watts at rest, then over repeated runs.

    Args:
        meter: of the device.
        run: runs the whole model once, and returns when the device is done.
        seconds: the least length of each interval; the last run is completed.
        clock: seconds of a monotonic clock.
        sleep: waits for a number of seconds.

    Raises:
        CollabplanError: a counter cannot be read, or stands still.
    """

    def work() -> None:
        until = clock() + seconds
        while clock() < until:
            run()

    idle_watts, idle_seconds = _watts(meter, lambda: sleep(seconds), clock)
    watts, worked = _watts(meter, work, clock)
    return MeasuredPower(
        watts=watts, idle_watts=idle_watts, source=meter.source, seconds=worked, idle_seconds=idle_seconds
    )


def _watts(meter: Meter, interval: Callable[[], None], clock: Callable[[], float]) -> tuple[float, float]:
    """Mean watts over an interval, and its length in seconds."""
    before, started = meter.read(), clock()
    interval()
    after, ended = meter.read(), clock()
    joules = spent_joules(before, after)
    if joules <= 0 or ended <= started:
        raise CollabplanError(f"the energy counter ({meter.source}) stood still for {ended - started:.2g} s")
    return joules / (ended - started), ended - started
