"""Floor 3: what running a model costs: time, bytes, memory, FLOPs, energy, and the link.

`profile_model` measures one machine, `join` puts an edge's and a cloud's profile together,
`transfer_ms` and `serialisation_ms` give the cost of the way between them. Names are loaded on first use.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .. import lazy_api

if TYPE_CHECKING:
    from .conformance import check_timer
    from .joining import JoinedCut, JoinedProfile, join
    from .link import serialisation_ms, slow_start_ms, transfer_interval, transfer_ms
    from .profile import Progress, profile_model
    from .timers import CudaTimer, MpsTimer, Timer, WallTimer, resolve_device

_HOMES = {
    "CudaTimer": "timers",
    "JoinedCut": "joining",
    "JoinedProfile": "joining",
    "MpsTimer": "timers",
    "Progress": "profile",
    "Timer": "timers",
    "WallTimer": "timers",
    "check_timer": "conformance",
    "join": "joining",
    "profile_model": "profile",
    "resolve_device": "timers",
    "serialisation_ms": "link",
    "slow_start_ms": "link",
    "transfer_interval": "link",
    "transfer_ms": "link",
}

__all__ = [
    "CudaTimer",
    "JoinedCut",
    "JoinedProfile",
    "MpsTimer",
    "Progress",
    "Timer",
    "WallTimer",
    "check_timer",
    "join",
    "profile_model",
    "resolve_device",
    "serialisation_ms",
    "slow_start_ms",
    "transfer_interval",
    "transfer_ms",
]

__getattr__, __dir__ = lazy_api(__name__, _HOMES)
