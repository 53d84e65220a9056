"""The network between edge and cloud, as declared, measured or assumed."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from .base import Record


class Link(Record):
    """Bandwidth (bits per second, each direction), round trip (milliseconds) and their spread.

    `bandwidth_spread` and `rtt_spread` are relative half-widths of a 90 % interval (0.1 = +-10 %).
    `source` says where the figures come from; an *assumed* link is printed as such wherever it is used.
    """

    bandwidth_bps: float = Field(gt=0)
    rtt_ms: float = Field(ge=0)
    bandwidth_spread: float = Field(default=0.0, ge=0, lt=1)
    rtt_spread: float = Field(default=0.0, ge=0, lt=1)
    source: Literal["assumed", "declared", "measured"] = "declared"

    @classmethod
    def assumed(cls) -> Link:
        """20 Mbit/s and 15 ms: what is taken where nothing is declared."""
        return cls(bandwidth_bps=20e6, rtt_ms=15.0, source="assumed")
