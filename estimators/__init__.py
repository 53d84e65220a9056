"""Floor 4: what leaves the device tells. Defenses, activations, mutual information, the leakage index.

The face is lazy: a name loads its module, and torch with it, on first use.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .data import Data, InputScaling

_MODULES = {
    "Data": "data",
    "InputScaling": "data",
}

__all__ = ["Data", "InputScaling"]


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return getattr(importlib.import_module(f".{_MODULES[name]}", __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}; it has {', '.join(sorted(_MODULES))}")


def __dir__() -> list[str]:
    return sorted(__all__)
