"""What a user brings: a model, its example inputs and its data, loaded from the user's own file.

The public API is lazy: a name loads its module, and torch with it, on first use.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .. import lazy_api

if TYPE_CHECKING:
    from .data import Data, InputScaling
    from .target import Target, load_target

_HOMES = {
    "Data": "data",
    "InputScaling": "data",
    "Target": "target",
    "load_target": "target",
}

__all__ = [
    "Data",
    "InputScaling",
    "Target",
    "load_target",
]

__getattr__, __dir__ = lazy_api(__name__, _HOMES)
