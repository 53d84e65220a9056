"""What a device draws: as one of our counters measured it with the profile, or as it is declared."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from .base import Record

PowerSource = Literal["nvml", "powercap"]

COVERS: dict[PowerSource, str] = {
    "nvml": "nvml: GPU, idle included",
    "powercap": "powercap: package, idle included",
}
"""What a counter counts: neither the rest of the board nor a radio is in it, and other programs are."""


class MeasuredPower(Record):
    """Mean watts over `seconds` of whole-model runs, one after another, and over `idle_seconds` of rest before them.

    `watts` hold the idle ones. Both are of all that `source` counts (`COVERS`), whoever made it work.
    """

    watts: float = Field(gt=0)
    idle_watts: float = Field(gt=0)
    source: PowerSource
    seconds: float = Field(gt=0)
    idle_seconds: float = Field(gt=0)


class EdgePower(Record):
    """Watts while the device computes, and joules for a megabyte (10^6 bytes) that its radio sends or receives.

    `source` is of the watts. The radio's joules are declared in any case.
    """

    watts: float = Field(gt=0)
    joules_per_megabyte: float = Field(default=0.0, ge=0)
    source: Literal["declared"] | PowerSource = "declared"

    @property
    def said(self) -> str:
        """`declared`, or `measured (powercap: package, idle included)`, and that a radio beside it is declared."""
        if self.source == "declared":
            return "declared"
        radio = ", its radio declared" if self.joules_per_megabyte else ""
        return f"measured ({COVERS[self.source]}){radio}"
