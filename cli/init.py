"""`collabplan init`: writes a target file to start from."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated

import typer

from .options import Debug, HelpAll, examples

EXAMPLES = examples(
    ("write model.py here: a small model with data, ready to run", "collabplan init"),
    ("under another name", "collabplan init classifier.py"),
    ("then", "collabplan profile model.py"),
)


def init(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="Where to write it.")] = Path("model.py"),
    force: Annotated[bool, typer.Option("--force", help="Replace the file if it exists.", show_default=False)] = False,
    _debug: Debug = False,
    _help_all: HelpAll = False,
) -> None:
    """Write a commented target file: a small model on scikit-learn's digits that works as it is.

    Replace its parts by your own, one at a time. The comments say what each name means to collabplan.
    """
    from ..workflows.target_file import write_target_file
    from .output import Output

    write_target_file(file, force=force)
    output = Output()
    output.wrote("target", file)
    output.next(f"collabplan profile {shlex.quote(str(file))}")
