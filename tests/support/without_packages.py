"""Commands in a Python that lacks some packages, as a machine does on which an extra is not installed."""

from __future__ import annotations

import functools
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

_FORKING = """
import contextlib, io, json, os, sys
import filelock, numpy, pydantic, rich, safetensors.torch, sympy, torch, typer  # which every machine has

def run(folder, packages, commands):
    os.chdir(folder)
    sys.argv[1:] = [json.dumps(packages)]
    exec(HIDE, globals())
    from collabplan.cli.main import main
    for command in commands:
        out, err = io.StringIO(), io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            try:
                main(command)
            except SystemExit as stop:
                code = stop.code
        print(json.dumps([code, out.getvalue(), err.getvalue()]), flush=True)

for line in sys.stdin:
    child = os.fork()
    if child == 0:
        try:
            run(*json.loads(line))
            os._exit(0)
        finally:
            sys.excepthook(*sys.exc_info())
            os._exit(1)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""


@dataclass(frozen=True)
class Left:
    """What a command left: exit code and the two streams."""

    code: int
    out: str
    err: str


def ran_without(packages: Iterable[str], commands: Sequence[Sequence[str]], folder: Path) -> list[Left]:
    """What some commands leave, one after the other in one process without `packages`, started in `folder`."""
    process = _forking()
    assert process.stdin is not None
    assert process.stdout is not None
    given = [str(folder), list(packages), [list(map(str, command)) for command in commands]]
    process.stdin.write(json.dumps(given) + "\n")
    process.stdin.flush()
    left = []
    while (line := process.stdout.readline()).startswith("["):
        left.append(Left(*json.loads(line)))
    assert line == "0\n", "a child failed, see its trace on stderr"
    return left


@functools.cache
def _forking() -> subprocess.Popen[str]:
    """A process that has imported what every machine has, forks for each job, and ends when its input does."""
    command = [sys.executable, "-c", f"HIDE = {HIDE!r}\n{_FORKING}"]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
