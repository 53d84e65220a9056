"""What the device does to the tensors that cross. All that a device needs of a defense lies here.

The public API is lazy: a name loads its module, and torch with it, on first use.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .. import lazy_api

if TYPE_CHECKING:
    from .pipeline import Defense, Floor
    from .projection import ProjectionMatrices
    from .quantizer import Quantizer
    from .randomness import Fresh, Keyed, Randomness, Simulated

_HOMES = {
    "Defense": "pipeline",
    "ProjectionMatrices": "projection",
    "Floor": "pipeline",
    "Fresh": "randomness",
    "Keyed": "randomness",
    "Quantizer": "quantizer",
    "Randomness": "randomness",
    "Simulated": "randomness",
}

__all__ = [
    "Defense",
    "Floor",
    "Fresh",
    "Keyed",
    "ProjectionMatrices",
    "Quantizer",
    "Randomness",
    "Simulated",
]

__getattr__, __dir__ = lazy_api(__name__, _HOMES)
