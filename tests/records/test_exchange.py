"""A single machine shares nothing."""

from pathlib import Path

from collabplan.records import ALONE


def test_alone_neither_brings_nor_takes_a_file(tmp_path: Path) -> None:
    ALONE.fetch(tmp_path / "absent")
    assert not (tmp_path / "absent").exists()
    (tmp_path / "made").write_text("content")
    ALONE.fetch(tmp_path / "made")
    ALONE.offer(tmp_path / "made")
    assert (tmp_path / "made").read_text() == "content"
