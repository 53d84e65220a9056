"""A secret is read from a plain file that its owner guards; whom to trust, from one that nobody else may write."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from collabplan.records import CollabplanError, read_private
from collabplan.records.private_file import MOST_BYTES, read_trusted


def read(path: Path) -> bytes:
    return read_private(path, "secret", forbidden=0o077, advice="make one")


def test_a_guarded_file_is_read(tmp_path: Path) -> None:
    file = tmp_path / "secret"
    file.write_bytes(b"content")
    file.chmod(0o600)
    assert read(file) == b"content"
    file.chmod(0o640)
    with pytest.raises(CollabplanError, match="may be read by others; run: chmod 600"):
        read(file)


def test_what_is_no_file_is_refused_without_waiting(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe", 0o600)
    for name, says in (
        ("pipe", "is not a plain file"),
        (".", "is not a plain file|cannot be read"),
        ("no", "not exist"),
    ):
        with pytest.raises(CollabplanError, match=says):
            read(tmp_path / name)


def test_who_to_trust_is_read_where_nobody_else_may_write(tmp_path: Path) -> None:
    file = tmp_path / "ca of ours.pem"
    file.write_bytes(b"content")
    for mode in (0o644, 0o444, 0o600):
        file.chmod(mode)
        assert read_trusted(file, "authority", advice="give one") == b"content"
    for mode in (0o664, 0o666, 0o646):
        file.chmod(mode)
        with pytest.raises(CollabplanError, match=f"authority .* may be changed by others; run: chmod go-w '{file}'"):
            read_trusted(file, "authority", advice="give one")


def test_who_to_trust_is_not_read_from_another_users_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "ca.pem"
    file.write_bytes(b"content")
    file.chmod(0o644)
    owner = file.stat().st_uid
    if owner == 0:
        os.chown(file, 1234, -1)
    else:
        monkeypatch.setattr(os, "geteuid", lambda: owner + 1)
    with pytest.raises(CollabplanError, match="belongs to another user, who may change it"):
        read_trusted(file, "authority", advice="give one")


def test_advice_can_be_run_as_it_stands(tmp_path: Path) -> None:
    file = tmp_path / "a; rm -r x"
    file.write_bytes(b"content")
    file.chmod(0o644)
    with pytest.raises(CollabplanError) as caught:
        read(file)
    assert str(caught.value).endswith(f"run: chmod 600 '{file}'")


def test_what_is_larger_than_any_key_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "large"
    file.write_bytes(b"x" * (MOST_BYTES + 1))
    file.chmod(0o600)
    with pytest.raises(CollabplanError, match="larger than any such file"):
        read(file)
