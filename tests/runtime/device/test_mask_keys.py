"""The file of mask keys: the newest is used, and no message tells any."""

from __future__ import annotations

from pathlib import Path

import pytest
from collabplan.records import CollabplanError
from collabplan.runtime.device.mask_keys import newest_key

OLD, NEW = "0f" * 32, "a1" * 40


def key_file(path: Path, text: str, mode: int = 0o600) -> Path:
    path.write_text(text)
    path.chmod(mode)
    return path


def test_the_last_line_is_the_key(tmp_path: Path) -> None:
    assert newest_key(key_file(tmp_path / "key", f"{OLD}\n")) == bytes.fromhex(OLD)
    assert newest_key(key_file(tmp_path / "key", f"{OLD}\n{NEW}\n\n")) == bytes.fromhex(NEW)


@pytest.mark.parametrize(
    ("text", "mode", "says"),
    [
        (NEW, 0o644, "chmod 600"),
        (NEW, 0o640, "chmod 600"),
        ("", 0o600, "is empty"),
        ("not hexadecimal at all", 0o600, "not hexadecimal"),
        ("\xe9" * 64, 0o600, "not hexadecimal"),
        (f"{NEW}\n{'b2' * 31}", 0o600, "31 bytes, at least 32"),
    ],
)
def test_what_is_no_safe_key_is_refused_without_its_bytes(tmp_path: Path, text: str, mode: int, says: str) -> None:
    with pytest.raises(CollabplanError, match=says) as caught:
        newest_key(key_file(tmp_path / "key", text, mode))
    assert "b2b2" not in str(caught.value)
    assert "a1a1" not in str(caught.value)


def test_a_missing_file_and_a_folder_are_told(tmp_path: Path) -> None:
    with pytest.raises(CollabplanError, match="does not exist"):
        newest_key(tmp_path / "key")
    with pytest.raises(CollabplanError, match="key file"):
        newest_key(tmp_path)
