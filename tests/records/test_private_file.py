"""A secret is read from a plain file that its owner guards."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from collabplan.records import CollabplanError, read_private


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
