"""What the reader of a profile should distrust, one line each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ..graph import Cut, TracedGraph, dead_gradients
from ..records import Timing
from .cuts import CutTimings
from .timers import core_count

WORTH_WARNING = 0.01
"""A node with a smaller share of the node sum may scatter without a warning."""

NAMED = 4
"""The most tensors that one warning names."""


def measurement_warnings(
    timings: CutTimings, names: Mapping[str, str], nodes: Mapping[str, Timing], load: float | None
) -> list[str]:
    """Warnings about the measurements: a busy machine, scatter, and cuts that were interpolated.

    Args:
        timings: of the whole model and of all cuts.
        names: by cut id, the cut's name.
        nodes: by node name.
        load: the load average before measuring; None: unknown.
    """
    found = []
    if load is not None and load > 0.5 * core_count():
        found.append(
            f"the load average was {load:.1f} on {core_count()} cores before measuring; other programs were running"
        )
    if timings.whole.scatters:
        found.append(f"the whole model scatters: {_spread(timings.whole)}; close other programs and profile again")
    halves = {
        f"{names[cut_id]} ({part})": timing
        for cut_id, cut in timings.cuts.items()
        for part, timing in (("edge", cut.edge), ("cloud", cut.cloud))
        if timing is not None and not cut.interpolated and timing is not timings.whole
    }
    found += _scatter("halves of cuts", halves)
    total_ms = sum(timing.p50_ms for timing in nodes.values())
    heavy = {name: timing for name, timing in nodes.items() if timing.p50_ms > WORTH_WARNING * total_ms}
    found += _scatter("nodes that matter", heavy)
    interpolated = sum(cut.interpolated for cut in timings.cuts.values())
    if interpolated:
        found.append(
            f"{interpolated} of {len(timings.cuts)} cuts were not measured in the time given but interpolated by the "
            "node breakdown; give more --seconds to measure them"
        )
    return found


def gradient_warnings(traced: TracedGraph, cuts: Sequence[Cut]) -> list[str]:
    """Warnings about crossings whose gradients mislead: an attack that follows gradients fails there, which does not
    show that nothing leaks."""
    by_end: dict[tuple[str, ...], list[str]] = {}
    for name, ends in dead_gradients(traced, cuts).items():
        by_end.setdefault(ends, []).append(name)
    return [
        f"gradients end at {', '.join(ends)} and do not show how these depend on the input: {_first(names)}; attacks "
        "that follow gradients, and dFIL, are not computable there, which says nothing about what leaks"
        for ends, names in by_end.items()
    ]


def conversion_warning(dtype: str, own: str) -> str:
    """The warning about a profile in another dtype than the model's own."""
    return (
        f"measured was a copy in {dtype}; the model itself computes in {own}, and so do its halves and every figure "
        "of accuracy and leakage"
    )


def _first(names: Sequence[str]) -> str:
    more = len(names) - NAMED
    return ", ".join(names[:NAMED]) + (f" and {more} more" if more > 0 else "")


def _scatter(what: str, timings: Mapping[str, Timing]) -> list[str]:
    wide = {name: timing for name, timing in timings.items() if timing.scatters}
    if not wide:
        return []
    worst = max(wide, key=lambda name: wide[name].iqr_ms / max(wide[name].p50_ms, 1e-9))
    how_many = f"{len(wide)} of {len(timings)} {what} scatter over 10 % of their median"
    return [f"{how_many}, most {worst}: {_spread(wide[worst])}"]


def _spread(timing: Timing) -> str:
    return f"median {timing.p50_ms:.3g} ms, interquartile range {timing.iqr_ms:.3g} ms"
