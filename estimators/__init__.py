"""What leaves the device says about the input: mutual information, the leakage index, Fisher information, controls.

The public API is lazy: a name loads its module, and torch with it, on first use.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .. import lazy_api

if TYPE_CHECKING:
    from .activations import EdgeActivations
    from .catalogue import ESTIMATORS, current_revisions, estimator_named
    from .conformance import check_estimator
    from .controls import run_controls
    from .fisher import Sensitivity, fisher_leakage
    from .interface import Channel, Estimate, Estimator
    from .leakage import CutLeakage, by_definition, estimate_leakage
    from .projection_fit import FittedProjection, ProjectionFits, fit_projection
    from .secrets import Components, Secrets, private_inputs

_HOMES = {
    "Channel": "interface",
    "Components": "secrets",
    "CutLeakage": "leakage",
    "ESTIMATORS": "catalogue",
    "EdgeActivations": "activations",
    "Estimate": "interface",
    "Estimator": "interface",
    "FittedProjection": "projection_fit",
    "ProjectionFits": "projection_fit",
    "Secrets": "secrets",
    "Sensitivity": "fisher",
    "by_definition": "leakage",
    "check_estimator": "conformance",
    "current_revisions": "catalogue",
    "estimate_leakage": "leakage",
    "estimator_named": "catalogue",
    "fisher_leakage": "fisher",
    "fit_projection": "projection_fit",
    "private_inputs": "secrets",
    "run_controls": "controls",
}

__all__ = [
    "ESTIMATORS",
    "Channel",
    "Components",
    "CutLeakage",
    "EdgeActivations",
    "Estimate",
    "Estimator",
    "FittedProjection",
    "ProjectionFits",
    "Secrets",
    "Sensitivity",
    "by_definition",
    "check_estimator",
    "current_revisions",
    "estimate_leakage",
    "estimator_named",
    "fisher_leakage",
    "fit_projection",
    "private_inputs",
    "run_controls",
]

__getattr__, __dir__ = lazy_api(__name__, _HOMES)
