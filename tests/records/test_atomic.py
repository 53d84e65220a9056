"""A file appears whole or not at all."""

import errno
import os
import stat
from pathlib import Path

import pytest
from collabplan.records import CollabplanError, new_folder, write_bytes, write_text
from collabplan.records.atomic import make_file, require_writable


def test_a_file_is_written_with_its_folders(tmp_path: Path) -> None:
    target = tmp_path / "new" / "folder" / "file.txt"
    write_text(target, "größer")
    assert target.read_bytes() == "größer".encode()
    assert os.listdir(target.parent) == ["file.txt"]


def test_permissions_follow_the_umask(tmp_path: Path) -> None:
    mask = os.umask(0o027)
    try:
        write_bytes(tmp_path / "file", b"x")
    finally:
        os.umask(mask)
    assert stat.S_IMODE((tmp_path / "file").stat().st_mode) == 0o640


def test_what_is_kept_in_the_work_folder_is_its_users_alone(tmp_path: Path) -> None:
    mask = os.umask(0)
    try:
        write_bytes(tmp_path / "above" / ".collabplan" / "audits" / "picture.png", b"x")
        make_file(tmp_path / "above" / ".collabplan" / "lock")
        with new_folder(tmp_path / "above" / ".collabplan" / "made") as folder:
            write_bytes(folder / "file", b"x")
    finally:
        os.umask(mask)
    kept = tmp_path / "above" / ".collabplan"
    assert stat.S_IMODE((tmp_path / "above").stat().st_mode) == 0o777
    assert {path: stat.S_IMODE(path.stat().st_mode) for path in (kept, *kept.rglob("*"))} == {
        path: 0o700 if path.is_dir() else 0o600 for path in (kept, *kept.rglob("*"))
    }
    assert len(list(kept.rglob("*"))) == 5


@pytest.mark.parametrize("step", ["fsync", "replace"])
def test_a_full_device_leaves_the_old_file_and_no_litter(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    target = tmp_path / "plan.json"
    write_text(target, "old")
    monkeypatch.setattr(os, step, full)
    with pytest.raises(CollabplanError, match=r"no space left on the device for .*plan\.json") as caught:
        write_text(target, "new")
    assert "\n" not in str(caught.value)
    assert target.read_text() == "old"
    assert os.listdir(tmp_path) == ["plan.json"]


def test_a_place_that_cannot_be_written_says_so(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(CollabplanError, match=r"cannot write .*writable place"):
        write_text(tmp_path / "file" / "plan.json", "x")


def test_a_folder_appears_whole_or_not_at_all(tmp_path: Path) -> None:
    target = tmp_path / "deep" / "folder"

    def fill(text: str, *, fails: bool = False) -> None:
        with new_folder(target) as made:
            (made / text).write_text(text)
            if fails:
                raise OSError(28, "No space left on device")

    fill("first")
    with pytest.raises(CollabplanError, match="no space left"):
        fill("second", fails=True)
    assert [path.name for path in target.iterdir()] == ["first"]
    fill("third")
    assert [path.name for path in target.iterdir()] == ["third"]
    assert [path.name for path in target.parent.iterdir()] == ["folder"]


@pytest.mark.parametrize(
    ("name", "folder", "says"),
    [
        (".", False, "it is a folder"),
        ("pipe", False, "it is no plain file"),
        ("file", True, "it is a file"),
        ("pipe", True, "it is a file"),
        ("file/below", False, "file is no folder"),
        ("file/below/it", True, "file is no folder"),
        ("x" * 250, False, "File name too long"),
        ("x" * 300, True, "File name too long"),
    ],
)
def test_where_nothing_can_be_written_is_refused_before_the_work(
    tmp_path: Path, name: str, folder: bool, says: str
) -> None:
    (tmp_path / "file").touch()
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(CollabplanError, match=f"^cannot write .*{says}; choose a writable place with -o$"):
        require_writable(tmp_path / name, folder=folder)
    assert {path.name for path in tmp_path.iterdir()} == {"file", "pipe"}


def test_a_folder_that_takes_no_file_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: object, **__: object) -> None:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    monkeypatch.setattr("tempfile.mkdtemp", refused)
    with pytest.raises(CollabplanError, match=r"cannot write .*Permission denied"):
        require_writable(tmp_path / "new" / "file")


def test_where_something_can_be_written_nothing_is_left(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "folder").mkdir()
    for name, folder in (("file", False), ("new", False), ("a/b/c", False), ("folder", True), ("a/b", True)):
        require_writable(tmp_path / name, folder=folder)
    assert {path.name for path in tmp_path.rglob("*")} == {"file", "folder"}
