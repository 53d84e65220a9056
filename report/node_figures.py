"""What is known of each node and cut of a model, in the form in which other tools show it.

Leakage belongs to a cut, and other tools show nodes: a cut's figure stands at the node that makes the tensor that
crosses. Estimates and attacks are kept apart, and harm is rounded up: the figure is the upper end of the interval.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from ..records import Candidate, CutProfile, Interval, LeakageReport, LeakageRow, NodeProfile, Plan, Profile
from .tables import every_candidate
from .wording import number, share


@dataclass(frozen=True, slots=True)
class CutLeakage:
    """What one (cut, defense) leaks.

    Attributes:
        cut_id: of the cut.
        defense: as `--defense` spells it; `, tuned` where the cloud half was fine-tuned under it.
        support: what the figure rests on: `estimated`, `predicted`, `by definition`, or `attacked at quick effort`.
        index: the leakage index, 0 to 1.
    """

    cut_id: str
    defense: str
    support: str
    index: Interval


def known_leakage(plan: Plan | None, report: LeakageReport | None) -> tuple[CutLeakage, ...]:
    """Every figure of leakage in a plan and in a report of `collabplan leakage`.

    Of two figures for one cut and defense with the same support, the one with the greater upper end is kept.
    """
    candidates = [] if plan is None else [candidate for _, candidate in every_candidate(plan)]
    rows = () if report is None else report.rows
    found: dict[tuple[str, str, str], CutLeakage] = {}
    for each in (*map(_of_candidate, candidates), *map(_of_row, rows)):
        key = (each.cut_id, each.defense, each.support)
        if key not in found or each.index.high > found[key].index.high:
            found[key] = each
    return tuple(found.values())


def _of_candidate(one: Candidate) -> CutLeakage:
    support = one.index_is.replace("-", " ")
    if one.audited is not None:
        support = f"attacked at {one.audited.effort} effort"
    return CutLeakage(one.cut_id, one.defense.unfitted.text + (", tuned" if one.tuned else ""), support, one.index)


def _of_row(row: LeakageRow) -> CutLeakage:
    support = row.leakage.status.replace("-", " ")
    return CutLeakage(row.cut_id, row.defense.unfitted.text, support, row.leakage.index)


def crossing_nodes(cut: CutProfile) -> list[str]:
    """The nodes whose private results cross a cut; none where the edge computes everything and nothing is sent."""
    if cut.kind == "edge-only":
        return []
    return [each.node for each in cut.crossing if not each.public]


def leakage_by_node(profile: Profile, figures: Iterable[CutLeakage]) -> dict[str, float]:
    """The upper end of the leakage index at each node whose result crosses a cut alone.

    A node that only crosses together with others has the greatest figure of the cuts that it is part of.

    Args:
        profile: says what crosses each cut.
        figures: of one defense; cuts that the profile does not have are left out.
    """
    highs = {each.cut_id: each.index.high for each in figures}
    alone: dict[str, float] = {}
    together: dict[str, float] = {}
    for cut in profile.cuts:
        if cut.id in highs:
            nodes = crossing_nodes(cut)
            shown = alone if len(nodes) == 1 else together
            for node in nodes:
                shown[node] = max(shown.get(node, 0.0), highs[cut.id])
    return together | alone


def node_id(node: NodeProfile) -> str:
    """The node's name below its module's: `layer1/conv1/conv2d_1`. Model Explorer makes layers of such names."""
    return "/".join([*filter(None, node.module.split(".")), node.name])


def node_notes(node: NodeProfile) -> dict[str, str]:
    """The measured figures of a node, as text by name. An unknown count is left out."""
    counts = {"flops": node.flops, "parameters": node.parameter_count, "output_bytes": node.output_bytes}
    return {
        "p50_ms": f"{node.timing.p50_ms:.6g}",
        "p95_ms": f"{node.timing.p95_ms:.6g}",
        "operator": node.operator,
        "module": node.module or "(top)",
        **{name: str(count) for name, count in counts.items() if count is not None},
    }


def cut_note(cut: CutProfile) -> str:
    """A cut's latency on both sides and its payload: `stem: edge 0.1 ms, cloud 0.8 ms, 4096 B a sample undefended`."""
    together = crossing_nodes(cut)
    halves = {"edge": cut.edge, "cloud": cut.cloud}
    parts = [
        *(["crosses with " + " and ".join(together)] if len(together) > 1 else []),
        *(f"{half} {number(each.p50_ms)} ms" for half, each in halves.items() if each is not None),
        f"{cut.payload_bytes} B a sample undefended",
    ]
    return f"{cut.name}: {', '.join(parts)}"


def leakage_notes(cut: CutProfile, figures: Iterable[CutLeakage]) -> list[str]:
    """What a cut leaks: `0.545 [0.510, 0.704] at layer3.0 under projection:rank=4, estimated`."""
    return [
        f"{share(each.index.value)} [{share(each.index.low)}, {share(each.index.high)}] at {cut.name} under "
        f"{each.defense}, {each.support}"
        for each in figures
        if each.cut_id == cut.id
    ]


def by_defense(figures: Iterable[CutLeakage]) -> Mapping[tuple[str, str], list[CutLeakage]]:
    """The figures by defense and support, in the order in which they come."""
    found: dict[tuple[str, str], list[CutLeakage]] = {}
    for each in figures:
        found.setdefault((each.defense, each.support), []).append(each)
    return found
