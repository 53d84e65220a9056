"""Profiles a traced model on this machine: nodes, candidate cuts, memory and power, in one record."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from ..graph import Cut, TracedGraph, candidate_cuts, split
from ..records import (
    CollabplanError,
    CutProfile,
    MeasuredPower,
    NodeProfile,
    Profile,
    Role,
    TargetIdentity,
    collect_provenance,
)
from .caveats import conversion_warning, gradient_warnings, is_busy, measurement_warnings
from .cut_records import CutView, first_run, rebase
from .cut_timings import CutTimings
from .cuts import time_cuts
from .energy import measure_power
from .memory import EdgeMemory, EdgeUse, measured_peak_bytes
from .nodes import GraphFacts, node_profiles, quickest_ms, time_nodes
from .placement import converted_dtype, native_dtype_name, place
from .thread_choice import ThreadChoice, choose_threads, threads_named
from .timers import (
    RunningTimer,
    WallTimer,
    identify,
    load_average,
    quiet,
    resolve_device,
    timed,
    timer_for,
)

Progress = Callable[[str, float], None]
"""Called between measurements with the name of the current one and the share that is done, 0 to 1."""

NODE_SHARE = 0.2
"""Share of the seconds for the node breakdown; the cuts have the rest."""


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

    The model runs in inference mode on its example inputs, repeated to `batch`. The user's model is
    neither moved nor changed.

    Args:
        traced: from `graph.trace`.
        target: the user's target, for the record.
        device: `cpu`, `cuda`, `cuda:INDEX` or `mps`.
        role: `edge` times prefixes alone, `cloud` suffixes alone; two such profiles are joined at planning.
        batch: samples per run; all times are for the whole batch.
        threads: threads inside an operator. None: torch's own choice, or one where the machine is busy and one is
            faster; a warning of the profile then says so. Recorded either way.
        dtype: what a copy of the model is converted to (`float32`, `float16`, `bfloat16`, `float64`); None measures it
            as it is.
        max_crossing: the number of private tensors that may cross at a candidate cut.
        seconds: for measuring nodes and cuts. Cuts for which they do not suffice are interpolated.
        on_progress: called between measurements.
        command: the command line, for the record (None: `sys.argv`).

    Raises:
        CollabplanError: a device that is not there, a batch or dtype that the model cannot run, or an
            option out of range.

    Examples:
        >>> from collabplan.graph import trace
        >>> from collabplan.profilers import profile_model
        >>> from collabplan.records import TargetIdentity
        >>> traced = trace(torch.nn.Linear(3, 2), torch.ones(1, 3))
        >>> profile = profile_model(traced, target=TargetIdentity(spec="example"), seconds=0.05)
        >>> [cut.payload_bytes for cut in profile.cuts]
        [12, 8]
    """
    _require_options(role, threads, seconds)
    load = load_average()
    where, own = resolve_device(device), native_dtype_name(traced)
    dtype = dtype or own
    converted = dtype != own and converted_dtype(traced, where, dtype) is not None
    placed = place(traced, where, dtype if converted else None, batch)
    report = on_progress or _silent
    report("finding cuts", 0.0)
    cuts = candidate_cuts(traced, max_crossing)
    chosen = _chosen_threads(placed, where, threads, busy=is_busy(load))
    with quiet(chosen.threads) as used_threads:
        facts = first_run(placed, dtype, device, batch)
        measured = _measure(placed, rebase(cuts, placed), facts, where, role, seconds, report)
    rows = measured.rows(dtype if converted else None)
    names, timings = {cut.id: cut.name for cut in cuts}, {node.name: node.timing for node in measured.nodes}
    return Profile(
        target=target,
        model=traced.identity,
        role=role,
        device=identify(where, used_threads, load),
        dtype=dtype,
        batch=batch,
        whole=measured.cut_timings.whole,
        node_sum_ms=sum(node.timing.p50_ms for node in measured.nodes),
        nodes=measured.nodes,
        cuts=rows,
        sample_input_bytes=_payload(rows, "cloud-only"),
        sample_output_bytes=_payload(rows, "edge-only"),
        peak_memory_method="measured" if where.type == "cuda" else "liveness",
        power=measured.power,
        power_missing=measured.power_missing,
        warnings=(
            *([chosen.said] if chosen.said else []),
            *measurement_warnings(measured.cut_timings, names, timings, load, measured.waited_share),
            *gradient_warnings(traced, cuts),
            *([conversion_warning(dtype, own)] if converted else []),
        ),
        provenance=collect_provenance(target_file=Path(target.file) if target.file else None, command=command),
    )


@dataclass(frozen=True)
class _Measured:
    """What was measured of one placed model, cut by cut."""

    cuts: Sequence[Cut]
    facts: GraphFacts
    nodes: tuple[NodeProfile, ...]
    use: EdgeUse
    cut_timings: CutTimings
    memory: dict[str, EdgeMemory]
    power: MeasuredPower | None
    power_missing: str | None
    waited_share: float

    def rows(self, dtype: str | None) -> tuple[CutProfile, ...]:
        """The records of the cuts. `dtype` is None where the model was not converted."""
        views = [CutView(cut, self.facts, self.use, self.memory[cut.id], dtype) for cut in self.cuts]
        return tuple(view.profile(self.cut_timings.cuts[view.cut.id]) for view in views)


def _measure(
    placed: TracedGraph,
    cuts: Sequence[Cut],
    facts: GraphFacts,
    device: torch.device,
    role: Role,
    seconds: float,
    report: Progress,
) -> _Measured:
    timer = timer_for(device, torch.get_num_threads())
    samples = time_nodes(
        placed.flat, placed.example_inputs, timer, NODE_SHARE * seconds, lambda done: report("nodes", done)
    )
    nodes = node_profiles(placed.flat, facts, samples)
    use = EdgeUse(placed.flat, facts)
    depth_ms = use.totals(cuts, quickest_ms(nodes))
    timings = time_cuts(
        placed, cuts, depth_ms, timer, role, (1 - NODE_SHARE) * seconds, lambda done: report("cuts", done)
    )
    memory = _memory(placed, cuts, use, device, report)
    report("power", 0.0)
    power, missing = measure_power(device, lambda: timed(timer, placed.flat, *placed.example_inputs))
    waited = timer.waited_ms / max(timer.wall_ms, 1e-9) if isinstance(timer, RunningTimer) else 0.0
    return _Measured(cuts, facts, nodes, use, timings, memory, power, missing, waited)


def _chosen_threads(placed: TracedGraph, device: torch.device, threads: int | None, *, busy: bool) -> ThreadChoice:
    """How many threads to measure with: what the user named, or what `choose_threads` finds."""
    usual = threads or torch.get_num_threads()
    if device.type != "cpu" or threads_named(threads):
        return ThreadChoice(usual)

    def elapsed_ms(count: int) -> float:
        with quiet(count):
            return timed(WallTimer(), placed.flat, *placed.example_inputs)[0]

    return choose_threads(elapsed_ms, usual, busy=busy)


def _silent(_what: str, _done: float) -> None:
    """No progress wanted."""


def _require_options(role: str, threads: int | None, seconds: float) -> None:
    if role not in ("both", "edge", "cloud"):
        raise CollabplanError(f"unknown role {role!r}; give both, edge or cloud")
    if threads is not None and threads < 1:
        raise CollabplanError(f"{threads} threads are not possible; give 1 or more")
    if not seconds > 0:
        raise CollabplanError(f"{seconds} seconds are not enough to measure anything; give more than zero")


def _memory(
    placed: TracedGraph, cuts: Sequence[Cut], use: EdgeUse, device: torch.device, report: Progress
) -> dict[str, EdgeMemory]:
    """By cut id, edge memory by liveness. On CUDA the peak is measured instead."""
    found = {cut.id: use.memory(cut) for cut in cuts}
    if device.type != "cuda":
        return found
    for done, cut in enumerate(cuts):
        edge = split(placed, cut).edge.graph_module
        peak = measured_peak_bytes(device, edge, placed.example_inputs, found[cut.id].weight_bytes)  # type: ignore[arg-type]
        found[cut.id] = replace(found[cut.id], peak_bytes=peak)
        report("memory", (done + 1) / len(cuts))
    return found


def _payload(rows: Sequence[CutProfile], kind: str) -> int:
    return sum(row.payload_bytes for row in rows if row.kind == kind)
