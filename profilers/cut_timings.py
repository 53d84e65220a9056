"""The timings of all cuts from those that were measured: put into order, the rest interpolated.

What the edge half of one cut contains of another's, it also runs: prefixes that grow take no less time, and suffixes
that shrink take no more. None takes longer than the whole model. Measured cuts and the whole are moved to the nearest
medians that keep to this (`steady.ascending`), each by so much as its scatter allows. Interpolated cuts then stay
between the measured ones that they contain and that contain them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..graph import Cut
from ..records import Role, Timing
from .interpolation import NO_TIME, between
from .steady import Order, ascending, moved, precision

LEAST_SCATTER = 0.005
"""The least scatter of a median that is believed when medians are weighed, as a share of the whole model's time."""


@dataclass(frozen=True, slots=True)
class CutTiming:
    """Prefix and suffix of one cut; None where the role or the cut lacks that part."""

    edge: Timing | None
    cloud: Timing | None
    interpolated: bool


@dataclass(frozen=True)
class CutTimings:
    """The whole model, and every cut by id."""

    whole: Timing
    cuts: dict[str, CutTiming]


def nested(cuts: Sequence[Cut]) -> Order:
    """[n, n]: does the edge half of the column's cut contain that of the row's, and more?"""
    masks = np.array([cut.edge for cut in cuts] or np.zeros((0, 1)), dtype=np.float32)
    inside: Order = masks @ (1 - masks).T == 0
    np.fill_diagonal(inside, val=False)
    return inside


def in_order(
    cuts: Sequence[Cut], measured: Mapping[str, CutTiming], whole: Timing
) -> tuple[dict[str, CutTiming], Timing]:
    """Measured cuts and the whole, with medians that grow with what is computed; untouched where they do already.

    Args:
        cuts: of one graph; those that were not measured are passed over.
        measured: by cut id.
        whole: the whole model.
    """
    known = [cut for cut in cuts if cut.id in measured]
    edges = [index for index, cut in enumerate(known) if measured[cut.id].edge is not None]
    clouds = [index for index, cut in enumerate(known) if measured[cut.id].cloud is not None]
    timings = [timing for index in edges if (timing := measured[known[index].id].edge)]
    timings += [timing for index in clouds if (timing := measured[known[index].id].cloud)]
    timings.append(whole)
    inside, count = nested(known), len(edges)
    order = np.zeros((len(timings), len(timings)), dtype=bool)
    order[:count, :count] = inside[np.ix_(edges, edges)]
    order[count:-1, count:-1] = inside.T[np.ix_(clouds, clouds)]
    order[:-1, -1] = True
    weights = np.array([precision(timing, LEAST_SCATTER * whole.p50_ms + 1e-6) for timing in timings])
    fitted = ascending(np.array([timing.p50_ms for timing in timings]), weights, order)
    placed = [
        timing if p50_ms == timing.p50_ms else moved(timing, max(p50_ms, 0.0))
        for timing, p50_ms in zip(timings, fitted.tolist(), strict=True)
    ]
    edge = dict(zip(edges, placed[:count], strict=True))
    cloud = dict(zip(clouds, placed[count:-1], strict=True))
    ordered = {
        cut.id: CutTiming(edge.get(index), cloud.get(index), interpolated=False) for index, cut in enumerate(known)
    }
    return ordered, placed[-1]


def fill(
    cuts: Sequence[Cut],
    depth_ms: Mapping[str, float],
    measured: Mapping[str, CutTiming],
    whole: Timing,
    role: Role,
) -> dict[str, CutTiming]:
    """The timings of all cuts: measured, the whole itself at both ends, the rest interpolated.

    Args:
        cuts: all cuts of one graph.
        depth_ms: by cut id, the node time of its edge half.
        measured: by cut id, in order (see `in_order`).
        whole: the whole model.
        role: *edge* has no suffixes, *cloud* no prefixes.
    """
    proper = [cut for cut in cuts if cut.kind == "proper"]
    inside = nested(proper)
    edges = {cut.id: timing for cut in proper if cut.id in measured and (timing := measured[cut.id].edge)}
    clouds = {cut.id: timing for cut in proper if cut.id in measured and (timing := measured[cut.id].cloud)}
    if role != "cloud":
        edges = _completed(proper, depth_ms, edges, inside, (NO_TIME, whole))
    if role != "edge":
        clouds = _completed(proper, depth_ms, clouds, inside.T, (whole, NO_TIME))
    timings = {
        cut.id: CutTiming(edges.get(cut.id), clouds.get(cut.id), interpolated=cut.id not in measured) for cut in proper
    }
    for cut in cuts:
        if cut.kind == "edge-only":
            timings[cut.id] = CutTiming(whole if role != "cloud" else None, None, interpolated=False)
        elif cut.kind == "cloud-only":
            timings[cut.id] = CutTiming(None, whole if role != "edge" else None, interpolated=False)
    return {cut.id: timings[cut.id] for cut in cuts}


def _completed(
    cuts: Sequence[Cut],
    depth_ms: Mapping[str, float],
    measured: Mapping[str, Timing],
    order: Order,
    ends: tuple[Timing, Timing],
) -> dict[str, Timing]:
    """One side of all cuts, by id. `ends`: before the first node and after the last."""
    total_ms = max(depth_ms.values(), default=0.0)
    points = [(0.0, ends[0]), *((depth_ms[name], timing) for name, timing in measured.items()), (total_ms, ends[1])]
    points.sort(key=lambda point: point[0])
    found = dict(measured)
    least_ms = np.zeros(len(cuts))
    most_ms = np.full(len(cuts), max(end.p50_ms for end in ends))
    for index, cut in enumerate(cuts):
        if cut.id in measured:
            np.maximum(least_ms, measured[cut.id].p50_ms, where=order[index], out=least_ms)
            np.minimum(most_ms, measured[cut.id].p50_ms, where=order[:, index], out=most_ms)
    for index in _from_the_quickest(order):
        cut = cuts[index]
        if cut.id not in measured:
            timing = between(points, depth_ms[cut.id])
            p50_ms = min(max(timing.p50_ms, float(least_ms[index])), float(most_ms[index]))
            found[cut.id] = timing if p50_ms == timing.p50_ms else moved(timing, p50_ms)
            np.maximum(least_ms, p50_ms, where=order[index], out=least_ms)
    return found


def _from_the_quickest(order: Order) -> NDArray[np.intp]:
    """The indices, each after all that may not exceed it."""
    return np.argsort(order.sum(axis=0), kind="stable")
