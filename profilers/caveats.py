"""What the reader of a profile should distrust, one line each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ..graph import Cut, TracedGraph, dead_gradients
from ..records import Timing
from .cut_timings import CutTimings
from .timers import core_count

WORTH_WARNING = 0.01
"""A node with a smaller share of the node sum may scatter without a warning."""

WORTH_SAYING = 0.05
"""The share of lost runs, or of time lost to other programs, that is warned of."""

NAMED = 4
"""The most tensors that one warning names."""


def measurement_warnings(
    timings: CutTimings,
    names: Mapping[str, str],
    nodes: Mapping[str, Timing],
    load: float | None,
    waited_share: float = 0.0,
) -> list[str]:
    """Warnings about the measurements: a busy machine, scatter, and cuts that were interpolated.

    Args:
        timings: of the whole model and of all cuts.
        names: by cut id, the cut's name.
        nodes: by node name.
        load: the load average before measuring; None: unknown.
        waited_share: of the time of all runs, the part that the program waited for a core.
    """
    found = []
    if load is not None and is_busy(load):
        found.append(
            f"the load average was {load:.1f} on {core_count()} cores before measuring; other programs were running"
        )
    if waited_share > WORTH_SAYING:
        found.append(
            f"{waited_share:.0%} of the time of all runs other programs had the core; that time is not counted, and a "
            "device that is as busy when it serves is that much slower"
        )
    lost, taken = _disturbed(timings)
    if lost > WORTH_SAYING * taken:
        found.append(
            f"{lost} of {taken} runs took far longer than the quick ones and are not counted: other programs ran then"
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


def is_busy(load: float | None) -> bool:
    """Do other programs occupy this machine, as far as the load average shows?"""
    return load is not None and load > 0.5 * core_count()


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


def _disturbed(timings: CutTimings) -> tuple[int, int]:
    """Of the whole model and all measured halves: runs that are not counted, and all."""
    halves = [half for cut in timings.cuts.values() for half in (cut.edge, cut.cloud) if half is not None]
    series = [timings.whole, *(half for half in halves if half is not timings.whole)]
    lost = sum(len(each.disturbed_ms) for each in series)
    return lost, lost + sum(len(each.samples_ms) for each in series)


def _spread(timing: Timing) -> str:
    return f"median {timing.p50_ms:.3g} ms, interquartile range {timing.iqr_ms:.3g} ms"
