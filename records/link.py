"""The network between edge and cloud, as declared, measured or assumed."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from .base import Record, Timing
from .model import DeviceIdentity, Provenance

SEGMENT_BYTES = 1460
"""Data bytes of one TCP segment on Ethernet (MTU 1500 less 40 bytes of IPv4 and TCP headers)."""

HEADER_BYTES = 40
"""IPv4 and TCP headers of one segment."""

INITIAL_WINDOW_SEGMENTS = 10
"""Segments that TCP sends before the first acknowledgement (RFC 6928)."""


class Link(Record):
    """Bandwidth (bits per second), round trip (milliseconds) and their spread.

    `bandwidth_bps` is the way up to the cloud, `download_bps` the way back (None: the same). `bandwidth_spread` (of the
    way that spreads more) and `rtt_spread` are relative half-widths of a 90 % interval (0.1 = +-10 %). `slow_start`: a
    request that comes after a pause climbs TCP's slow start anew, as Linux has it by default.
    `source` says where the figures come from; an *assumed* link is printed as such wherever it is used. `sample_count`:
    the echoes behind a *measured* one.
    """

    bandwidth_bps: float = Field(gt=0)
    rtt_ms: float = Field(ge=0)
    bandwidth_spread: float = Field(default=0.0, ge=0, lt=1)
    rtt_spread: float = Field(default=0.0, ge=0, lt=1)
    source: Literal["assumed", "declared", "measured"] = "declared"
    download_bps: float | None = Field(default=None, gt=0)
    slow_start: bool = True
    sample_count: int = Field(default=0, ge=0)

    @classmethod
    def assumed(cls) -> Link:
        """20 Mbit/s and 15 ms: what is taken where nothing is declared."""
        return cls(bandwidth_bps=20e6, rtt_ms=15.0, source="assumed")

    @property
    def back(self) -> Link:
        """The same link as a message from the cloud sees it."""
        if self.download_bps is None:
            return self
        return self.model_copy(update={"bandwidth_bps": self.download_bps, "download_bps": self.bandwidth_bps})


class EchoTimes(Record):
    """Echoes of one size: so many bytes went, so many came back, and how long each took, milliseconds.

    `after_pause`: the connection had been idle, so that TCP may have started slowly.
    """

    up_bytes: int = Field(ge=0)
    down_bytes: int = Field(ge=0)
    after_pause: bool = False
    times_ms: tuple[float, ...] = Field(min_length=1)


class LinkReport(Record):
    """The link file: the link as measured, and every echo that it was measured by.

    `round_trip` are the empty echoes, host costs included. The raw times are kept (a few hundred numbers), so that the
    link can be fitted anew and a doubtful figure looked into.
    """

    format: Literal["collabplan.link"] = "collabplan.link"
    schema_version: Literal[1] = 1
    link: Link
    round_trip: Timing
    echoes: tuple[EchoTimes, ...]
    moved_bytes: int = Field(ge=0)
    warnings: tuple[str, ...] = ()
    device: DeviceIdentity
    provenance: Provenance
