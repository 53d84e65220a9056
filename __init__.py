"""collabplan decides with evidence where to split a PyTorch model between an edge device and an untrusted cloud.

This face is lazy: importing it loads no torch. Each floor is reachable as `collabplan.FLOOR`.
"""

from __future__ import annotations

import importlib
from typing import Any

__version__ = "0.1.0"

_FLOORS = ("records", "graph", "profilers", "estimators", "planner", "runtime", "cli")
__all__ = ["__version__", *_FLOORS]


def __getattr__(name: str) -> Any:
    if name in _FLOORS:
        return importlib.import_module(f".{name}", __name__)
    raise AttributeError(f"module 'collabplan' has no attribute {name!r}; it has {', '.join(_FLOORS)}")


def __dir__() -> list[str]:
    return sorted(__all__)
