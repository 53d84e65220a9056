"""One process at a time writes to a folder, and the next one is told who does."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from collabplan.planner.folder_lock import LOCK_FILE, locked
from collabplan.records import CollabplanError


def test_a_second_writer_is_refused_and_told_who_holds_the_folder(tmp_path: Path) -> None:
    with (
        locked(tmp_path),
        pytest.raises(CollabplanError, match=rf"another optimize \(process {os.getpid()}\)"),
        locked(tmp_path),
    ):
        pass
    with locked(tmp_path):
        pass


def test_another_process_is_refused(tmp_path: Path) -> None:
    code = (
        "import sys, pathlib; from collabplan.planner.folder_lock import locked\n"
        "try:\n    locked(pathlib.Path(sys.argv[1])).__enter__()\n"
        "except Exception as error: print(type(error).__name__)"
    )
    with locked(tmp_path):
        done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "CollabplanError"


def test_a_process_that_is_killed_frees_the_folder(tmp_path: Path) -> None:
    code = (
        "import os, sys, pathlib; from collabplan.planner.folder_lock import locked\n"
        "locked(pathlib.Path(sys.argv[1])).__enter__()\nos.kill(os.getpid(), 9)"
    )
    killed = subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=False)
    assert killed.returncode == -9
    with locked(tmp_path):
        assert (tmp_path / LOCK_FILE).read_text() == str(os.getpid())


def test_a_file_in_the_folders_place_is_one_clear_error(tmp_path: Path) -> None:
    (tmp_path / "folder").touch()
    with pytest.raises(CollabplanError, match="folder"), locked(tmp_path / "folder"):
        pass


def test_a_locked_folder_ignores_itself_in_git(tmp_path: Path) -> None:
    with locked(tmp_path / "new"):
        assert (tmp_path / "new" / ".gitignore").read_text() == "*\n"


@pytest.mark.parametrize("exists", [True, False])
def test_a_link_in_the_locks_place_is_refused_and_its_target_stays(tmp_path: Path, exists: bool) -> None:
    target, folder = tmp_path / "target", tmp_path / "folder"
    folder.mkdir()
    if exists:
        target.write_text("precious")
    (folder / LOCK_FILE).symlink_to(target)
    with pytest.raises(CollabplanError, match="is a link"), locked(folder):
        pass
    assert target.exists() == exists
    assert not exists or target.read_text() == "precious"
