"""The budgets that attacks decide: what each is held against, and what messages call it. Every command reads this."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pydantic import BaseModel

    from .audit import TierFigures
    from .base import Interval


@dataclass(frozen=True, slots=True)
class PrivacyBudget:
    """One budget on privacy.

    Attributes:
        name: its field of `Budgets`.
        field: the field of `TierFigures` that it is held against, at its upper end.
        figure: what messages call that figure.
        plain: what the report calls it.
        absent: why an audit may lack the figure.

    Examples:
        >>> LEAKAGE.option
        '--max-leakage'
    """

    name: str
    field: str
    figure: str
    plain: str
    absent: str

    @property
    def option(self) -> str:
        """On the command line."""
        return f"--{self.name.replace('_', '-')}"

    def limit(self, budgets: BaseModel) -> float | None:
        """The greatest figure that a plan's `Budgets` allow; None where that was not asked for."""
        limit: float | None = getattr(budgets, self.name)
        return limit

    def unknown(self, limit: float) -> str:
        """What is said where an audit lacks the figure: the budget does not hold."""
        return f"the audit has no {self.figure}, against {limit:g}: {self.absent}"

    def of(self, figures: TierFigures | None) -> Interval | None:
        """The figure; None where it is not known."""
        found: Interval | None = None if figures is None else getattr(figures, self.field)
        return found


LEAKAGE = PrivacyBudget("max_leakage", "index", "index", "the leakage index", "no attack gave one")
RECONSTRUCTION = PrivacyBudget(
    "max_reconstruction",
    "reconstruction_rate",
    "reconstruction rate",
    "the share of recognisable pictures",
    "the inputs are no images of at least 11 pixels a side",
)
LINKAGE = PrivacyBudget("max_linkage", "linkage", "linkage", "the share of linked releases", "nothing was linked")
CONSISTENCY = PrivacyBudget(
    "max_consistency",
    "consistency_excess",
    "consistency beyond the label",
    "the share of answers kept beyond what the label gives away",
    "the model gives no class scores, or the mean image of a class keeps nearly every answer by itself",
)
"""Held beyond the mean image of the original's class. That image is made of the label alone, and as a rule the network
takes it for its own class: a share that it reaches too says nothing of a release. Where it reaches nearly all, the
figure can tell nothing, and the budget does not hold.
"""

REGION = PrivacyBudget(
    "max_region",
    "region",
    "region index",
    "the leakage index of the region of interest",
    "the target declares no region_of_interest",
)

AUDITED_BUDGETS = (RECONSTRUCTION, LINKAGE, CONSISTENCY, REGION)
"""Those that no estimate can be held against."""

PRIVACY_BUDGETS = (LEAKAGE, *AUDITED_BUDGETS)
