"""Floor 7: the command line. Its face is what other programs may want of it: loading a user's target.

Lazy: importing it loads neither torch nor typer.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .. import lazy_face

if TYPE_CHECKING:
    from .target import Target, load_target

_HOMES = {"Target": "target", "load_target": "target"}
__all__ = ["Target", "load_target"]

__getattr__, __dir__ = lazy_face(__name__, _HOMES)
