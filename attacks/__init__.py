"""What attackers really recover: attacks behind one Protocol, their judgement, and how well estimates agree with it.

The public API is lazy: a name loads its module, and torch with it, on first use.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .. import lazy_api

if TYPE_CHECKING:
    from .adversary_view import AdversaryView
    from .agreement import Pair, measure_agreement
    from .artifact_cache import ArtifactCache
    from .audit import AuditOutcome, run_audit
    from .audit_request import AttackVariant, AuditRequest, attack_variants
    from .audit_target import AuditTarget
    from .catalogue import ALWAYS, ATTACKS, attack_named, current_revisions
    from .conformance import check_attack
    from .interface import EFFORTS, SEARCHING, Attack, Attacker, Effort, Reconstruction, Training
    from .invariants import checked
    from .queries import random_queries
    from .release_law import ReleaseLaw
    from .releases import CopyKind, ObservedReleases
    from .threat import TIERS, AttackFailed
    from .tiers import budget_objection, merged, tier_figures, worst_tiers

_HOMES = {
    "ALWAYS": "catalogue",
    "ATTACKS": "catalogue",
    "AdversaryView": "adversary_view",
    "ArtifactCache": "artifact_cache",
    "Attack": "interface",
    "AttackFailed": "threat",
    "AttackVariant": "audit_request",
    "Attacker": "interface",
    "AuditOutcome": "audit",
    "AuditRequest": "audit_request",
    "AuditTarget": "audit_target",
    "CopyKind": "releases",
    "EFFORTS": "interface",
    "SEARCHING": "interface",
    "Effort": "interface",
    "ObservedReleases": "releases",
    "Pair": "agreement",
    "Reconstruction": "interface",
    "ReleaseLaw": "release_law",
    "TIERS": "threat",
    "Training": "interface",
    "attack_named": "catalogue",
    "attack_variants": "audit_request",
    "budget_objection": "tiers",
    "merged": "tiers",
    "check_attack": "conformance",
    "checked": "invariants",
    "current_revisions": "catalogue",
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
    "SEARCHING",
    "TIERS",
    "AdversaryView",
    "ArtifactCache",
    "Attack",
    "AttackFailed",
    "AttackVariant",
    "Attacker",
    "AuditOutcome",
    "AuditRequest",
    "AuditTarget",
    "CopyKind",
    "Effort",
    "ObservedReleases",
    "Pair",
    "Reconstruction",
    "ReleaseLaw",
    "Training",
    "attack_named",
    "attack_variants",
    "budget_objection",
    "check_attack",
    "checked",
    "current_revisions",
    "measure_agreement",
    "merged",
    "random_queries",
    "run_audit",
    "tier_figures",
    "worst_tiers",
]

__getattr__, __dir__ = lazy_api(__name__, _HOMES)
