"""Floor 3: what running a model costs: time, bytes, memory, FLOPs, and the link. The face is lazy.

`profile_model` measures one machine, `join` puts an edge's and a cloud's profile together,
`transfer_ms` and `serialisation_ms` say what the way between them costs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .. import lazy_api

if TYPE_CHECKING:
    from .joining import JoinedCut, JoinedProfile, join
    from .link import serialisation_ms, slow_start_ms, transfer_interval, transfer_ms
    from .profile import Progress, profile_model
    from .timers import Timer, resolve_device

_HOMES = {
    "JoinedCut": "joining",
    "JoinedProfile": "joining",
    "Progress": "profile",
    "Timer": "timers",
    "join": "joining",
    "profile_model": "profile",
    "resolve_device": "timers",
    "serialisation_ms": "link",
    "slow_start_ms": "link",
    "transfer_interval": "link",
    "transfer_ms": "link",
}

__all__ = [
    "JoinedCut",
    "JoinedProfile",
    "Progress",
    "Timer",
    "join",
    "profile_model",
    "resolve_device",
    "serialisation_ms",
    "slow_start_ms",
    "transfer_interval",
    "transfer_ms",
]

__getattr__, __dir__ = lazy_api(__name__, _HOMES)
