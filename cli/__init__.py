"""Floor 7: the command line. Its face is what other programs may want of it: loading a user's target.

Lazy: importing it loads neither torch nor typer.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .target import Target, load_target

_HOMES = {"Target": "target", "load_target": "target"}
__all__ = ["Target", "load_target"]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(importlib.import_module(f".{_HOMES[name]}", __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}; it has {', '.join(__all__)}")


def __dir__() -> list[str]:
    return sorted(__all__)
