"""What an adversary really recovers: attacks behind one Protocol, their judgement, and how estimates agree with it.

The face is lazy: a name loads its module, and torch with it, on first use.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ... import lazy_face

if TYPE_CHECKING:
    from .agreement import Pair, measure_agreement
    from .audit import Campaign, Outcome, Question, run_audit
    from .catalogue import ALWAYS, ATTACKS, attack_named
    from .interface import EFFORTS, TIERS, Attack, Attacker, AttackFailed, Effort, Reconstruction, Training
    from .queries import random_queries
    from .scene import Scene
    from .shared import Shared
    from .tiers import budget_objection, tier_figures, worst_tiers
    from .victim import Released, Victim

_HOMES = {
    "ALWAYS": "catalogue",
    "ATTACKS": "catalogue",
    "EFFORTS": "interface",
    "TIERS": "interface",
    "Attack": "interface",
    "AttackFailed": "interface",
    "Attacker": "interface",
    "Campaign": "audit",
    "Effort": "interface",
    "Outcome": "audit",
    "Pair": "agreement",
    "Question": "audit",
    "Reconstruction": "interface",
    "Released": "victim",
    "Scene": "scene",
    "Shared": "shared",
    "Training": "interface",
    "Victim": "victim",
    "attack_named": "catalogue",
    "budget_objection": "tiers",
    "measure_agreement": "agreement",
    "random_queries": "queries",
    "run_audit": "audit",
    "tier_figures": "tiers",
    "worst_tiers": "tiers",
}

__all__ = [
    "ALWAYS",
    "ATTACKS",
    "EFFORTS",
    "TIERS",
    "Attack",
    "AttackFailed",
    "Attacker",
    "Campaign",
    "Effort",
    "Outcome",
    "Pair",
    "Question",
    "Reconstruction",
    "Released",
    "Scene",
    "Shared",
    "Training",
    "Victim",
    "attack_named",
    "budget_objection",
    "measure_agreement",
    "random_queries",
    "run_audit",
    "tier_figures",
    "worst_tiers",
]

__getattr__, __dir__ = lazy_face(__name__, _HOMES)
