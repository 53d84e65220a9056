"""What the tests of the command line share: what a command left, and folders that commands worked in."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from collabplan.cli.main import main
from target_files import DATA, NET


@dataclass(frozen=True)
class Ran:
    """What a command left: exit code and the two streams."""

    code: int
    out: str
    err: str

    @property
    def line(self) -> str:
        """The one line of a failure."""
        assert self.err.count("\n") == 1, f"not one line on stderr: {self.err!r}"
        return self.err.strip()

    @property
    def document(self) -> Any:
        """The one JSON document on stdout."""
        return json.loads(self.out)


Run = Callable[..., Ran]

PROFILE = ("profile", "model.py", "--seconds", "0.3", "--threads", "1")
SEARCH = ("--budget-ms", "5000", "--max-accuracy-drop", "1", "--trials", "3", "--draws", "1", "--no-audit")


def ran_in(folder: Path, *commands: tuple[str, ...], extra: str = "") -> Path:
    """`folder`, with the small network, its data and `extra` in model.py, after commands that must succeed."""
    (folder / "model.py").write_text(NET + DATA + extra)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        for command in commands:
            with pytest.raises(SystemExit) as stop:
                main(command)
            assert stop.value.code == 0
    return folder
