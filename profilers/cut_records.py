"""The record of one cut: what crosses, what the edge half holds and computes, and how long both halves take."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch

from ..graph import Cut, TracedGraph
from ..records import CollabplanError, Crossing, CutProfile, Profile
from .cut_timings import CutTiming
from .memory import EdgeMemory, EdgeUse
from .nodes import GraphFacts, collect_facts
from .placement import converted_dtype, place


@dataclass(frozen=True, slots=True)
class CutView:
    """Everything known about one cut except its timings. `dtype` is None where the model was not converted."""

    cut: Cut
    facts: GraphFacts
    use: EdgeUse
    memory: EdgeMemory
    dtype: str | None

    def profile(self, timing: CutTiming) -> CutProfile:
        """The record of the cut."""
        crossing = tuple(self._converted(each) for each in self.cut.crossing)
        counts = [self.facts.nodes[node.name].flops for node in self.use.nodes_of(self.cut)]
        known = [count for count in counts if count is not None]
        return CutProfile(
            id=self.cut.id,
            name=self.cut.name,
            kind=self.cut.kind,
            depth=self.cut.depth,
            crossing=crossing,
            searchable=self.cut.searchable,
            edge=timing.edge,
            cloud=timing.cloud,
            interpolated=timing.interpolated,
            payload_bytes=sum(each.sample_elements * each.element_bytes for each in crossing),
            edge_parameter_count=self.memory.parameter_count,
            edge_parameter_bytes=self.memory.weight_bytes,
            edge_peak_bytes=self.memory.peak_bytes,
            edge_flops=sum(known) if len(known) == len(counts) else None,
            edge_flops_counted=sum(known),
        )

    def _converted(self, crossing: Crossing) -> Crossing:
        """What crosses, in the dtype that was profiled."""
        if self.dtype is None or not crossing.is_floating:
            return crossing
        return crossing.model_copy(update={"dtype": self.dtype})


def describe_cut(traced: TracedGraph, cut: Cut, timing: CutTiming, like: Profile) -> CutProfile:
    """The record of a cut that a profile lacks, with timings from elsewhere. The model runs once, untimed.

    It runs on the CPU, so edge memory is found by liveness, even if `like` has it measured by CUDA.

    Args:
        traced: the model of the profile.
        cut: a cut of this graph.
        timing: of its halves.
        like: the profile whose dtype and batch the record is for.

    Raises:
        CollabplanError: the model does not run on the CPU in this dtype or at this batch.
    """
    cpu = torch.device("cpu")
    placed = place(traced, cpu, like.dtype, like.batch)
    own = rebase([cut], placed)[0]
    with torch.inference_mode():
        facts = first_run(placed, like.dtype, "cpu", like.batch)
        use = EdgeUse(placed.flat, facts)
    dtype = None if converted_dtype(traced, cpu, like.dtype) is None else like.dtype
    return CutView(own, facts, use, use.memory(own), dtype).profile(timing)


def rebase(cuts: Sequence[Cut], placed: TracedGraph) -> list[Cut]:
    """The same cuts (same ids) on a placed copy of their graph, so that they can be split there."""
    if not cuts:
        return []
    units = replace(cuts[0].units, traced=placed)
    return [replace(cut, units=units) for cut in cuts]


def first_run(placed: TracedGraph, dtype: str, device: str, batch: int) -> GraphFacts:
    """The facts of one run. An error here comes from the user's choice of dtype, device and batch.

    Raises:
        CollabplanError: the model does not run like this.
    """
    try:
        return collect_facts(placed.flat, placed.example_inputs)
    except (RuntimeError, NotImplementedError) as error:
        why = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise CollabplanError(
            f"the model does not run in {dtype} on {device} at batch {batch} ({why}); choose another --dtype, --device "
            "or --batch"
        ) from error
