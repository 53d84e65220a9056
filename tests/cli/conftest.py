"""Target files in an empty working directory, and the command line run inside this process."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from collabplan.cli.main import main

# Under pytest's importlib mode a test folder is not on the path.
sys.path.insert(0, str(Path(__file__).parent.parent))
sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(Path(__file__).parents[1] / "runtime"))
from cli_targets import NET, Ran, Run


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working directory, in a terminal of 80 columns."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "80")
    return tmp_path


@pytest.fixture
def run(here: Path, capsys: pytest.CaptureFixture[str]) -> Run:
    """Run `collabplan` with these arguments in the working directory."""
    assert Path.cwd() == here

    def command(*arguments: str) -> Ran:
        capsys.readouterr()
        with pytest.raises(SystemExit) as stop:
            main(arguments)
        streams = capsys.readouterr()
        code = stop.value.code
        assert isinstance(code, int)
        return Ran(code, streams.out, streams.err)

    return command


@pytest.fixture
def target(here: Path) -> Callable[..., Path]:
    """Write a target file: the small network, and what a test adds."""

    def write(extra: str = "", *, name: str = "model.py", base: str = NET) -> Path:
        path = here / name
        path.write_text(base + extra)
        return path

    return write
