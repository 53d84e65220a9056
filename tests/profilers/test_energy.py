"""Counters of energy: their units, where they start anew, and what cannot be read, on a fake sysfs and a fake NVML."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from collabplan.profilers import energy
from collabplan.profilers.energy import Count, Meter, mean_power, measure_power, read_nvml, read_powercap, spent_joules
from collabplan.records import CollabplanError

RANGE_UJ = 262_143_328_850
CUDA = torch.device("cuda", 0)


def domain(root: Path, name: str, said: str, uj: object, range_uj: object = RANGE_UJ) -> Path:
    """One domain as Linux shows it."""
    folder = root / name
    folder.mkdir(parents=True)
    (folder / "name").write_text(f"{said}\n")
    (folder / "energy_uj").write_text(f"{uj}\n")
    (folder / "max_energy_range_uj").write_text(f"{range_uj}\n")
    return folder


@pytest.fixture
def sysfs(tmp_path: Path) -> Path:
    """Two packages, a part of one, the platform, and the second way to the same package."""
    root = tmp_path / "powercap"
    domain(root, "intel-rapl:0", "package-0", 5_000_000)
    domain(root, "intel-rapl:0:0", "core", 3_000_000)
    domain(root, "intel-rapl:1", "package-1", 2_500_000)
    domain(root, "intel-rapl:2", "psys", 9_000_000)
    domain(root, "intel-rapl-mmio:0", "package-0", 5_000_000)
    (root / "intel-rapl").mkdir()
    return root


def test_packages_are_read_in_joules_and_nothing_else_is(sysfs: Path) -> None:
    found = read_powercap(sysfs)
    wraps_at: Any = pytest.approx(262_143.32885)
    assert found == {
        "intel-rapl:0": Count(5.0, wraps_at),
        "intel-rapl:1": Count(2.5, wraps_at),
    }


def test_a_counter_that_starts_anew_is_followed() -> None:
    before = {"a": Count(262_140.0, 262_143.5), "b": Count(10.0, 262_143.5)}
    after = {"a": Count(6.5, 262_143.5), "b": Count(12.0, 262_143.5)}
    assert spent_joules(before, after) == pytest.approx(3.5 + 6.5 + 2.0)


def test_a_counter_that_never_starts_anew_cannot_go_backwards() -> None:
    with pytest.raises(CollabplanError, match="went backwards"):
        spent_joules({"GPU-1": Count(10.0)}, {"GPU-1": Count(9.0)})
    with pytest.raises(CollabplanError, match="is gone"):
        spent_joules({"a": Count(10.0)}, {})


@pytest.mark.parametrize("inside", [True, False])
def test_a_machine_without_packages_says_so(tmp_path: Path, inside: bool) -> None:
    root = tmp_path / "powercap"
    if inside:
        domain(root, "intel-rapl:0", "psys", 1)
    with pytest.raises(CollabplanError, match="has no processor package"):
        read_powercap(root)


def test_one_package_that_cannot_be_read_is_no_smaller_sum(sysfs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    forbidden = sysfs / "intel-rapl:1" / "energy_uj"
    read = Path.read_text

    def refuse(path: Path, *args: Any, **options: Any) -> str:
        if path == forbidden:  # the tests may be run by root, whom no mode keeps out
            raise PermissionError(13, "Permission denied")
        return read(path, *args, **options)

    monkeypatch.setattr(Path, "read_text", refuse)
    with pytest.raises(CollabplanError, match=r"intel-rapl:1/energy_uj cannot be read \(Permission denied\); Linux"):
        read_powercap(sysfs)


@pytest.mark.parametrize("content", ["", "-5", "nonsense", "1.5"])
def test_what_is_no_count_is_refused(sysfs: Path, content: str) -> None:
    (sysfs / "intel-rapl:0" / "energy_uj").write_text(content)
    with pytest.raises(CollabplanError, match="holds no count of microjoules"):
        read_powercap(sysfs)


def test_a_counter_that_is_a_folder_is_one_clear_error(sysfs: Path) -> None:
    os.remove(sysfs / "intel-rapl:0" / "energy_uj")
    (sysfs / "intel-rapl:0" / "energy_uj").mkdir()
    with pytest.raises(CollabplanError, match="cannot be read"):
        read_powercap(sysfs)


class Clock:
    """Time that passes only where something is done, and a counter that runs with it."""

    def __init__(self, idle_watts: float, watts: float) -> None:
        self.now, self.joules, self.idle_watts, self.watts = 100.0, 7.0, idle_watts, watts
        self.runs = 0

    def sleep(self, seconds: float) -> None:
        self.now += seconds
        self.joules += seconds * self.idle_watts

    def run(self) -> None:
        self.runs += 1
        self.now += 0.3
        self.joules += 0.3 * self.watts

    def measure(self, meter: Meter | None = None) -> Any:
        found = meter or Meter("powercap", lambda: {"a": Count(self.joules % 20.0, 20.0)})
        return mean_power(found, self.run, 1.0, clock=lambda: self.now, sleep=self.sleep)


def test_power_is_energy_by_time_at_rest_and_at_work() -> None:
    clock = Clock(idle_watts=4.0, watts=15.0)
    found = clock.measure()
    assert (found.watts, found.idle_watts) == (pytest.approx(15.0), pytest.approx(4.0))
    assert (found.seconds, found.idle_seconds) == (pytest.approx(1.2), pytest.approx(1.0)), "the last run is finished"
    assert clock.runs == 4
    assert found.source == "powercap"


@pytest.mark.parametrize(("idle", "busy"), [(0.0, 15.0), (4.0, 0.0), (0.0, 0.0)])
def test_a_counter_that_stands_still_is_no_zero(idle: float, busy: float) -> None:
    with pytest.raises(CollabplanError, match="stood still"):
        Clock(idle, busy).measure()


class Nvml:
    """The part of `pynvml` that is used: one GPU, whose counter runs by 30 J a reading."""

    class NVMLError(Exception):
        """As NVML's own."""

    def __init__(self, uuid: str = "GPU-1234", starts: bool = True) -> None:
        self.uuid, self.starts, self.millijoules, self.open = uuid, starts, 5_000_000, 0

    def nvmlInit(self) -> None:
        if not self.starts:
            raise self.NVMLError("Driver Not Loaded")
        self.open += 1

    def nvmlShutdown(self) -> None:
        self.open -= 1

    def nvmlDeviceGetHandleByUUID(self, uuid: str) -> str:
        if uuid != self.uuid:
            raise self.NVMLError("Not Found")
        return f"handle of {uuid}"

    def nvmlDeviceGetTotalEnergyConsumption(self, handle: str) -> int:
        assert handle == f"handle of {self.uuid}"
        self.millijoules += 30_000
        return self.millijoules


def test_nvml_counts_in_millijoules() -> None:
    assert read_nvml(Nvml(), "GPU-1234") == {"GPU-1234": Count(5030.0)}


def test_a_device_that_nvml_does_not_know_is_named() -> None:
    with pytest.raises(CollabplanError, match=r"no energy counter of GPU-9 \(Not Found\)"):
        read_nvml(Nvml(), "GPU-9")


@pytest.fixture
def install(monkeypatch: pytest.MonkeyPatch) -> Callable[[object], None]:
    """Installs a module as `pynvml`; CUDA's first device is GPU-1234."""
    properties = SimpleNamespace(uuid="1234")
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda _device: properties)
    return lambda module: monkeypatch.setitem(sys.modules, "pynvml", module)


def test_a_cuda_device_is_found_by_its_uuid_and_nvml_is_closed(install: Callable[[object], None]) -> None:
    nvml = Nvml()
    install(nvml)
    power, missing = measure_power(CUDA, lambda: None, seconds=0.01)
    assert missing is None
    assert power is not None
    assert power.source == "nvml"
    assert power.watts == pytest.approx(30.0 / power.seconds)
    assert nvml.open == 0


@pytest.mark.parametrize(
    ("module", "reason"),
    [
        (None, "this needs nvidia-ml-py, which is not installed"),
        (Nvml(starts=False), "NVML does not start (Driver Not Loaded)"),
        (Nvml(uuid="GPU-5"), "no energy counter of GPU-1234 (Not Found)"),
    ],
)
def test_without_nvml_there_is_no_power_but_a_reason(
    install: Callable[[object], None], module: object, reason: str
) -> None:
    install(module)
    power, missing = measure_power(CUDA, lambda: None, seconds=0.01)
    assert power is None
    assert missing is not None
    assert reason in missing
    assert getattr(module, "open", 0) == 0


def test_a_device_without_a_known_counter_says_so() -> None:
    assert measure_power(torch.device("mps"), lambda: None) == (None, "no energy counter of mps devices is known")


def test_nothing_is_run_where_nothing_can_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(energy, "POWERCAP", tmp_path / "absent")
    ran: list[int] = []
    power, missing = measure_power(torch.device("cpu"), lambda: ran.append(1))
    assert (power, ran) == (None, [])
    assert missing is not None
