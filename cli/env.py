"""`collabplan env`: what a bug report needs."""

from __future__ import annotations

import platform
import sys
from pathlib import Path
from typing import Any

from .options import Debug, Json, examples

EXAMPLES = examples(
    ("what to paste into a bug report", "collabplan env"), ("the same for a program", "collabplan env --json")
)
_PACKAGES = (
    "torch", "numpy", "scipy", "scikit-learn", "optuna", "networkx", "typer", "rich", "pydantic", "safetensors",
    "torchmetrics", "nvidia-ml-py", "torchvision", "timm", "transformers",
)  # fmt: skip


def env(as_json: Json = False, _debug: Debug = False) -> None:
    """Print versions, hardware and configuration: what a bug report needs. Nothing secret, no environment variables."""
    from rich.markup import escape
    from rich.table import Table

    from .output import Output

    output = Output(as_json=as_json)
    facts = collect()
    table = Table.grid(padding=(0, 2))
    table.add_column(style="dim", no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in facts.items():
        table.add_row(name.replace("_", " "), escape("-" if value is None else str(value)))
    if not as_json:
        output.show(table)
    output.document(facts)


def collect() -> dict[str, Any]:
    """The facts, by name; None where something is absent."""
    import torch

    from .. import __version__
    from ..records.provenance import processor_name
    from .config import find_config
    from .workspace import Workspace

    config, workspace = find_config(Path.cwd()), Workspace.here()
    facts: dict[str, Any] = {
        "collabplan": __version__,
        "installed_at": str(Path(__file__).parent.parent),
        "python": f"{platform.python_version()} ({sys.executable})",
        "platform": platform.platform(),
        "processor": processor_name(),
        "cores": _cores(),
        "memory_gib": _memory_gib(),
        "torch_threads": torch.get_num_threads(),
        "cuda": _cuda(),
        "mps": torch.backends.mps.is_available(),
        "configuration": str(config.file) if config else None,
        "workspace": str(workspace.folder.resolve()) if workspace.folder.exists() else None,
    }
    return facts | {name: _version(name) for name in _PACKAGES}


def _cores() -> int:
    import os

    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _memory_gib() -> float | None:
    import os

    try:
        return round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1)
    except (AttributeError, ValueError, OSError):
        return None


def _cuda() -> str | None:
    import torch

    if not torch.cuda.is_available():
        return None
    names = [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())]
    return f"{torch.version.cuda}: {', '.join(names)}"


def _version(package: str) -> str | None:
    import importlib.metadata

    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None
