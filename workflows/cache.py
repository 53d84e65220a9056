"""What lies in a workspace, which of it older code made, and how to be rid of it."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from ..attacks.audit_files import kept_revisions
from ..planner.folder_lock import locked
from .revisions import current_revisions, is_outdated
from .workspace import Workspace

_KEPT = {
    "profiles": "profiles",
    "plans": "plans that Python searched",
    "last-profile": "which profile was the last",
    "study": "trials of searches that can go on",
    "lock": "lock of a running optimize",
}
"""By the name up to its first dot. Everything else in the folder is a cache: it is made again when needed."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One file or folder of a workspace.

    Attributes:
        name: in the workspace.
        bytes: its size.
        what: what it is.
        is_cache: it is made again when needed.
        outdated: files in it that other revisions made; they are never read again.
        outdated_bytes: their size.
    """

    name: str
    bytes: int
    what: str
    is_cache: bool
    outdated: int = 0
    outdated_bytes: int = 0


def entries(workspace: Workspace) -> list[Entry]:
    """What lies in the workspace, by name."""
    folder = workspace.folder
    if not folder.is_dir():
        return []
    return [_entry(path) for path in sorted(folder.iterdir()) if path.name != ".gitignore"]


def clear(workspace: Workspace, *, everything: bool = False) -> list[Entry]:
    """Remove the caches, or everything. Returns what was removed.

    Raises:
        CollabplanError: an `optimize` is at work in the folder.
    """
    doomed = [entry for entry in entries(workspace) if everything or entry.is_cache]
    if not doomed:
        return []
    with locked(workspace.folder):
        for entry in doomed:
            path = workspace.folder / entry.name
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink()
    return doomed


def clear_outdated(workspace: Workspace) -> list[Entry]:
    """Remove the files that other revisions made, and nothing else. Returns the entries that held some.

    Raises:
        CollabplanError: an `optimize` is at work in the folder.
    """
    doomed = [entry for entry in entries(workspace) if entry.outdated]
    if not doomed:
        return []
    with locked(workspace.folder):
        for entry in doomed:
            for file in list(outdated_files(workspace.folder / entry.name)):
                file.unlink()
    return doomed


def outdated_files(path: Path) -> Iterator[Path]:
    """The results kept at `path` or below it whose revisions are missing or not the current ones."""
    current = current_revisions()
    files = sorted(path.rglob("*")) if path.is_dir() else [path]
    for file in files:
        if file.suffix not in (".json", ".safetensors") or not file.is_file():
            continue
        if is_outdated(kept_revisions(file), current):
            yield file


def _entry(path: Path) -> Entry:
    is_cache = _stem(path) not in _KEPT
    old = [file.stat().st_size for file in outdated_files(path)] if is_cache else []
    return Entry(path.name, _size(path), _KEPT.get(_stem(path), "cache"), is_cache, len(old), sum(old))


def _stem(path: Path) -> str:
    return path.name.lstrip(".").partition(".")[0]


def _size(path: Path) -> int:
    if path.is_dir() and not path.is_symlink():
        return sum(_size(entry) for entry in path.iterdir())
    return path.lstat().st_size
