"""Both stores keep the same things; memory is bounded, and a file is its owner's alone and of one plan."""

from __future__ import annotations

import stat
from pathlib import Path

import numpy as np
import pytest
from collabplan.records import CollabplanError
from collabplan.runtime.device.release_store import MemoryStore, ReleasedInput, ReleaseStore, SqliteStore

VALUES = np.array([0.5, -1.25], dtype=np.float32)


@pytest.fixture(params=["memory", "sqlite"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> ReleaseStore:
    return MemoryStore(10**6) if request.param == "memory" else SqliteStore(tmp_path / "releases", "plan", 4)


def test_what_was_put_is_found_with_its_count_bytes_and_numbers(store: ReleaseStore) -> None:
    assert store.get(b"a") is None
    assert store.put(b"a", ReleasedInput(1, b"1234", VALUES)) == []
    assert store.put(b"b", ReleasedInput(1, b"5678")) == []
    found = store.get(b"a")
    assert found is not None
    assert found.values is not None
    assert (found.count, found.row, found.values.tolist()) == (1, b"1234", VALUES.tolist())
    assert [(digest, each.row, each.values is None) for digest, each in store.items()] == [
        (b"a", b"1234", False), (b"b", b"5678", True),
    ]  # fmt: skip
    store.close()


def test_a_new_count_replaces_the_old_one(store: ReleaseStore) -> None:
    store.put(b"a", ReleasedInput(1, b"1234"))
    released = store.get(b"a")
    assert released is not None
    released.count += 1
    store.put(b"a", released)
    again = store.get(b"a")
    assert again is not None
    assert again.count == 2


def test_memory_forgets_the_oldest_even_if_it_was_asked_for_last() -> None:
    size = ReleasedInput(1, b"1234").size_bytes
    store = MemoryStore(3 * size)
    for digest in (b"a", b"b", b"c"):
        assert store.put(digest, ReleasedInput(1, b"1234")) == []
    assert store.get(b"a") is not None
    assert store.put(b"d", ReleasedInput(1, b"1234")) == [b"a"]
    assert [digest for digest, _ in store.items()] == [b"b", b"c", b"d"]


def test_memory_keeps_the_newest_input_however_large_it_is() -> None:
    store = MemoryStore(10)
    store.put(b"a", ReleasedInput(1, b"1234"))
    assert store.put(b"b", ReleasedInput(1, bytes(1000))) == [b"a"]
    assert store.get(b"b") is not None


def test_a_file_is_readable_by_its_owner_alone_and_refused_otherwise(tmp_path: Path) -> None:
    path = tmp_path / "releases"
    SqliteStore(path, "plan", 4).close()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    path.chmod(0o644)
    with pytest.raises(CollabplanError, match="chmod 600"):
        SqliteStore(path, "plan", 4)


@pytest.mark.parametrize(("plan", "row_bytes"), [("another", 4), ("plan", 5)])
def test_a_file_of_another_plan_or_row_size_is_refused(tmp_path: Path, plan: str, row_bytes: int) -> None:
    SqliteStore(tmp_path / "releases", "plan", 4).close()
    with pytest.raises(CollabplanError, match="belongs to another plan"):
        SqliteStore(tmp_path / "releases", plan, row_bytes)


def test_a_file_that_is_no_release_store_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "notes"
    path.write_text("these are my notes, and they are long enough to be no database\n" * 20)
    path.chmod(0o600)
    with pytest.raises(CollabplanError, match="none of ours"):
        SqliteStore(path, "plan", 4)


def test_a_folder_in_the_files_place_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CollabplanError, match="cannot be opened"):
        SqliteStore(tmp_path, "plan", 4)
