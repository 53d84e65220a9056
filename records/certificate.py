"""What a plan was signed off by: which attackers failed to break it, how hard they tried, and what nobody tried."""

from __future__ import annotations

from pydantic import Field

from .audit import Threat
from .base import Record
from .sign_off import EffortName


class Certificate(Record):
    """Evidence that meets the rule to sign off (`records.sign_off`), in a plan by `collabplan certify`.

    `attackers` are the attacks with what they knew, as tables name them. `seeds` are those that they were trained from,
    `targets` the inputs that all trained attackers tried to recover and `fewest_targets` those of the attacker with
    the fewest. The upper ends are what a privacy budget is held against; None where the audit has no such figure.
    `not_tried` says which attackers the certificate does not cover.
    """

    threat: Threat
    attackers: tuple[str, ...]
    effort: EffortName
    seeds: tuple[int, ...]
    targets: int = Field(ge=1)
    fewest_targets: int = Field(ge=1)
    index_high: float
    reconstruction_high: float | None = None
    linkage_high: float | None = None
    consistency_high: float | None = None
    region_high: float | None = None
    not_tried: tuple[str, ...]
