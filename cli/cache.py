"""`collabplan cache`: what lies in `.collabplan`, and how to be rid of it."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Annotated, Any

import typer

from .options import Debug, Json, examples

EXAMPLES = examples(
    ("what is kept here, and how large it is", "collabplan cache list"),
    ("drop cached activations; profiles and the study stay", "collabplan cache clear"),
    ("drop everything", "collabplan cache clear --all"),
)
app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode="rich",
    help="List or clear what is kept in .collabplan.",
    context_settings={"help_option_names": ["-h", "--help"]},
)
_KEPT = {
    "profiles": "profiles",
    "last-profile": "which profile was the last",
    "study": "the search's trials: --resume needs them",
    "lock": "the lock of a running optimize",
}
"""By the name up to its first dot. Everything else in the folder is a cache: it is made again when needed."""


@app.command("list", epilog=examples(("what is kept here", "collabplan cache list")))
def list_command(as_json: Json = False, _debug: Debug = False) -> None:
    """List what is kept in .collabplan, with sizes."""
    from rich.table import Table

    from .output import Output

    output = Output(as_json=as_json)
    folder = _folder()
    rows = entries(folder)
    output.document({"folder": str(folder), "entries": rows})
    if as_json:
        return
    if not rows:
        output.say(f"{folder} is empty or absent")
        return
    table = Table(title=str(folder), title_justify="left", box=None, padding=(0, 2, 0, 0))
    table.add_column("entry", overflow="fold")
    table.add_column("MB", justify="right")
    table.add_column("what it is", overflow="fold")
    for row in rows:
        table.add_row(row["name"], f"{row['bytes'] / 1e6:,.2f}", row["what"])
    output.show(table)


@app.command("clear", epilog=EXAMPLES)
def clear_command(
    everything: Annotated[bool, typer.Option("--all", help="Profiles and the study too.", show_default=False)] = False,
    as_json: Json = False,
    _debug: Debug = False,
) -> None:
    """Delete cached activations, or with --all everything that is kept here."""
    from .output import Output

    output = Output(as_json=as_json)
    folder = _folder()
    removed = clear(folder, everything=everything)
    freed = sum(row["bytes"] for row in removed)
    output.say(f"removed {len(removed)} entries, {freed / 1e6:,.2f} MB, from {folder}")
    output.document({"folder": str(folder), "removed": [row["name"] for row in removed], "bytes": freed})


def entries(folder: Path) -> list[dict[str, Any]]:
    """What lies in the workspace: name, size in bytes, what it is, and whether it is a cache."""
    if not folder.is_dir():
        return []
    return [
        {
            "name": path.name,
            "bytes": _size(path),
            "what": _KEPT.get(_stem(path), "cache"),
            "is_cache": _stem(path) not in _KEPT,
        }
        for path in sorted(folder.iterdir())
        if path.name != ".gitignore"
    ]


def clear(folder: Path, *, everything: bool) -> list[dict[str, Any]]:
    """Remove the caches, or everything; returns what was removed.

    Raises:
        CollabplanError: an `optimize` is at work in the folder.
    """
    doomed = [row for row in entries(folder) if everything or row["is_cache"]]
    if not doomed:
        return []
    from ..planner.folder_lock import locked

    with locked(folder):
        for row in doomed:
            path = folder / row["name"]
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink()
    return doomed


def _stem(path: Path) -> str:
    return path.name.lstrip(".").partition(".")[0]


def _folder() -> Path:
    from .workspace import Workspace

    return Workspace.here().folder


def _size(path: Path) -> int:
    if path.is_dir() and not path.is_symlink():
        return sum(_size(entry) for entry in path.iterdir())
    return path.lstat().st_size
