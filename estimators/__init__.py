"""Floor 4: what leaves the device tells. Defenses, activations, mutual information, the leakage index.

The face is lazy: a name loads its module, and torch with it, on first use.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .. import lazy_face

if TYPE_CHECKING:
    from .activations import EdgeActivations
    from .catalogue import ESTIMATORS, estimator_named
    from .conformance import check_estimator
    from .controls import run_controls
    from .data import Data, InputScaling
    from .defenses import Defense, Floor
    from .directions import Directions
    from .directions_fit import FittedDirections, directions_at, fit_directions
    from .fisher import Sensitivity, fisher_leakage
    from .inputs import Components, Secrets, private_inputs
    from .interface import Channel, Estimate, Estimator
    from .leakage import CutLeakage, by_definition, estimate_leakage
    from .quantizer import Quantizer
    from .randomness import Fresh, Keyed, Randomness, Simulated

_HOMES = {
    "check_estimator": "conformance",
    "run_controls": "controls",
    "ESTIMATORS": "catalogue",
    "Channel": "interface",
    "Components": "inputs",
    "CutLeakage": "leakage",
    "Data": "data",
    "Defense": "defenses",
    "Directions": "directions",
    "EdgeActivations": "activations",
    "Estimate": "interface",
    "Estimator": "interface",
    "FittedDirections": "directions_fit",
    "Floor": "defenses",
    "Fresh": "randomness",
    "InputScaling": "data",
    "Keyed": "randomness",
    "Quantizer": "quantizer",
    "Randomness": "randomness",
    "Secrets": "inputs",
    "Sensitivity": "fisher",
    "Simulated": "randomness",
    "by_definition": "leakage",
    "directions_at": "directions_fit",
    "estimate_leakage": "leakage",
    "estimator_named": "catalogue",
    "fit_directions": "directions_fit",
    "fisher_leakage": "fisher",
    "private_inputs": "inputs",
}

__all__ = [
    "ESTIMATORS",
    "Channel",
    "Components",
    "CutLeakage",
    "Data",
    "Defense",
    "Directions",
    "EdgeActivations",
    "Estimate",
    "Estimator",
    "FittedDirections",
    "Floor",
    "Fresh",
    "InputScaling",
    "Keyed",
    "Quantizer",
    "Randomness",
    "Secrets",
    "Sensitivity",
    "Simulated",
    "by_definition",
    "check_estimator",
    "directions_at",
    "estimate_leakage",
    "estimator_named",
    "fisher_leakage",
    "fit_directions",
    "private_inputs",
    "run_controls",
]

__getattr__, __dir__ = lazy_face(__name__, _HOMES)
