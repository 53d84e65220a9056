"""Commands in a Python that lacks some packages, as a machine does on which an extra is not installed."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

PLAN = ("optuna", "sqlalchemy", "scipy", "sklearn", "torchmetrics", "PIL", "matplotlib", "pandas")
"""What only a machine that plans has. Not networkx, which torch itself installs."""

HIDE = """
import json, sys
from importlib.machinery import PathFinder

hidden, found = json.loads(sys.argv[1]), PathFinder.find_spec

def find_spec(cls, name, path=None, target=None):
    return None if name.partition(".")[0] in hidden else found(name, path, target)

PathFinder.find_spec = classmethod(find_spec)
"""
"""The beginning of a program whose first argument lists, as JSON, the packages that it cannot import."""

_COMMANDS = """
import contextlib, io
from collabplan.cli.main import main
for command in json.loads(sys.argv[2]):
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            main(command)
        except SystemExit as stop:
            code = stop.code
    print(json.dumps([code, out.getvalue(), err.getvalue()]), flush=True)
"""


@dataclass(frozen=True)
class Left:
    """What a command left: exit code and the two streams."""

    code: int
    out: str
    err: str


def ran_without(packages: Iterable[str], commands: Sequence[Sequence[str]], folder: Path) -> list[Left]:
    """What some commands leave, one after the other in one process without `packages`, started in `folder`."""
    given = [json.dumps(list(packages)), json.dumps([list(map(str, command)) for command in commands])]
    done = subprocess.run(
        [sys.executable, "-c", HIDE + _COMMANDS, *given],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    return [Left(*json.loads(line)) for line in done.stdout.splitlines()]
