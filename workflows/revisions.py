"""The revisions of all code that a kept result may depend on."""

from __future__ import annotations

from ..attacks.catalogue import current_revisions as attack_revisions
from ..defenses.catalogue import current_revisions as stage_revisions
from ..estimators.catalogue import current_revisions as estimator_revisions
from ..planner.finetune import FINE_TUNING
from ..records.revisions import revisions_of


def current_revisions() -> dict[str, int]:
    """By `kind:name`: attacks, estimators, what these share, built-in defense stages and fine-tuning.

    Example:
        >>> current_revisions()["attack:kernel"] >= 1
        True
    """
    tuning = revisions_of("tuning", [FINE_TUNING])
    return {**attack_revisions(), **estimator_revisions(), **stage_revisions(), **tuning}
