"""The revisions of all code that a kept result may depend on."""

from __future__ import annotations

from ..attacks.catalogue import current_revisions as attack_revisions
from ..defenses.catalogue import current_revisions as stage_revisions
from ..estimators.catalogue import current_revisions as estimator_revisions
from ..planner.finetune import FINE_TUNING
from ..records.revisions import Revisions, outdated, revisions_of


def current_revisions() -> dict[str, int]:
    """The revision of every attack, estimator, built-in defense stage and fine-tuning, by `kind:name`.

    Examples:
        >>> current_revisions()["attack:kernel"] >= 1
        True
    """
    tuning = revisions_of("tuning", [FINE_TUNING])
    return {**attack_revisions(), **estimator_revisions(), **stage_revisions(), **tuning}


def is_outdated(kept: Revisions | None, current: Revisions) -> bool:
    """True if a result does not say its revisions, or one of them is not the current one.

    A stage that a target brings is judged only where it is loaded: elsewhere its results are left alone.

    Examples:
        >>> is_outdated({"attack:kernel": 0}, {"attack:kernel": 1})
        True
        >>> is_outdated({"stage:mine": 3, "source:mine": 17}, {})
        False
    """
    if kept is None:
        return True
    judged = {
        name: revision
        for name, revision in kept.items()
        if name in current or not name.startswith(("stage:", "source:"))
    }
    return bool(outdated(judged, current))
