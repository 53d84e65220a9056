"""Keeps what earlier commands wrote: nothing is replaced in silence, and a refusal comes before the work."""

from __future__ import annotations

import json
from pathlib import Path

from ..records import CollabplanError, collect_provenance


def refuse_to_replace(path: Path | None, force: bool) -> None:
    """Refuse to write where something lies already.

    An empty folder may be filled, and a record may be replaced by the very command line that made it: run again, it
    makes the same.

    Args:
        path: a file or folder that is about to be written; None: nothing is written.
        force: replace it all the same.

    Raises:
        CollabplanError: something is there.
    """
    if path is None or force or not path.exists():
        return
    if path.is_dir():
        if any(path.iterdir()):
            raise CollabplanError(
                f"the folder {path} holds files already; give another with -o, or --force to replace them"
            )
        return
    if made_by_this_command(path):
        return
    raise kept(path)


def kept(path: Path, why: str = "") -> CollabplanError:
    """The refusal to replace a file; `why` says what it holds."""
    held = f" and {why}" if why else ""
    return CollabplanError(f"{path} exists already{held}; give another file with -o, or --force to replace it")


def made_by_this_command(path: Path) -> bool:
    """Whether a file is a record of this very command line."""
    try:
        command = json.loads(path.read_text(encoding="utf-8"))["provenance"]["command"]
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return False
    return bool(command == list(collect_provenance().command))
