"""A temporary file is a leftover once the process that made it is gone."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest
from collabplan.records import write_bytes
from collabplan.records.atomic import require_writable
from collabplan.records.leftovers import clear_leftovers, clear_leftovers_below, temporary_file
from forked import Forked


def write_and_wait(path: Path) -> None:
    """Writes half a file, says so, and waits to be killed."""
    with temporary_file(path) as (file, _):
        file.write(b"half")
        file.flush()
        print("half", flush=True)
        time.sleep(60)


def names(folder: Path) -> list[str]:
    return sorted(os.listdir(folder))


def test_what_a_living_process_writes_stays_and_what_a_killed_one_left_goes(tmp_path: Path) -> None:
    with Forked(write_and_wait, tmp_path / "plan.json") as process:
        assert process.stdout.readline() == "half\n"
        (beside,) = names(tmp_path)
        clear_leftovers(tmp_path / "plan.json")
        clear_leftovers_below(tmp_path)
        assert names(tmp_path) == [beside], "its process lives"
        process.kill()
        process.stdout.read()
    assert names(tmp_path) == [beside]
    clear_leftovers(tmp_path / "plan.json")
    assert names(tmp_path) == []


def test_the_next_run_clears_them_where_it_is_going_to_write(tmp_path: Path) -> None:
    for name in (".plan.json.abcd_123.tmp", ".plan.weights.safetensors.abcd_123.tmp"):
        (tmp_path / name).touch()
    (tmp_path / ".plan.json.abcd_124.tmp").mkdir()
    require_writable(tmp_path / "plan.json")
    assert names(tmp_path) == []


@pytest.mark.parametrize("name", [".planet.json.abcd_123.tmp", "plan.json.abcd_123.tmp", ".plan.json.notes.tmp"])
def test_nothing_else_is_removed(tmp_path: Path, name: str) -> None:
    (tmp_path / name).touch()
    clear_leftovers(tmp_path / "plan.json")
    assert names(tmp_path) == [name]


def test_folders_below_are_cleared_too_and_links_are_not_followed(tmp_path: Path) -> None:
    below = tmp_path / "work" / "audits"
    below.mkdir(parents=True)
    (tmp_path / "mine").write_text("kept")
    (below / ".a.safetensors.abcd_123.tmp").touch()
    (below / ".b.safetensors.abcd_123.tmp").symlink_to(tmp_path / "mine")
    write_bytes(below / "c.safetensors", b"kept")
    clear_leftovers_below(tmp_path / "work")
    assert names(below) == [".b.safetensors.abcd_123.tmp", "c.safetensors"]
    assert (tmp_path / "mine").read_text() == "kept"


def test_an_interrupted_write_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def press(_: int) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", press)
    with pytest.raises(KeyboardInterrupt):
        write_bytes(tmp_path / "plan.json", b"new")
    assert names(tmp_path) == []


def test_a_file_that_was_cleared_before_it_was_locked_is_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    exists, asked = os.path.exists, []

    def gone_once(name: str) -> bool:
        asked.append(name)
        if len(asked) == 1:
            os.unlink(name)
        return exists(name)

    monkeypatch.setattr("os.path.exists", gone_once)
    write_bytes(tmp_path / "plan.json", b"new")
    assert (names(tmp_path), len(asked) >= 2) == (["plan.json"], True)
