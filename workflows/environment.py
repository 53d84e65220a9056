"""Versions and hardware: what a bug report needs."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import sys
from pathlib import Path
from typing import Any

import torch

from .. import __version__
from ..records import processor_name
from .workspace import Workspace

_PACKAGES = (
    "torch", "numpy", "scipy", "scikit-learn", "optuna", "networkx", "typer", "rich", "pydantic", "safetensors",
    "torchmetrics", "nvidia-ml-py", "torchvision", "timm", "transformers",
)  # fmt: skip


def environment() -> dict[str, Any]:
    """The facts by name; None where something is absent. Nothing secret, and no environment variables."""
    workspace = Workspace.here()
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
        "workspace": str(workspace.folder.resolve()) if workspace.folder.exists() else None,
    }
    return facts | {name: _version(name) for name in _PACKAGES}


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _memory_gib() -> float | None:
    try:
        return round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1)
    except (AttributeError, ValueError, OSError):
        return None


def _cuda() -> str | None:
    if not torch.cuda.is_available():
        return None
    names = [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())]
    return f"{torch.version.cuda}: {', '.join(names)}"


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None
