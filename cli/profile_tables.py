"""The tables of `collabplan profile`: the most expensive nodes and the candidate cuts."""

from __future__ import annotations

from collections.abc import Sequence

from rich.markup import escape
from rich.table import Table

from ..records import CutProfile, NodeProfile, Profile
from ..report.wording import number
from .marks import SCATTERS, legend
from .tables import MAX_CUTS, counted, middle, narrowed, plain_table, spread

MAX_NODES = 8
NAMES = (28, 24, 20, 16, 12)
"""Widths of names of nodes, operators and cuts: the first that leaves room for the figures."""


def expensive_nodes(profile: Profile) -> Table:
    """The nodes that take the longest, with what they put out."""
    return narrowed(lambda width: _nodes(profile, width), NAMES)


def _nodes(profile: Profile, width: int) -> Table:
    every, shown = len(profile.nodes), _longest(profile)
    rest = "all: --json" if len(shown) < every else ""
    table = plain_table(counted("Most expensive nodes", f"{len(shown)} of {every}", rest))
    table.add_column("node", no_wrap=True)
    table.add_column("operator", no_wrap=True)
    for head in ("ms", "share", "output\nKiB", "MFLOP"):
        table.add_column(head, justify="right", no_wrap=True)
    for node in shown:
        share = node.timing.p50_ms / profile.node_sum_ms if profile.node_sum_ms else 0.0
        table.add_row(
            escape(middle(node.module or node.name, width)),
            escape(middle(_operator(node.operator), width)),
            spread(node.timing),
            f"{100 * share:.0f} %",
            number(node.output_bytes / 1024),
            "-" if node.flops is None else number(node.flops / 1e6),
        )
    table.caption = "ms: median ± half the interquartile range, in an interpreter; the sum is not the model's latency."
    if any(node.flops is None for node in profile.nodes):
        table.caption += " MFLOP -: not known."
    return table


def _longest(profile: Profile) -> list[NodeProfile]:
    return sorted(profile.nodes, key=lambda node: -node.timing.p50_ms)[:MAX_NODES]


def candidate_cuts(profile: Profile) -> Table:
    """The candidate cuts from the input to the output, thinned out if they are many."""
    return narrowed(lambda width: _cuts(profile, width), NAMES)


def _cuts(profile: Profile, width: int) -> Table:
    shown = thinned(profile.cuts)
    every = len(profile.cuts)
    rest = "all: --json" if len(shown) < every else ""
    table = plain_table(counted("Candidate cuts, input to output", f"{len(shown)} of {every}", rest))
    table.add_column("cut", no_wrap=True)
    for head in ("edge ms", "payload\nKiB", "cloud ms", "edge\nMiB"):
        table.add_column(head, justify="right", no_wrap=True)
    table.add_column("", no_wrap=True)
    for cut in shown:
        table.add_row(
            escape(middle(cut.name, width)),
            "-" if cut.edge is None else spread(cut.edge),
            number(cut.payload_bytes / 1024),
            "-" if cut.cloud is None else spread(cut.cloud),
            number(cut.edge_peak_bytes / 2**20),
            _marks(cut),
        )
    memory = "computed from shapes" if profile.peak_memory_method == "liveness" else "measured"
    table.caption = (
        f"Whole model {spread(profile.whole).strip()} ms at batch {profile.batch}. Edge MiB is peak memory, {memory}."
    )
    return table


def thinned(cuts: Sequence[CutProfile], limit: int = MAX_CUTS) -> list[CutProfile]:
    """At most `limit` cuts by depth: the two ends, then those that one private tensor crosses, then others.

    Of each kind they are evenly spread. Public inputs cross with any tensor that is computed with them: they do not
    count.
    """
    ordered = sorted(cuts, key=lambda cut: cut.depth)
    if len(ordered) <= limit:
        return ordered
    inner, room = ordered[1:-1], limit - 2
    single = [cut for cut in inner if cut.searchable and sum(not crossing.public for crossing in cut.crossing) <= 1]
    others = [cut for cut in inner if cut not in single]
    kept = _spread(single, room)
    kept += _spread(others, room - len(kept))
    return [ordered[0], *sorted(kept, key=lambda cut: cut.depth), ordered[-1]]


def _spread(cuts: Sequence[CutProfile], count: int) -> list[CutProfile]:
    """At most `count` of them, evenly spread."""
    if len(cuts) <= count:
        return list(cuts)
    return [cuts[(2 * i + 1) * len(cuts) // (2 * count)] for i in range(count)]


def _operator(operator: str) -> str:
    return operator.removeprefix("aten.").removesuffix(".default")


def _marks(cut: CutProfile) -> str:
    marks = ""
    if any(crossing.raw_input for crossing in cut.crossing):
        marks += "r"
    if cut.interpolated:
        marks += "i"
    if not cut.searchable:
        marks += "n"
    return marks


def marks_legend(profile: Profile) -> list[str]:
    """What the marks in both tables mean."""
    shown = thinned(profile.cuts)
    timings = [profile.whole, *(node.timing for node in _longest(profile))]
    timings += [each for cut in shown for each in (cut.edge, cut.cloud) if each is not None]
    marks = {mark for cut in shown for mark in _marks(cut)}
    return legend(marks | ({SCATTERS} if any(timing.scatters for timing in timings) else set()))
