"""The clocks, the state they measure in, and devices that are not there."""

import gc
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from collabplan.profilers import resolve_device
from collabplan.profilers import timers as clocks
from collabplan.profilers.timers import (
    CudaTimer,
    MpsTimer,
    RunningTimer,
    WallTimer,
    identify,
    quiet,
    timed,
    timer_for,
)
from collabplan.records import CollabplanError


def slept(seconds: float) -> str:
    time.sleep(seconds)
    return "slept"


def test_the_wall_timer_measures_milliseconds() -> None:
    elapsed_ms, result = timed(WallTimer(), slept, 0.02)
    assert result == "slept"
    assert 19 < elapsed_ms < 500


def schedstat(tmp_path: Path, waited_ns: int) -> str:
    file = tmp_path / "schedstat"
    file.write_text(f"93029 {waited_ns} 2\n")
    return str(file)


def test_one_thread_is_not_charged_for_time_that_others_had_its_core(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(clocks, "WAITED_FILE", schedstat(tmp_path, 1_000_000))
    timer = RunningTimer()
    assert timer.mark()[1] == 1_000_000
    ms = 1_000_000
    assert timer.elapsed_ms((0, 0, 0), (10 * ms, 0, 10 * ms)) == 10.0
    assert timer.elapsed_ms((0, 0, 0), (10 * ms, 6 * ms, 10 * ms)) == 4.0
    assert (timer.wall_ms, timer.waited_ms) == (20.0, 6.0)


def test_a_wait_between_the_readings_of_one_mark_is_not_taken_off_the_run() -> None:
    timer, ms = RunningTimer(), 1_000_000
    assert timer.elapsed_ms((0, 0, 5 * ms), (9 * ms, 5 * ms, 9 * ms)) == 4.0
    assert timer.elapsed_ms((0, 0, 0), (4 * ms, 5 * ms, 9 * ms)) == 4.0
    assert timer.elapsed_ms((0, 0, 0), (4 * ms, 7 * ms, 4 * ms)) == 0.0


def test_what_a_thread_waits_for_of_its_own_accord_counts() -> None:
    timer = timer_for(torch.device("cpu"), threads=1)
    assert 19 < timed(timer, slept, 0.02)[0] < 500


def test_several_threads_and_kernels_that_keep_no_waits_are_timed_by_the_wall(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cpu = torch.device("cpu")
    monkeypatch.setattr(clocks, "WAITED_FILE", schedstat(tmp_path, 0))
    assert isinstance(timer_for(cpu, threads=1), RunningTimer)
    assert isinstance(timer_for(cpu, threads=2), WallTimer)
    assert isinstance(timer_for(cpu), WallTimer)
    for broken in (tmp_path / "absent", tmp_path / "empty"):
        (tmp_path / "empty").touch()
        monkeypatch.setattr(clocks, "WAITED_FILE", str(broken))
        assert isinstance(timer_for(cpu, threads=1), WallTimer)


def test_quiet_switches_off_gradients_and_the_collector_and_puts_everything_back() -> None:
    before = torch.get_num_threads()
    with quiet(1) as threads:
        assert threads == torch.get_num_threads() == 1
        assert torch.is_inference_mode_enabled()
        assert not gc.isenabled()
    assert torch.get_num_threads() == before
    assert gc.isenabled()
    assert not torch.is_inference_mode_enabled()


def test_quiet_puts_everything_back_after_an_error() -> None:
    def fail() -> None:
        with quiet(1):
            raise ValueError("inside")

    with pytest.raises(ValueError, match="inside"):
        fail()
    assert gc.isenabled()


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a CUDA device")
def test_cuda_asked_for_and_absent_is_one_clear_line() -> None:
    with pytest.raises(CollabplanError, match=r"device 'cuda' asked for.*use --device cpu") as raised:
        resolve_device("cuda")
    assert "\n" not in str(raised.value)


def test_a_cuda_index_beyond_the_last_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert resolve_device("cuda") == torch.device("cuda", 0)
    assert resolve_device("cuda:1") == torch.device("cuda", 1)
    with pytest.raises(CollabplanError, match="2 CUDA devices"):
        resolve_device("cuda:2")


@pytest.mark.parametrize("name", ["gpu", "", "meta", "cpu cpu"])
def test_an_unknown_device_is_refused(name: str) -> None:
    with pytest.raises(CollabplanError, match="give cpu, cuda"):
        resolve_device(name)


def test_each_device_has_its_clock() -> None:
    assert type(timer_for(torch.device("cpu"))) is WallTimer
    assert type(timer_for(torch.device("cuda:0"))) is CudaTimer
    assert type(timer_for(torch.device("mps"))) is MpsTimer


class _Event:
    """A CUDA event that reads a counter, to see the order of things without a GPU."""

    clock: Iterator[int]

    def __init__(self, enable_timing: bool) -> None:
        assert enable_timing

    def record(self, _stream: Any) -> None:
        self.at = next(_Event.clock)

    def elapsed_time(self, end: "_Event") -> float:
        return float(end.at - self.at)


def test_the_cuda_timer_waits_before_and_after(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[str] = []
    _Event.clock = iter(range(10))
    monkeypatch.setattr(torch.cuda, "Event", _Event)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda _device: None)
    monkeypatch.setattr(torch.cuda, "synchronize", lambda _device: seen.append("wait"))
    elapsed_ms, _ = timed(CudaTimer(torch.device("cuda:0")), lambda: seen.append("run"))
    assert seen == ["wait", "run", "wait"]
    assert elapsed_ms == 1.0


def test_the_mps_timer_waits_at_every_mark(monkeypatch: pytest.MonkeyPatch) -> None:
    waits: list[int] = []
    monkeypatch.setattr(torch.mps, "synchronize", lambda: waits.append(1))
    elapsed_ms, _ = timed(MpsTimer(), lambda: None)
    assert elapsed_ms >= 0
    assert len(waits) == 4


def test_a_cpu_is_recorded_with_threads_and_load() -> None:
    device = identify(torch.device("cpu"), 2, 0.5)
    assert (device.device, device.threads, device.load_average) == ("cpu", 2, 0.5)
    assert device.memory_bytes is None or device.memory_bytes > 2**20
