"""What the edge device draws, as declared: no counter of ours reads a device that is not this machine."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from .base import Record


class EdgePower(Record):
    """Watts while the device computes, and joules for a megabyte (10^6 bytes) that its radio sends or receives."""

    watts: float = Field(gt=0)
    joules_per_megabyte: float = Field(default=0.0, ge=0)
    source: Literal["declared"] = "declared"
