"""How long one side of *any* cut takes, by the node breakdown, on the scale of the measurements.

The sum over nodes is not the latency (see `nodes`), so node times only divide what was measured as a whole. Cuts that
one tensor crosses form a chain: every other cut lies between two neighbours of it. The nodes between two measured
neighbours share the difference of their measured times in proportion to their own times. So sums over nodes equal the
measurements at every measured cut of the chain and at the whole model, and interpolate between them. In profiles made
before nested cuts were estimated together (`cut_timings`), a share may be negative: that is scatter, which the
predictions at those cuts have too.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from ..graph import Cut
from ..records import Profile, Timing
from .interpolation import NO_TIME, between
from .nodes import quickest_ms

Side = Literal["edge", "cloud"]


@dataclass(frozen=True, eq=False)
class Breakdown:
    """One side of one profile.

    Attributes:
        node_ms: by name of a unit's first node, what the unit adds to the side that runs it. May be negative.
    """

    node_ms: dict[str, float]
    _own_ms: NDArray[np.float64]
    _chain: tuple[tuple[float, Timing], ...]

    @classmethod
    def of(cls, profile: Profile, cuts: Sequence[Cut], side: Side) -> Breakdown:
        """The breakdown of one side of a profile.

        Args:
            profile: of the side's role, or of both.
            cuts: the cuts of the profile, from the graph that is cut.
            side: `edge` or `cloud`.
        """
        graph = cuts[0].units
        own_ms = np.zeros(graph.count)
        for name, elapsed_ms in quickest_ms(profile.nodes).items():
            if name in graph.unit_of:
                own_ms[graph.unit_of[name]] += elapsed_ms
        whole = np.ones(graph.count, dtype=bool)
        ends = (NO_TIME, profile.whole) if side == "edge" else (profile.whole, NO_TIME)
        chain = [(graph.is_input, ends[0]), *_measured(profile, cuts, side), (whole, ends[1])]
        chain.sort(key=lambda link: int(link[0].sum()))
        unit_ms = np.zeros(graph.count)
        for (before, left), (after, right) in pairwise(chain):
            units = np.flatnonzero(after & ~before)
            shares = own_ms[units] if own_ms[units].sum() > 0 else np.ones(len(units))
            own_ms[units] = shares
            between_ms = right.p50_ms - left.p50_ms if side == "edge" else left.p50_ms - right.p50_ms
            unit_ms[units] = between_ms * shares / max(shares.sum(), 1e-12)
        node_ms = {head.name: float(unit_ms[unit]) for unit, head in enumerate(graph.heads) if unit_ms[unit]}
        return cls(node_ms, own_ms, tuple((float(own_ms[mask].sum()), timing) for mask, timing in chain))

    def timing(self, cut: Cut) -> Timing:
        """The time of this side of a proper cut, without samples. Its median is the sum of `node_ms` over this side."""
        return between(self._chain, float(self._own_ms[cut.edge].sum()))


def _measured(profile: Profile, cuts: Sequence[Cut], side: Side) -> list[tuple[NDArray[np.bool_], Timing]]:
    """The measured cuts of the chain."""
    records = {record.id: record for record in profile.cuts}
    found = []
    for cut in cuts:
        record = records.get(cut.id)
        private = sum(not crossing.public for crossing in cut.crossing)
        if record is None or record.interpolated or cut.kind != "proper" or private != 1:
            continue
        timing = record.edge if side == "edge" else record.cloud
        if timing is not None:
            found.append((cut.edge, timing))
    return found
