"""What every benchmark prints: one JSON object per figure, and a last line with machine, versions and revision."""

from __future__ import annotations

import functools
import importlib.metadata
import json
import os
import platform
import subprocess
from pathlib import Path
from typing import Any


def bar(
    number: str,
    figure: str,
    value: Any,
    unit: str,
    *,
    target: Any = None,
    holds: bool | None = None,
    reference: Any = None,
    **more: Any,
) -> None:
    """Print one figure. `holds` is None for a figure that is reported without a bar."""
    line = {
        "bar": number, "figure": figure, "value": value, "unit": unit, "target": target, "holds": holds,
        "reference": reference, **more,
    }  # fmt: skip
    print(json.dumps(line), flush=True)


@functools.cache
def revision() -> str | None:
    """The commit that is run, marked where files differ from it; None outside a repository."""
    git = ["git", "-C", str(Path(__file__).parent)]
    try:
        head, changed = (
            subprocess.run([*git, *what], capture_output=True, text=True, check=True).stdout.strip()
            for what in (["rev-parse", "HEAD"], ["status", "--porcelain", "--untracked-files=no"])
        )
    except (OSError, subprocess.CalledProcessError):
        return None
    return f"{head}+changes" if changed else head


def machine(packages: tuple[str, ...] = ("torch", "numpy", "scipy")) -> None:
    """Print the closing line: machine, versions, revision."""
    versions: dict[str, str | None] = {}
    for package in packages:
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            versions[package] = None
    print(
        json.dumps(
            {
                "machine": {
                    "processor": _processor(),
                    "cores": len(os.sched_getaffinity(0)),
                    "platform": platform.platform(),
                    "load_average": os.getloadavg()[0],
                },
                "python": platform.python_version(),
                "versions": versions,
                "revision": revision(),
            }
        ),
        flush=True,
    )


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return platform.machine()
