"""What lies there already is kept, but for what the same command made."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
from collabplan.records import CollabplanError
from collabplan.workflows.replacing import refuse_to_replace


def test_what_is_absent_empty_or_forced_is_written(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "plan.json").write_text("mine")
    for path, force in ((None, False), (tmp_path / "absent", False), (tmp_path / "empty", False)):
        refuse_to_replace(path, force)
    refuse_to_replace(tmp_path / "plan.json", True)


@pytest.mark.parametrize("content", ["mine", "[]", "{}", '{"provenance": {"command": ["another"]}}'])
def test_a_file_of_something_else_is_kept(tmp_path: Path, content: str) -> None:
    (tmp_path / "plan.json").write_text(content)
    with pytest.raises(CollabplanError, match=r"plan\.json exists already; .*-o, or --force"):
        refuse_to_replace(tmp_path / "plan.json", False)


def test_a_folder_with_files_is_kept(tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("mine")
    with pytest.raises(CollabplanError, match=r"holds files already; .*--force"):
        refuse_to_replace(tmp_path, False)


def test_the_same_command_may_write_its_record_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    line = ["collabplan", "attack", "model.py", "-o", "audit.json"]
    (tmp_path / "audit.json").write_text(json.dumps({"provenance": {"command": line}}))
    monkeypatch.setattr(sys, "argv", line)
    refuse_to_replace(tmp_path / "audit.json", False)
    monkeypatch.setattr(sys, "argv", [*line, "--seeds", "3"])
    with pytest.raises(CollabplanError, match="exists already"):
        refuse_to_replace(tmp_path / "audit.json", False)
