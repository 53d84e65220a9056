"""Tensors beyond the budget lie on the disk, are the same, hold little memory, and leave nothing behind."""

from __future__ import annotations

import errno
import gc
import os
import resource
import time
from pathlib import Path

import pytest
import torch
from collabplan.records import CollabplanError
from collabplan.records.memory import MemoryBudget, free_bytes, group_limits, memory_bytes, resident_bytes
from forked import Forked

NUMBERS = 1_000_000


def numbers() -> torch.Tensor:
    return torch.arange(NUMBERS, dtype=torch.float32).reshape(1000, -1)


def test_what_does_not_fit_is_spilled_and_is_the_same(tmp_path: Path) -> None:
    memory = MemoryBudget(5 * NUMBERS, tmp_path)
    kept, spilled = (memory.empty((1000, 1000), torch.float32).copy_(numbers()) for _ in range(2))
    assert (memory.held_bytes, memory.spilled_bytes) == (4 * NUMBERS, 4 * NUMBERS)
    assert torch.equal(kept, numbers())
    assert torch.equal(spilled, numbers())
    assert kept.data_ptr() % 64 == spilled.data_ptr() % 64 == 0


def test_without_a_folder_everything_is_in_memory() -> None:
    memory = MemoryBudget(0)
    memory.empty((NUMBERS,), torch.float32)
    assert not memory.spills
    assert memory.spilled_bytes == 0


def test_a_view_keeps_the_space_and_the_last_one_frees_it(tmp_path: Path) -> None:
    memory = MemoryBudget(5 * NUMBERS, tmp_path)
    views = [memory.empty((1000, 1000), torch.float32).copy_(numbers())[500:] for _ in range(2)]
    gc.collect()
    assert memory.held_bytes == memory.spilled_bytes == 4 * NUMBERS
    assert torch.equal(views[1], numbers()[500:])
    del views
    assert memory.held_bytes == memory.spilled_bytes == 0


def test_pages_of_files_do_not_fill_the_memory(tmp_path: Path) -> None:
    with Forked(grown, tmp_path) as child:
        assert int(child.stdout.readline()) < 150_000_000


def grown(folder: Path) -> None:
    """Prints how much the greatest resident memory grew, while 240 MB were written and read again."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    rows = MemoryBudget(0, folder).empty((60, NUMBERS), torch.float32)
    for row in rows:
        row.fill_(1)
        time.sleep(0.01)  # what computes anything between two rows leaves the thread as much time
    for row in rows:
        assert float(row.sum()) == NUMBERS
        time.sleep(0.01)
    print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024, flush=True)


def test_a_killed_process_leaves_nothing_behind(tmp_path: Path) -> None:
    def spill() -> None:
        rows = MemoryBudget(0, tmp_path).empty((NUMBERS,), torch.float32)
        print(len(rows), flush=True)
        os.read(os.pipe()[0], 1)

    with Forked(spill) as child:
        assert int(child.stdout.readline()) == NUMBERS
        child.kill()
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_is_told_before_anything_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(CollabplanError, match=r"fit neither into --memory nor into .*No space left.*fewer samples"):
        MemoryBudget(0, tmp_path).empty((NUMBERS,), torch.float32)


def test_the_budget_of_a_process_is_half_of_what_it_has_not_filled(tmp_path: Path) -> None:
    filled = resident_bytes()
    assert 0 < filled < free_bytes()
    assert abs(MemoryBudget.of_process(filled + 2_000_000_000, tmp_path).array_bytes - 1e9) < 1e8
    assert MemoryBudget.of_process(1, tmp_path).array_bytes == 0


def test_half_of_what_is_free_is_the_default() -> None:
    assert abs(memory_bytes(None) - free_bytes() / 2) < 1e9
    assert memory_bytes("1.5 GB") == 1_500_000_000


@pytest.mark.parametrize(
    ("line", "folder", "most", "used"),
    [
        ("0::/jobs/mine", "jobs/mine", "memory.max", "memory.current"),
        ("0::/jobs/mine", "jobs", "memory.max", "memory.current"),
        ("7:memory:/mine", "memory/mine", "memory.limit_in_bytes", "memory.usage_in_bytes"),
    ],
)
def test_the_limit_of_a_control_group_counts(tmp_path: Path, line: str, folder: str, most: str, used: str) -> None:
    own = tmp_path / folder
    own.mkdir(parents=True)
    (tmp_path / "of_process").write_text(line)
    (own / most).write_text("3000000000")
    (own / used).write_text("2000000000")
    (own / "memory.stat").write_text("active_file 7\ninactive_file 500000000\n")
    (found,) = group_limits(tmp_path, tmp_path / "of_process")
    assert abs(found - min(1_500_000_000 + resident_bytes(), 3_000_000_000)) < 1e8


def test_no_limit_is_none(tmp_path: Path) -> None:
    (tmp_path / "of_process").write_text("0::/")
    (tmp_path / "memory.max").write_text("max")
    assert group_limits(tmp_path, tmp_path / "of_process") == []
