"""The proper cut of least predicted latency over *all* cuts of the graph, not only the candidates that were profiled.

    latency = edge's nodes + defense + transfer(bytes of all that crosses) + cloud's nodes + what is the same everywhere

Node times are brought to the scale of what was measured (profilers/breakdown.py), so that the sum is what
`predict_latency` says of each cut of the chain that was measured, and of any cut that is interpolated along that
chain. The transfer is the link's formula: so much a byte, and a step for each wait of slow start. What is found is the
minimum of that sum, but for the rounding up of a message to its last segment (40 bytes of headers at most). Public
inputs that cross beside it are left out of the search; they are in the prediction.

A cut with several tensors that was itself measured may still be faster than its nodes say.
"""

from __future__ import annotations

from dataclasses import dataclass

from ..defenses.pipeline import Defense
from ..graph import Cut, cheapest_stepped_cut, find_cut
from ..profilers.breakdown import Breakdown
from ..profilers.cut_records import describe_cut
from ..profilers.cut_timings import CutTiming
from ..profilers.joining import JoinedCut
from ..profilers.link import byte_ms, slow_start_steps
from ..records import Candidate, DefenseRecord
from .latency import defense_ms
from .problem import Problem


@dataclass(frozen=True, eq=False)
class ExtraCut:
    """A cut that is not among the candidates, with its costs; `proven`: no other cut is faster."""

    cut: Cut
    joined: JoinedCut
    proven: bool


def fastest_cut(problem: Problem, undefended: DefenseRecord) -> tuple[Cut, bool]:
    """The proper, searchable cut of least predicted median latency, and whether that is proven.

    A candidate is preferred where no other cut is faster. The same profiles, link and defense give the same cut.

    Args:
        undefended: what is done to the tensors of an undefended baseline: the quantizer.

    Raises:
        CutError: the model has no such cut.
    """
    edge, cloud = _breakdowns(problem)
    slowdown, batch, price = problem.edge_slowdown, problem.edge_profile.batch, byte_ms(problem.link)
    sending: dict[str, float] = {}
    sizes: dict[str, float] = {}
    for record in problem.cuts[0].units.crossing_records:
        if record.layout is None:
            continue
        alone = Defense(undefended, (record,))
        sizes[record.node] = float(alone.payload_bytes() * batch)
        sending[record.node] = defense_ms(alone, batch) * slowdown + price * sizes[record.node]
    return cheapest_stepped_cut(
        problem.traced,
        {name: elapsed_ms * slowdown for name, elapsed_ms in edge.node_ms.items()},
        cloud.node_ms,
        sending,
        sizes,
        slow_start_steps(problem.link),
        known=problem.cuts,
    )


def extra_cut(problem: Problem, undefended: DefenseRecord) -> ExtraCut | None:
    """The fastest cut with its costs, where it is none of the candidates.

    Raises:
        CollabplanError: see `describe_cut`.
    """
    if not any(cut.kind == "proper" and cut.searchable for cut in problem.cuts):
        return None
    cut, proven = fastest_cut(problem, undefended)
    return None if cut.id in {known.id for known in problem.cuts} else priced(problem, cut, proven=proven)


def named_cut(problem: Problem, candidate: Candidate) -> Cut | None:
    """The cut that a candidate was measured at, profiled or not; None if this model has no such cut."""
    return find_cut(problem.traced, candidate.cut_id, candidate.cut_name.split(" + "), problem.cuts)


def priced(problem: Problem, cut: Cut, *, proven: bool = False) -> ExtraCut:
    """Any proper cut of the model with its costs: times by the node breakdown, the rest as the profiler has it.

    Raises:
        CollabplanError: see `describe_cut`.
    """
    edge, cloud = (side.timing(cut) for side in _breakdowns(problem))
    record = describe_cut(problem.traced, cut, CutTiming(edge, cloud, interpolated=True), problem.edge_profile)
    return ExtraCut(cut, JoinedCut(record, edge, cloud, interpolated=True), proven)


def _breakdowns(problem: Problem) -> tuple[Breakdown, Breakdown]:
    return (
        Breakdown.of(problem.edge_profile, problem.cuts, "edge"),
        Breakdown.of(problem.cloud_profile, problem.cuts, "cloud"),
    )
