"""The revisions of all code that a kept result may depend on."""

from __future__ import annotations

from ..attacks.catalogue import current_revisions as attack_revisions
from ..defenses.catalogue import current_revisions as stage_revisions
from ..estimators.catalogue import current_revisions as estimator_revisions


def current_revisions() -> dict[str, int]:
    """The revision of every attack, estimator and built-in defense stage, and of what they share, by `kind:name`.

    Example:
        >>> current_revisions()["attack:kernel"] >= 1
        True
    """
    return {**attack_revisions(), **estimator_revisions(), **stage_revisions()}
