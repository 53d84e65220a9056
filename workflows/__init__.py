"""What a command does, without a terminal: each workflow reports through a `Reporter` and returns records.

The public API is lazy: a name loads its module, and torch with it, on first use. From Python, begin with
`collabplan.open`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .. import lazy_api

if TYPE_CHECKING:
    from .notebook import Logged, Notebook
    from .options import (
        AttackOptions,
        CloudOptions,
        LeakageOptions,
        OptimizeOptions,
        ProfileOptions,
        VerifyOptions,
    )
    from .reporter import Reporter, Silent
    from .results import AttackResult, LeakageResult, MeasuredResult, ProfileResult
    from .study import PlanResult, Study, Target
    from .workspace import Workspace

_HOMES = {
    "AttackOptions": "options",
    "AttackResult": "results",
    "CloudOptions": "options",
    "LeakageOptions": "options",
    "LeakageResult": "results",
    "Logged": "notebook",
    "MeasuredResult": "results",
    "Notebook": "notebook",
    "OptimizeOptions": "options",
    "PlanResult": "study",
    "ProfileOptions": "options",
    "ProfileResult": "results",
    "Reporter": "reporter",
    "Silent": "reporter",
    "Study": "study",
    "Target": "study",
    "VerifyOptions": "options",
    "Workspace": "workspace",
}

__all__ = [
    "AttackOptions",
    "AttackResult",
    "CloudOptions",
    "LeakageOptions",
    "LeakageResult",
    "Logged",
    "MeasuredResult",
    "Notebook",
    "OptimizeOptions",
    "PlanResult",
    "ProfileOptions",
    "ProfileResult",
    "Reporter",
    "Silent",
    "Study",
    "Target",
    "VerifyOptions",
    "Workspace",
]

__getattr__, __dir__ = lazy_api(__name__, _HOMES)
