"""The power of a device, as measured by an energy counter or as declared."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from .base import Record

PowerSource = Literal["nvml", "powercap"]

COVERS: dict[PowerSource, str] = {
    "nvml": "nvml: GPU, idle included",
    "powercap": "powercap: package, idle included",
}
"""By counter, what it covers. Other programs are included; the rest of the board and a radio are not."""


class MeasuredPower(Record):
    """Mean watts over `seconds` of successive whole-model runs, and over `idle_seconds` of rest before them.

    `watts` include the idle power. Both cover everything that `source` counts (`COVERS`), for all programs.
    """

    watts: float = Field(gt=0)
    idle_watts: float = Field(gt=0)
    source: PowerSource
    seconds: float = Field(gt=0)
    idle_seconds: float = Field(gt=0)


class EdgePower(Record):
    """Watts while the device computes, and joules for a megabyte (10^6 bytes) that its radio sends or receives.

    `source` is that of the watts. The radio's joules are always declared.
    """

    watts: float = Field(gt=0)
    joules_per_megabyte: float = Field(default=0.0, ge=0)
    source: Literal["declared"] | PowerSource = "declared"

    @property
    def said(self) -> str:
        """The source in words: `declared`, or `measured (powercap: package, idle included)`."""
        if self.source == "declared":
            return "declared"
        radio = ", its radio declared" if self.joules_per_megabyte else ""
        return f"measured ({COVERS[self.source]}){radio}"
