"""The tables of `collabplan profile`: the most expensive nodes and the candidate cuts."""

from __future__ import annotations

from collections.abc import Sequence

from rich.markup import escape
from rich.table import Table

from ..records import CutProfile, NodeProfile, Profile
from ..report.wording import number
from .tables import MAX_CUTS, middle, plain_table, spread


def expensive_nodes(profile: Profile, count: int = 8) -> Table:
    """The nodes that take the longest, with what they put out."""
    table = plain_table(f"Most expensive nodes ({min(count, len(profile.nodes))} of {len(profile.nodes)})")
    table.add_column("node", no_wrap=True)
    table.add_column("operator", no_wrap=True)
    for head in ("ms", "share", "output\nKiB", "MFLOP"):
        table.add_column(head, justify="right", no_wrap=True)
    for node in sorted(profile.nodes, key=lambda n: -n.timing.p50_ms)[:count]:
        share = node.timing.p50_ms / profile.node_sum_ms if profile.node_sum_ms else 0.0
        table.add_row(
            escape(_node_name(node)),
            escape(middle(_operator(node.operator), 20)),
            spread(node.timing),
            f"{100 * share:.0f} %",
            number(node.output_bytes / 1024),
            "-" if node.flops is None else number(node.flops / 1e6),
        )
    table.caption = "ms: median ± half the interquartile range, in an interpreter; the sum is not the model's latency."
    if any(node.flops is None for node in profile.nodes):
        table.caption += " MFLOP -: not known."
    return table


def candidate_cuts(profile: Profile) -> Table:
    """The candidate cuts from the input to the output, thinned out if they are many."""
    shown = thinned(profile.cuts)
    rest = "; all of them: --json" if len(shown) < len(profile.cuts) else ""
    table = plain_table(f"Candidate cuts ({len(shown)} of {len(profile.cuts)}{rest}), input to output")
    table.add_column("cut", no_wrap=True)
    for head in ("edge ms", "payload\nKiB", "cloud ms", "edge\nMiB"):
        table.add_column(head, justify="right", no_wrap=True)
    table.add_column("", no_wrap=True)
    for cut in shown:
        table.add_row(
            escape(middle(cut.name, 28)),
            "-" if cut.edge is None else spread(cut.edge),
            number(cut.payload_bytes / 1024),
            "-" if cut.cloud is None else spread(cut.cloud),
            number(cut.edge_peak_bytes / 2**20),
            _marks(cut),
        )
    table.caption = _cut_caption(profile, shown)
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


def _node_name(node: NodeProfile) -> str:
    return middle(node.module or node.name, 26)


def _operator(operator: str) -> str:
    return operator.removeprefix("aten.").removesuffix(".default")


def _marks(cut: CutProfile) -> str:
    """One letter each: r raw input crosses, i interpolated timing, n not searchable."""
    marks = ""
    if any(crossing.raw_input for crossing in cut.crossing):
        marks += "r"
    if cut.interpolated:
        marks += "i"
    if not cut.searchable:
        marks += "n"
    return marks


def _cut_caption(profile: Profile, shown: Sequence[CutProfile]) -> str:
    memory = "computed from shapes" if profile.peak_memory_method == "liveness" else "measured"
    parts = [
        f"Whole model {spread(profile.whole).strip()} ms at batch {profile.batch}. Edge MiB is peak memory, {memory}."
    ]
    seen = {mark for cut in shown for mark in _marks(cut)}
    meanings = {"r": "the raw input crosses", "i": "timing interpolated", "n": "cannot be searched"}
    parts += [f"{mark}: {meaning}." for mark, meaning in meanings.items() if mark in seen]
    timings = [t for cut in shown for t in (cut.edge, cut.cloud) if t is not None]
    if any(timing.scatters for timing in timings):
        parts.append("!: scatters by more than 10 %.")
    if len(shown) < len(profile.cuts):
        parts.append("All cuts: --json, or the profile's file.")
    return " ".join(parts)
