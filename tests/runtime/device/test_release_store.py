"""A store keeps what left, takes back what did not, is its owner's alone, and never advises to forget."""

from __future__ import annotations

import contextlib
import re
import sqlite3
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from collabplan.records import CollabplanError
from collabplan.runtime.device.errors import ReleaseError
from collabplan.runtime.device.release_store import ReleaseStore

VALUES = np.array([0.5, -1.25], dtype=np.float32)


@pytest.fixture(params=["memory", "file"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> ReleaseStore:
    path = None if request.param == "memory" else tmp_path / "releases"
    return ReleaseStore(path, "plan", 4, keeps_numbers=True)


def test_what_was_added_is_found_with_its_count_bytes_and_neighbours(store: ReleaseStore) -> None:
    with store.decision():
        assert store.find(b"a") is None
        first = store.add(b"a", b"1234", VALUES)
        second = store.add(b"b", b"5678", VALUES + 1)
    with store.decision():
        assert store.find(b"a") == first.number != second.number
        assert (store.count(first.number), store.first_row(first.number)) == (1, b"1234")
        assert store.nearest(VALUES + 0.9, 0.2) == second.number
        assert store.nearest(VALUES + 0.5, 0.2) is None
    store.close()


def test_what_a_failed_decision_wrote_does_not_count(store: ReleaseStore) -> None:
    with contextlib.suppress(KeyError), store.decision():
        store.add(b"a", b"1234", VALUES)
        raise KeyError
    with store.decision():
        assert store.find(b"a") is None
        assert store.nearest(VALUES, 1.0) is None


def test_an_input_counts_until_all_that_claimed_it_took_it_back(store: ReleaseStore) -> None:
    with store.decision():
        first = store.add(b"a", b"1234", VALUES)
        repeat, further = store.add_repeat(first.number), store.add_further(first.number)
        assert store.count(first.number) == 2
    for claim in (first, further):
        with store.decision():
            store.take_back([claim])
            assert store.find(b"a") == first.number
    with store.decision():
        assert store.count(first.number) == 1
        store.take_back([repeat])
        assert store.find(b"a") is None
        assert store.first_row(first.number) is None
        assert store.nearest(VALUES, 1.0) is None


def test_digests_differ_between_stores_and_stay_in_one(tmp_path: Path) -> None:
    parts = [b"uint8", b"an input"]
    one, other = (ReleaseStore(tmp_path / name, "plan", 4) for name in ("one", "other"))
    assert one.digest(parts) != other.digest(parts)
    assert one.digest(parts) == ReleaseStore(tmp_path / "one", "plan", 4).digest(parts)
    assert one.digest(parts) != one.digest([b"uint8an", b" input"])


def test_a_file_is_readable_by_its_owner_alone_and_refused_otherwise(tmp_path: Path) -> None:
    path = tmp_path / "releases"
    store = ReleaseStore(path, "plan", 4)
    with store.decision():
        store.add(b"a", b"1234", None)
    assert {stat.S_IMODE(file.stat().st_mode) for file in tmp_path.iterdir()} == {0o600}
    store.close()
    path.chmod(0o644)
    path = path.rename(tmp_path / "of ours")
    with pytest.raises(CollabplanError, match=f"run: chmod 600 '{path}'"):
        ReleaseStore(path, "plan", 4)


COUNT = """
import sqlite3, sys
database = sqlite3.connect(sys.argv[1])
print(*database.execute("SELECT count(*) FROM releases").fetchone())
database.close()
"""
"""Another program: SQLite removes the log of a file that nobody else holds once it closes it."""


def test_a_second_store_in_a_process_leaves_the_locks_of_the_first(tmp_path: Path) -> None:
    path = tmp_path / "releases"
    first, second = ReleaseStore(path, "plan", 4), ReleaseStore(path, "plan", 4)
    for digest, counted in ((b"a", "0"), (b"b", "1")):
        found = subprocess.run([sys.executable, "-c", COUNT, str(path)], capture_output=True, text=True, timeout=60)
        assert found.stdout.split() == [counted], found.stderr
        with first.decision():
            first.add(digest, b"1234", None)
    with second.decision():
        assert second.find(b"a") is not None
        assert second.find(b"b") is not None


@pytest.mark.parametrize(("plan", "row_bytes"), [("another", 4), ("plan", 5)])
def test_a_file_of_another_plan_or_row_size_is_refused(tmp_path: Path, plan: str, row_bytes: int) -> None:
    ReleaseStore(tmp_path / "releases", "plan", 4).close()
    with pytest.raises(CollabplanError, match="belongs to another plan"):
        ReleaseStore(tmp_path / "releases", plan, row_bytes)


def test_near_duplicates_need_a_store_that_kept_all_numbers(tmp_path: Path) -> None:
    path = tmp_path / "releases"
    ReleaseStore(path, "plan", 4).close()
    ReleaseStore(path, "plan", 4, keeps_numbers=True).close()  # nothing was released in between
    again = ReleaseStore(path, "plan", 4)
    with again.decision():
        assert again.keeps_numbers
    bare = ReleaseStore(tmp_path / "bare", "plan", 4)
    with bare.decision():
        bare.add(b"a", b"1234", None)
    with pytest.raises(CollabplanError, match="filled without --near"):
        ReleaseStore(tmp_path / "bare", "plan", 4, keeps_numbers=True)


# errors -----------------------------------------------------------------------------------------------------


def is_text(path: Path) -> None:
    path.write_text("these are my notes, and they are long enough to be no database\n" * 20)


def is_anothers(path: Path) -> None:
    with sqlite3.connect(path) as database:
        database.execute("CREATE TABLE recipes (name TEXT)")


def is_newer(path: Path) -> None:
    ReleaseStore(path, "plan", 4).close()
    with sqlite3.connect(path) as database:
        database.execute("PRAGMA user_version = 99")


def is_locked(path: Path) -> None:
    ReleaseStore(path, "plan", 4).close()
    holder = sqlite3.connect(path, isolation_level=None)
    holder.execute("BEGIN EXCLUSIVE")
    HOLDERS.append(holder)


HOLDERS: list[sqlite3.Connection] = []

REFUSED: list[tuple[Callable[[Path], object], str]] = [
    (is_text, "none of ours"),
    (is_anothers, "none of ours"),
    (is_newer, "another version"),
    (is_locked, "in use by another program; wait"),
    (Path.mkdir, "cannot be opened"),
]


@pytest.mark.parametrize(("made", "says"), REFUSED)
def test_a_file_that_cannot_be_used_is_refused_and_left_as_it_is(
    tmp_path: Path, made: Callable[[Path], object], says: str
) -> None:
    path = tmp_path / "file"
    made(path)
    if path.is_file():
        path.chmod(0o600)
    before = path.read_bytes() if path.is_file() else b""
    with pytest.raises(CollabplanError, match=says) as refused:
        ReleaseStore(path, "plan", 4, wait_s=0.05)
    assert "remove" not in str(refused.value)
    assert (path.read_bytes() if path.is_file() else b"") == before


def test_a_locked_store_is_a_release_error_while_it_is_used(tmp_path: Path) -> None:
    store = ReleaseStore(tmp_path / "releases", "plan", 4, wait_s=0.05)
    holder = sqlite3.connect(tmp_path / "releases", isolation_level=None)
    holder.execute("BEGIN IMMEDIATE")
    with pytest.raises(ReleaseError, match=r"in use by another program; wait .*; nothing was sent"), store.decision():
        pytest.fail("nobody decides while another does")
    holder.execute("ROLLBACK")
    with store.decision():
        store.add(b"a", b"1234", None)


def test_a_full_disk_is_a_release_error_and_nothing_of_the_decision_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened, connect = list[sqlite3.Connection](), sqlite3.connect

    def noted(*given: object, **named: object) -> sqlite3.Connection:
        opened.append(connect(*given, **named))  # type: ignore[call-overload]
        return opened[-1]

    monkeypatch.setattr(sqlite3, "connect", noted)
    store = ReleaseStore(tmp_path / "releases", "plan", 10**6)
    with store.decision():
        store.add(b"a", b"1234", None)
    (pages,) = opened[0].execute("PRAGMA page_count").fetchone()
    opened[0].execute(f"PRAGMA max_page_count = {pages}")  # SQLite then answers as on a full disk
    with pytest.raises(ReleaseError, match=r"no space is left .*free some space") as refused, store.decision():
        store.add(b"b", bytes(10**6), None)
    assert not re.search("remove|forg", str(refused.value))
    opened[0].execute(f"PRAGMA max_page_count = {pages + 1000}")
    with store.decision():
        assert (store.find(b"a") is None, store.find(b"b")) == (False, None)
        store.add(b"b", bytes(10**6), None)


def test_a_closed_store_is_a_release_error(store: ReleaseStore) -> None:
    store.close()
    with pytest.raises(ReleaseError, match="cannot be used"), store.decision():
        pytest.fail("it is closed")


# memory -----------------------------------------------------------------------------------------------------


def test_memory_makes_room_by_dropping_the_oldest_bytes_and_no_input() -> None:
    store = ReleaseStore(None, "plan", 4, most_bytes=10**6)
    assert not store.make_room(), "there is nothing to drop"
    with store.decision():
        numbers = [store.add(bytes([digest]), b"1234", None).number for digest in range(8)]
    assert store.make_room()
    with store.decision():
        assert [store.find(bytes([digest])) for digest in range(8)] == numbers
        assert [store.first_row(number) is None for number in numbers] == [True, True] + 6 * [False]


def test_a_file_never_drops_bytes(tmp_path: Path) -> None:
    store = ReleaseStore(tmp_path / "releases", "plan", 4)
    with store.decision():
        number = store.add(b"a", b"1234", None).number
    assert not store.make_room()
    assert store.first_row(number) == b"1234"


@pytest.mark.parametrize("name", ["file:foo?mode=ro", "file:foo?mode=memory", ":memory:", "foo#bar?x=1"])
def test_a_name_is_a_file_whatever_sqlite_makes_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.chdir(tmp_path)
    for known in (False, True):
        store = ReleaseStore(Path(name), "plan", 4)
        with store.decision():
            assert (store.find(b"a") is not None) is known
            if not known:
                store.add(b"a", b"1234", None)
        store.close()
    assert [file.name for file in tmp_path.iterdir()] == [name]
    assert (tmp_path / name).stat().st_size > 0
