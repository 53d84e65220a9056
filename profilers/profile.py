"""Profiles a traced model on this machine: nodes, candidate cuts, memory, in one record."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from ..graph import Cut, TracedGraph, candidate_cuts, dead_gradients, split
from ..records import CollabplanError, Crossing, CutProfile, Profile, Role, TargetIdentity, Timing, collect_provenance
from .cuts import CutTiming, CutTimings, time_cuts
from .energy import measure_power
from .memory import EdgeMemory, EdgeUse, measured_peak_bytes
from .nodes import GraphFacts, collect_facts, node_profiles, quickest_ms, time_nodes
from .placement import converted_dtype, dtype_name, place
from .timers import core_count, identify, load_average, quiet, resolve_device, timed, timer_for

Progress = Callable[[str, float], None]
"""Called between measurements with what is being measured and how far it is, 0 to 1."""

NODE_SHARE = 0.2
"""Share of the seconds that goes to the node breakdown; the cuts have the rest."""

WORTH_WARNING = 0.01
"""Share of the node sum below which a node's scatter is nobody's concern."""

NAMED = 4
"""Tensors that one warning names."""


def profile_model(
    traced: TracedGraph,
    *,
    target: TargetIdentity,
    device: str = "cpu",
    role: Role = "both",
    batch: int = 1,
    threads: int | None = None,
    dtype: str | None = None,
    max_crossing: int = 4,
    seconds: float = 30.0,
    on_progress: Progress | None = None,
    command: tuple[str, ...] | None = None,
) -> Profile:
    """Measure what the nodes and the candidate cuts of a model cost on this machine.

    The model runs in inference mode on its example inputs, repeated to `batch`; the user's model is
    neither moved nor changed.

    Args:
        traced: from `graph.trace`.
        target: the user's target, for the record.
        device: `cpu`, `cuda`, `cuda:INDEX` or `mps`.
        role: `edge` times prefixes alone, `cloud` suffixes alone; two such profiles are joined at planning.
        batch: samples per run; all times are for the whole batch.
        threads: threads inside an operator (None: torch's own choice). Recorded either way.
        dtype: what a copy of the model is converted to (`float32`, `float16`, `bfloat16`, `float64`); None measures it
            as it is.
        max_crossing: how many tensors may cross at a candidate cut.
        seconds: for measuring nodes and cuts. Cuts that this does not reach are interpolated.
        on_progress: told what is being measured.
        command: the command line, for the record (None: `sys.argv`).

    Raises:
        CollabplanError: a device that is not there, a batch or dtype that the model cannot run, or an
            option out of range.
    """
    _check(role, threads, seconds)
    load = load_average()
    where, own = resolve_device(device), dtype_name(traced)
    dtype = dtype or own
    converted = converted_dtype(traced, where, dtype) if dtype != own else None
    placed = place(traced, where, None if converted is None else dtype, batch)
    report = on_progress or _silent
    report("finding cuts", 0.0)
    cuts = candidate_cuts(traced, max_crossing)
    own_cuts = rebase(cuts, placed)
    timer = timer_for(where)
    with quiet(threads) as used_threads:
        facts = _first_run(placed, dtype, device, batch)
        samples = time_nodes(
            placed.flat, placed.example_inputs, timer, NODE_SHARE * seconds, lambda done: report("nodes", done)
        )
        nodes = node_profiles(placed.flat, facts, samples)
        use = EdgeUse(placed.flat, facts)
        depth_ms = use.totals(own_cuts, quickest_ms(nodes))
        timings = time_cuts(
            placed, own_cuts, depth_ms, timer, role, (1 - NODE_SHARE) * seconds, lambda done: report("cuts", done)
        )
        memory = _memory(placed, own_cuts, use, where, report)
        report("power", 0.0)
        power, power_missing = measure_power(where, lambda: timed(timer, placed.flat, *placed.example_inputs))
    views = [_View(cut, facts, use, memory[cut.id], dtype if converted is not None else None) for cut in own_cuts]
    rows = tuple(view.profile(timings.cuts[view.cut.id]) for view in views)
    return Profile(
        target=target,
        model=traced.identity,
        role=role,
        device=identify(where, used_threads, load),
        dtype=dtype,
        batch=batch,
        whole=timings.whole,
        node_sum_ms=sum(node.timing.p50_ms for node in nodes),
        nodes=nodes,
        cuts=rows,
        sample_input_bytes=_payload(rows, "cloud-only"),
        sample_output_bytes=_payload(rows, "edge-only"),
        peak_memory_method="measured" if where.type == "cuda" else "liveness",
        power=power,
        power_missing=power_missing,
        warnings=(
            *_warnings(timings, {cut.id: cut.name for cut in cuts}, {node.name: node.timing for node in nodes}, load),
            *_dead_ends(traced, cuts),
            *([] if converted is None else [_as_a_copy(dtype, own)]),
        ),
        provenance=collect_provenance(target_file=Path(target.file) if target.file else None, command=command),
    )


def describe_cut(traced: TracedGraph, cut: Cut, timing: CutTiming, like: Profile) -> CutProfile:
    """The record of a cut that `like` has not got, with timings from elsewhere: the model runs once, untimed.

    It runs on the CPU; edge memory is therefore by liveness, even where `like` has it measured by CUDA.

    Raises:
        CollabplanError: the model does not run on the CPU in the dtype or at the batch of `like`.
    """
    cpu = torch.device("cpu")
    placed = place(traced, cpu, like.dtype, like.batch)
    own = rebase([cut], placed)[0]
    with quiet(None):
        facts = _first_run(placed, like.dtype, "cpu", like.batch)
        use = EdgeUse(placed.flat, facts)
    dtype = None if converted_dtype(traced, cpu, like.dtype) is None else like.dtype
    return _View(own, facts, use, use.memory(own), dtype).profile(timing)


def _silent(_what: str, _done: float) -> None:
    """No progress wanted."""


def _check(role: str, threads: int | None, seconds: float) -> None:
    if role not in ("both", "edge", "cloud"):
        raise CollabplanError(f"unknown role {role!r}; give both, edge or cloud")
    if threads is not None and threads < 1:
        raise CollabplanError(f"{threads} threads are not possible; give 1 or more")
    if not seconds > 0:
        raise CollabplanError(f"{seconds} seconds are not enough to measure anything; give more than zero")


def rebase(cuts: Sequence[Cut], placed: TracedGraph) -> list[Cut]:
    """The same cuts (same ids) on a placed copy of their graph, so that it can be split there."""
    if not cuts:
        return []
    units = replace(cuts[0].units, traced=placed)
    return [replace(cut, units=units) for cut in cuts]


def _first_run(placed: TracedGraph, dtype: str, device: str, batch: int) -> GraphFacts:
    """Run once and note the facts; what fails here fails for the user's choice of dtype, device and batch."""
    try:
        return collect_facts(placed.flat, placed.example_inputs)
    except (RuntimeError, NotImplementedError) as error:
        why = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise CollabplanError(
            f"the model does not run in {dtype} on {device} at batch {batch} ({why}); choose another --dtype, --device "
            "or --batch"
        ) from error


def _memory(
    placed: TracedGraph, cuts: Sequence[Cut], use: EdgeUse, device: torch.device, report: Progress
) -> dict[str, EdgeMemory]:
    """Edge memory by cut id: by liveness, on CUDA with the measured peak."""
    found = {cut.id: use.memory(cut) for cut in cuts}
    if device.type != "cuda":
        return found
    for done, cut in enumerate(cuts):
        edge = split(placed, cut).edge.graph_module
        peak = measured_peak_bytes(device, edge, placed.example_inputs, found[cut.id].weight_bytes)  # type: ignore[arg-type]
        found[cut.id] = replace(found[cut.id], peak_bytes=peak)
        report("memory", (done + 1) / len(cuts))
    return found


@dataclass(frozen=True, slots=True)
class _View:
    """Everything known about one cut but its timings. `dtype` is None where the model was not converted."""

    cut: Cut
    facts: GraphFacts
    use: EdgeUse
    memory: EdgeMemory
    dtype: str | None

    def profile(self, timing: CutTiming) -> CutProfile:
        """The record of the cut."""
        crossing = tuple(self.converted(made) for made in self.cut.crossing)
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
            payload_bytes=sum(made.sample_elements * made.element_bytes for made in crossing),
            edge_parameter_count=self.memory.parameter_count,
            edge_parameter_bytes=self.memory.weight_bytes,
            edge_peak_bytes=self.memory.peak_bytes,
            edge_flops=sum(known) if len(known) == len(counts) else None,
            edge_flops_counted=sum(known),
        )

    def converted(self, crossing: Crossing) -> Crossing:
        """What crosses, in the dtype that was profiled."""
        if self.dtype is None or not crossing.is_floating:
            return crossing
        return crossing.model_copy(update={"dtype": self.dtype})


def _payload(rows: Sequence[CutProfile], kind: str) -> int:
    return sum(row.payload_bytes for row in rows if row.kind == kind)


def _warnings(
    timings: CutTimings, names: Mapping[str, str], nodes: Mapping[str, Timing], load: float | None
) -> list[str]:
    """What the reader of the profile should distrust, one line each."""
    found = []
    if load is not None and load > 0.5 * core_count():
        found.append(
            f"the load average was {load:.1f} on {core_count()} cores before measuring; other programs were running"
        )
    if timings.whole.scatters:
        found.append(f"the whole model scatters: {_spread(timings.whole)}; close other programs and profile again")
    halves = {
        (cut_id, part): timing
        for cut_id, cut in timings.cuts.items()
        for part, timing in (("edge", cut.edge), ("cloud", cut.cloud))
        if timing is not None and not cut.interpolated and timing is not timings.whole
    }
    found += _scatter(
        "halves of cuts", {f"{names[cut_id]} ({part})": timing for (cut_id, part), timing in halves.items()}
    )
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


def _dead_ends(traced: TracedGraph, cuts: Sequence[Cut]) -> list[str]:
    """Crossings whose gradients mislead: an attack that needs them fails there, and its failure is no privacy."""
    by_end: dict[tuple[str, ...], list[str]] = {}
    for name, ends in dead_gradients(traced, cuts).items():
        by_end.setdefault(ends, []).append(name)
    return [
        f"gradients end at {', '.join(ends)} and do not tell how these depend on the input: {_first(names)}; attacks "
        "that follow gradients, and dFIL, are not computable there, which says nothing about what leaks"
        for ends, names in by_end.items()
    ]


def _as_a_copy(dtype: str, own: str) -> str:
    return (
        f"measured was a copy in {dtype}; the model itself computes in {own}, and so do its halves, and all that is "
        "said of accuracy and leakage"
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
