"""Writes a target file to start from."""

from __future__ import annotations

from pathlib import Path

from ..records.atomic import write_text
from ..records.errors import CollabplanError
from ..targets.template import TEMPLATE


def write_target_file(file: Path, *, force: bool = False) -> None:
    """Write a commented target: a small model with data that works as it is.

    Raises:
        CollabplanError: not a Python file, or it exists and `force` is not given.
    """
    if file.suffix != ".py":
        raise CollabplanError(f"{file} does not end in .py; a target is a Python file, for example model.py")
    if file.exists() and not force:
        raise CollabplanError(f"{file} exists already; give another name, or --force to replace it")
    write_text(file, TEMPLATE)
