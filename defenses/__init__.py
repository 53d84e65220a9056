"""What the device does to the tensors that cross. All that a device needs of a defense lies here.

The public API is lazy: a name loads its module, and torch with it, on first use.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .. import lazy_api

if TYPE_CHECKING:
    from .catalogue import known_stages, register, stage_revisions
    from .floor import Floor
    from .interface import CustomStage, Stage
    from .pipeline import Defense
    from .projection import ProjectionMatrices
    from .quantizer import Quantizer
    from .randomness import Fresh, Keyed, Randomness, Simulated
    from .spelling import defense_of, defenses_of

_HOMES = {
    "CustomStage": "interface",
    "Defense": "pipeline",
    "Floor": "floor",
    "Fresh": "randomness",
    "Keyed": "randomness",
    "ProjectionMatrices": "projection",
    "Quantizer": "quantizer",
    "Randomness": "randomness",
    "Simulated": "randomness",
    "Stage": "interface",
    "defense_of": "spelling",
    "defenses_of": "spelling",
    "known_stages": "catalogue",
    "register": "catalogue",
    "stage_revisions": "catalogue",
}

__all__ = [
    "CustomStage",
    "Defense",
    "Floor",
    "Fresh",
    "Keyed",
    "ProjectionMatrices",
    "Quantizer",
    "Randomness",
    "Simulated",
    "Stage",
    "defense_of",
    "defenses_of",
    "known_stages",
    "register",
    "stage_revisions",
]

__getattr__, __dir__ = lazy_api(__name__, _HOMES)
