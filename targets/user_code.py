"""Runs what the user wrote: imports a target, calls its functions, and names the line that fails.

Importing a Python file runs it. There is no safe way around that, and the help says so. This module keeps the damage of
ordinary mistakes small: a failure is one clear message with the line in the user's file, prints do not spoil `--json`,
and random generators are seeded and restored, so that a model built without weights is the same in the next command.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib
import importlib.util
import linecache
import random
import sys
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch

from ..records import CollabplanError, TargetError
from ..records.extras import missing_package
from .hints import hint
from .process_state import process_state_of

SEED = 0
"""The seed of the global random generators while the user's code runs."""


@dataclass(frozen=True, slots=True)
class TargetSpec:
    """A target as the user names it: a file or a module, and optionally one of its attributes."""

    text: str
    file: Path | None
    module: str | None
    attribute: str | None

    @classmethod
    def parse(cls, text: str) -> TargetSpec:
        """Read `path.py`, `path.py:attr` or `package.module:attr`.

        Raises:
            TargetError: the text has another form.
        """
        head, colon, attribute = text.rpartition(":")
        if not colon or attribute.endswith(".py"):
            head, attribute = text, ""
        if head.endswith(".py"):
            return cls(text, Path(head), None, attribute or None)
        if Path(head).is_file():
            raise TargetError(f"target {head} is no Python file; give path.py (of a notebook, its cells saved as one)")
        if head and all(part.isidentifier() for part in head.split(".")) and not Path(head).is_dir():
            return cls(text, None, head, attribute or None)
        raise TargetError(
            f"target {text!r} is not of the form path.py, path.py:attr, package.module:attr or timm:NAME; "
            "`collabplan init` writes a file to start from"
        )


def load_module(spec: TargetSpec) -> tuple[ModuleType, Path | None]:
    """Import the target's file, under a module name of its own and with its folder on `sys.path`, or its module.

    Returns:
        The module and the file that it came from; None for a module without a file.

    Raises:
        TargetError: there is no such file or module, or it raises. The message names the user's line.
    """
    if spec.file is not None:
        return _load_file(spec.file), spec.file.resolve()
    assert spec.module is not None
    module = _load_by_name(spec.module)
    origin = getattr(module, "__file__", None)
    return module, Path(origin) if origin else None


def main_block(file: Path | None) -> str:
    """A remark, `; what stands under ...`, if a file has code that only runs as a program; otherwise nothing."""
    if file is None or "__main__" not in file.read_text(encoding="utf-8", errors="replace"):
        return ""
    return "; what stands under if __name__ == '__main__' does not run here: move it out of there"


def call(function: Callable[..., Any], what: str, file: Path | None) -> Any:
    """Call a function of the target without arguments. Raises TargetError as `guarded` does."""
    with guarded(f"{what} raised", file):
        return function()


@contextlib.contextmanager
def guarded(what: str, file: Path | None) -> Iterator[None]:
    """Run the user's code: seeded, its prints on stderr, any failure one TargetError with its line.

    Args:
        what: opens the message, e.g. `model.py raised`.
        file: the user's file, whose line is to be named.
    """
    try:
        with process_state_of(file), _seeded(), contextlib.redirect_stdout(sys.stderr):
            yield
    except (CollabplanError, KeyboardInterrupt, MemoryError):
        raise
    except BaseException as error:  # SystemExit too: a target must not exit
        if isinstance(error, ModuleNotFoundError) and user_line(error, file) is None:
            missing = missing_package(error)  # collabplan's own import, not one of the user's
            if missing is not None:
                raise missing from error
        raise TargetError(f"{what} {describe(error, file)}{hint(error, file)}") from error


def describe(error: BaseException, file: Path | None) -> str:
    """An error with the user's deepest line, as `ValueError: text (model.py, line 12: the source)`."""
    text = str(error.msg if isinstance(error, SyntaxError) else error)
    summary = f"{type(error).__name__}: {shorten(text)}" if text else type(error).__name__
    place = user_line(error, file)
    return f"{summary} ({place})" if place else summary


def user_line(error: BaseException, file: Path | None) -> str | None:
    """The line in the user's file or its folder where an error was raised, as `model.py, line 12: source`; or None."""
    if isinstance(error, SyntaxError) and error.filename and error.lineno:
        return _place(Path(error.filename), error.lineno)
    if file is None:
        return None
    frames = [(Path(frame.filename), frame.lineno or 0) for frame in traceback.extract_tb(error.__traceback__)]
    own = [frame for frame in frames if frame[0] == file]
    beside = [frame for frame in frames if file.parent in frame[0].parents and "site-packages" not in frame[0].parts]
    chosen = own or beside
    return _place(*chosen[-1]) if chosen else None


def shorten(text: str, limit: int = 300) -> str:
    """The text as one line, cut to `limit` characters."""
    line = " ".join(text.split())
    return line if len(line) <= limit else line[: limit - 1] + "…"


def _place(file: Path, line: int) -> str:
    source = linecache.getline(str(file), line).strip()
    return f"{file.name}, line {line}: {shorten(source, 80)}" if source else f"{file.name}, line {line}"


def _load_file(file: Path) -> ModuleType:
    if not file.is_file():
        what = "is a folder" if file.is_dir() else "does not exist"
        raise TargetError(f"target file {file} {what}; give a Python file, or write one with `collabplan init`")
    path = file.resolve()
    name = f"collabplan_target_{hashlib.sha256(str(path).encode()).hexdigest()[:12]}"
    loader = importlib.util.spec_from_file_location(name, path)
    assert loader is not None
    assert loader.loader is not None
    module = importlib.util.module_from_spec(loader)
    if str(path.parent) not in sys.path:
        sys.path.insert(0, str(path.parent))
    sys.modules[name] = module
    try:
        with guarded(f"{file} raised", path):
            loader.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module


def _load_by_name(name: str) -> ModuleType:
    if str(Path.cwd()) not in sys.path:
        sys.path.insert(0, str(Path.cwd()))
    try:
        with guarded(f"importing {name} raised", None):
            return importlib.import_module(name)
    except TargetError as error:
        cause = error.__cause__
        if isinstance(cause, ModuleNotFoundError) and cause.name and (name + ".").startswith(cause.name + "."):
            raise TargetError(
                f"no module named {cause.name!r} for target {name}; install it here, or give a file (path.py)"
            ) from cause
        raise


@contextlib.contextmanager
def _seeded() -> Iterator[None]:
    """Within: Python's, numpy's and torch's global generators are seeded. After: they are as before."""
    python_state, numpy_state = random.getstate(), np.random.get_state()
    devices = list(range(torch.cuda.device_count())) if torch.cuda.is_available() else []
    with torch.random.fork_rng(devices=devices):
        random.seed(SEED)
        np.random.seed(SEED)
        torch.manual_seed(SEED)
        try:
            yield
        finally:
            random.setstate(python_state)
            np.random.set_state(numpy_state)
