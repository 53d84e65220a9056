"""Collects the provenance of a record: versions, hardware, git state, command line."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import re
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

from .model import Provenance


def collect_provenance(
    *, target_file: Path | None = None, seed: int | None = None, command: tuple[str, ...] | None = None
) -> Provenance:
    """The provenance of a record that is made now. Passwords in the command line are masked.

    Args:
        target_file: the user's model file; the git checkout around it is recorded.
        seed: the seed of the run, if it has one.
        command: the command line (None: `sys.argv`).

    Examples:
        >>> from collabplan.records import collect_provenance
        >>> collect_provenance(command=("collabplan", "--storage", "postgresql://me:secret@db/plans")).command[2]
        'postgresql://me:***@db/plans'
    """
    revision, dirty = git_state(target_file.parent) if target_file else (None, None)
    return Provenance(
        created_utc=datetime.now(UTC).isoformat(timespec="seconds"),
        collabplan_version=importlib.metadata.version("collabplan"),
        python_version=platform.python_version(),
        torch_version=importlib.metadata.version("torch"),
        platform=platform.platform(),
        processor=processor_name(),
        cores=len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1,
        git_revision=revision,
        git_dirty=dirty,
        seed=seed,
        command=tuple(_without_password(argument) for argument in (sys.argv if command is None else command)),
    )


def _without_password(argument: str) -> str:
    """The argument with the password of a database address masked."""
    argument = re.sub(r"(://[^/@:\s]*):[^/@\s]*@", r"\1:***@", argument)
    return re.sub(r"(password=)[^&\s]*", r"\1***", argument)


def processor_name() -> str:
    """The processor as the operating system names it.

    Examples:
        >>> from collabplan.records import processor_name
        >>> isinstance(processor_name(), str)
        True
    """
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def git_state(folder: Path) -> tuple[str | None, bool | None]:
    """The revision of the git checkout around `folder`, and whether it is dirty; (None, None) outside a checkout."""
    try:
        revision = _git(folder, "rev-parse", "HEAD")
        return revision.strip(), bool(_git(folder, "status", "--porcelain").strip())
    except (OSError, subprocess.SubprocessError):
        return None, None


def _git(folder: Path, *arguments: str) -> str:
    return subprocess.run(
        ["git", "-C", str(folder), *arguments], capture_output=True, text=True, check=True, timeout=10
    ).stdout
