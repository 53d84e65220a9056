"""Floor 4: what leaves the device tells. Defenses, activations, mutual information, the leakage index.

The face is lazy: a name loads its module, and torch with it, on first use.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .. import lazy_face

if TYPE_CHECKING:
    from .activations import EdgeActivations
    from .data import Data, InputScaling
    from .defenses import Defense, Quantizer
    from .inputs import Components, private_inputs
    from .kde import KdeInformation, kde_information
    from .leakage import by_definition, estimate_leakage
    from .randomness import Fresh, Keyed, Randomness, Simulated
    from .ridge import RidgeIndex, ridge_index

_HOMES = {
    "Components": "inputs",
    "Data": "data",
    "Defense": "defenses",
    "EdgeActivations": "activations",
    "Fresh": "randomness",
    "InputScaling": "data",
    "KdeInformation": "kde",
    "Keyed": "randomness",
    "Quantizer": "defenses",
    "Randomness": "randomness",
    "RidgeIndex": "ridge",
    "Simulated": "randomness",
    "by_definition": "leakage",
    "estimate_leakage": "leakage",
    "kde_information": "kde",
    "private_inputs": "inputs",
    "ridge_index": "ridge",
}

__all__ = [
    "Components",
    "Data",
    "Defense",
    "EdgeActivations",
    "Fresh",
    "InputScaling",
    "KdeInformation",
    "Keyed",
    "Quantizer",
    "Randomness",
    "RidgeIndex",
    "Simulated",
    "by_definition",
    "estimate_leakage",
    "kde_information",
    "private_inputs",
    "ridge_index",
]

__getattr__, __dir__ = lazy_face(__name__, _HOMES)
