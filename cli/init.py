"""`collabplan init`: writes a target file to start from."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .options import Debug, examples

EXAMPLES = examples(
    ("write model.py here: a small model with data, ready to run", "collabplan init"),
    ("under another name", "collabplan init classifier.py"),
    ("then", "collabplan profile model.py"),
)


def init(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="Where to write it.")] = Path("model.py"),
    force: Annotated[bool, typer.Option("--force", help="Replace the file if it exists.", show_default=False)] = False,
    _debug: Debug = False,
) -> None:
    """Write a commented target file: a small model on scikit-learn's digits that works as it is.

    Replace its parts by your own, one at a time. The comments say what each name means to collabplan.
    """
    from ..records.atomic import write_text
    from ..records.errors import CollabplanError
    from ..targets.template import TEMPLATE
    from .output import Output

    if file.suffix != ".py":
        raise CollabplanError(f"{file} does not end in .py; a target is a Python file, for example model.py")
    if file.exists() and not force:
        raise CollabplanError(f"{file} exists already; give another name, or --force to replace it")
    write_text(file, TEMPLATE)
    output = Output()
    output.wrote("target", file)
    output.say(f"next: collabplan profile {file}, then: collabplan optimize --budget-ms 50")
