"""A child says when it is ready, is heard when it cannot start, and never outlives its parent."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest
from collabplan.records import CollabplanError
from collabplan.runtime.child_process import ChildProcess
from serving import until


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A module that children can run: prints its number, then what it is asked to be."""
    (tmp_path / "a_child.py").write_text(
        "import os, sys\n"
        "what = sys.argv[1]\n"
        "if what == 'fail': sys.exit('no port is free')\n"
        "if what == 'ready': print(os.getpid(), os.environ.get('OMP_NUM_THREADS'), flush=True)\n"
        "for line in sys.stdin:\n"
        "    open(sys.argv[2], 'a').write(line)\n"
    )
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")]))
    return "a_child"


def test_its_first_line_is_read_and_lines_reach_it(module: str, tmp_path: Path) -> None:
    heard = tmp_path / "heard"
    with ChildProcess(module, "ready", str(heard), threads=3) as child:
        number, threads = child.first_line.split()
        assert threads == "3"
        child.tell("hold 1")
    assert heard.read_text() == "hold 1\n"
    with pytest.raises(ProcessLookupError):
        os.kill(int(number), 0)


def test_a_child_that_cannot_start_is_quoted(module: str) -> None:
    with pytest.raises(CollabplanError, match="a_child could not start: no port is free"):
        ChildProcess(module, "fail")


def test_a_child_that_is_not_ready_in_time_is_ended(module: str) -> None:
    with pytest.raises(CollabplanError, match=r"a_child was not ready within 0\.5 s"):
        ChildProcess(module, "silent", within_s=0.5)


def test_telling_a_child_that_has_ended_is_one_clear_error(module: str, tmp_path: Path) -> None:
    child = ChildProcess(module, "ready", str(tmp_path / "absent" / "file"))
    number = int(child.first_line.split()[0])
    child.tell("fails to write this")
    until(lambda: _has_ended(number))
    with pytest.raises(CollabplanError, match="a_child has ended: FileNotFoundError"):
        child.tell("hold 1")
    child.close()


def _has_ended(number: int) -> bool:
    if sys.platform != "linux":  # pragma: no cover
        return True
    return "\nState:\tZ" in Path(f"/proc/{number}/status").read_text()
