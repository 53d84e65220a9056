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

    `bandwidth_bps` is that of the upload to the cloud, `download_bps` that of the download (None: the same).
    `bandwidth_spread` (of the direction that spreads more) and `rtt_spread` are relative half-widths of a 90 % interval
    (0.1 = +-10 %). `slow_start`: a request after a pause goes through TCP's slow start again, as by default on Linux.
    `source` says where the figures come from. An *assumed* link is printed as such wherever it is used. `sample_count`
    is the number of echoes behind a *measured* link.
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
        """20 Mbit/s and 15 ms, the link that is assumed if none is declared."""
        return cls(bandwidth_bps=20e6, rtt_ms=15.0, source="assumed")

    @property
    def back(self) -> Link:
        """The same link for messages from the cloud: upload and download change places."""
        if self.download_bps is None:
            return self
        return self.model_copy(update={"bandwidth_bps": self.download_bps, "download_bps": self.bandwidth_bps})


class EchoTimes(Record):
    """Echoes of one size: bytes up, bytes down, and the milliseconds that each took.

    `after_pause`: the connection had been idle, so TCP may have started slowly.
    """

    up_bytes: int = Field(ge=0)
    down_bytes: int = Field(ge=0)
    after_pause: bool = False
    times_ms: tuple[float, ...] = Field(min_length=1)


class LinkReport(Record):
    """The link file: the measured link, and every echo behind it.

    `round_trip` summarises the empty echoes, host costs included. The raw times are kept (a few hundred numbers), so
    that the link can be fitted again and a doubtful figure can be examined.
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
