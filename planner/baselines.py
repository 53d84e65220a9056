"""Cuts that people choose without evidence: all in the cloud, all on the edge, the fastest, the middle."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Literal

from ..graph import Cut
from ..records import Latency

Role = Literal["cloud-only", "edge-only", "latency-optimal", "middle"]


def baseline_cuts(
    cuts: Sequence[Cut], latency_of: Callable[[Cut], Latency], extra: Cut | None = None
) -> Mapping[Role, Cut]:
    """The baseline cuts by role; roles that the model has no cut for are left out.

    *Latency-optimal* is the proper cut with the least predicted median latency, however many
    tensors cross; *middle* is the one half way by depth. Cuts that cannot be laid back to samples
    can be neither defended nor measured, and do not take part.

    Args:
        cuts: by depth.
        latency_of: predicts a cut's latency undefended.
        extra: a cut beside those, which may be the latency-optimal one.
    """
    usable = [cut for cut in cuts if cut.searchable]
    proper = [cut for cut in usable if cut.kind == "proper"]
    found: dict[Role, Cut] = {}
    for cut in usable:
        if cut.kind == "cloud-only":
            found["cloud-only"] = cut
        elif cut.kind == "edge-only":
            found["edge-only"] = cut
    if proper:
        fast = proper if extra is None else [*proper, extra]
        found["latency-optimal"] = min(fast, key=lambda cut: (latency_of(cut).p50_ms.value, cut.depth))
        found["middle"] = proper[len(proper) // 2]
    return found
