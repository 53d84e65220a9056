"""Writes what is known of a model in the formats of other tools: Model Explorer, Perfetto, and ONNX for Netron."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from ..graph import Cut, TracedGraph
from ..graph.ancestors import ancestors
from ..records import CollabplanError, LeakageReport, Plan, Profile, load, write_bytes
from ..report.model_explorer import node_data
from ..report.node_figures import CutLeakage, known_leakage
from ..report.onnx_notes import annotate
from ..report.trace_events import PlannedRequest, trace_events
from ..runtime.exports import onnx_with_nodes, require_format
from ..targets.input_options import InputOptions
from .planned import open_plan
from .replacing import refuse_to_replace
from .report import kept_profile
from .reporter import Reporter
from .session import open_session
from .workspace import Workspace

Tool = Literal["model-explorer", "perfetto", "onnx"]
USUAL_TOOLS: tuple[Tool, ...] = ("model-explorer", "perfetto")


@dataclass(frozen=True, eq=False)
class Figures:
    """What is exported, all of one model.

    Attributes:
        profile: of the edge device, or of the one machine that was profiled.
        cloud: the profile of the cloud machine.
        plan: None where none was made.
        leakage: what is known of its cuts.
        notes: what the reader should know.
    """

    profile: Profile
    cloud: Profile
    plan: Plan | None
    leakage: tuple[CutLeakage, ...]
    notes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Exported:
    """What was written.

    Attributes:
        folder: holds the files.
        files: their paths below it.
        notes: what the reader should know.
    """

    folder: Path
    files: tuple[str, ...]
    notes: tuple[str, ...]


Opened = Callable[[], tuple[TracedGraph, Cut | None]]
"""Loads the model (**this runs the user's code**), and finds the plan's cut in it, if there is a plan."""


def gather_figures(
    workspace: Workspace,
    *,
    plan: Plan | None = None,
    profile: Path | None = None,
    cloud_profile: Path | None = None,
    leakage: Path | LeakageReport | None = None,
) -> Figures:
    """What is known of one model.

    Args:
        workspace: holds the profile that is taken where none is given.
        plan: whose candidates' leakage and predicted latency are shown.
        profile: of the device or of the one machine; default: of the plan's model on its device, or the last made here.
        cloud_profile: of the cloud machine; default: the same profile.
        leakage: a report of `collabplan leakage -o`.

    Raises:
        RecordError: a file that is not what it should be, or nothing was profiled here.
        MismatchError: a file of another model.
    """
    used = load(Profile, profile) if profile is not None else _profile_kept(workspace, plan)
    cloud = used if cloud_profile is None else load(Profile, cloud_profile)
    report = load(LeakageReport, leakage) if isinstance(leakage, Path) else leakage
    for other in (plan, report):
        if other is not None:
            other.model.require_same(used.model, record=_named(other), weights=False)
    cloud.model.require_same(used.model, record="the cloud's profile", weights=False)
    if plan is not None and report is not None:
        plan.model.require_same(report.model, record="the plan")
    figures, known = known_leakage(plan, report), {cut.id for cut in used.cuts}
    missing = {each.cut_id for each in figures} - known
    notes = [f"{len(missing)} cuts with figures of leakage are not in the profile, and are left out"] if missing else []
    if not figures:
        notes.append("no leakage is shown: give a plan, or --leakage FILE")
    return Figures(used, cloud, plan, figures, tuple(notes))


def _profile_kept(workspace: Workspace, plan: Plan | None) -> Profile:
    if plan is None:
        return workspace.last_profile()[0]
    found = kept_profile(plan, workspace)
    if found is None:
        raise CollabplanError("no profile of the plan's model on its device is kept here; give --profile FILE")
    return found


def _named(record: Plan | LeakageReport) -> str:
    return "the plan" if isinstance(record, Plan) else "the leakage report"


def write_exports(
    figures: Figures, folder: Path, tools: Sequence[Tool], opened: Opened, reporter: Reporter, *, force: bool = False
) -> Exported:
    """Write the files of each tool.

    Args:
        figures: what is written.
        folder: takes `model-explorer/`, `trace.json` and `model.onnx`.
        tools: which of these.
        opened: called for ONNX, and for Perfetto with a plan, whose cut divides the nodes.
        reporter: hears what is done.
        force: replace files that lie there.

    Raises:
        CollabplanError: the folder holds something, torch cannot export the model, or a file cannot be written.
        MismatchError: the model is not the one that was profiled.
    """
    if "onnx" in tools:
        require_format("onnx")
    refuse_to_replace(folder, force)
    files: dict[str, bytes] = {}
    notes = list(figures.notes)
    traced: TracedGraph | None = None
    cut: Cut | None = None
    if "onnx" in tools or ("perfetto" in tools and figures.plan is not None):
        traced, cut = opened()
        figures.profile.model.require_same(traced.identity, record="the profile", weights=False)
    if "model-explorer" in tools:
        made = node_data(figures.profile, figures.leakage)
        files |= {f"model-explorer/{name}": _json(data) for name, data in made.items()}
    if "perfetto" in tools:
        files["trace.json"] = _json(trace_events(figures.profile, _request(figures, traced, cut)))
    if "onnx" in tools:
        assert traced is not None
        with reporter.progress("exporting the model to ONNX"):
            model, nodes = onnx_with_nodes(traced.flat, [spec.name for spec in traced.tensor_inputs])
        count = annotate(model, nodes, figures.profile, figures.leakage)
        total = len(figures.profile.nodes)
        if count < total:
            notes.append(f"model.onnx has {count} of {total} profiled nodes; torch's exporter left out the others")
        files["model.onnx"] = model.SerializeToString()
    for name, data in files.items():
        write_bytes(folder / name, data)
    return Exported(folder, tuple(files), tuple(notes))


def _request(figures: Figures, traced: TracedGraph | None, cut: Cut | None) -> PlannedRequest | None:
    if figures.plan is None or traced is None or cut is None:
        return None
    nodes = {node.name: node for node in traced.flat.graph.nodes}
    on_edge = ancestors(nodes[crossing.node] for crossing in cut.crossing)
    return PlannedRequest(figures.plan, figures.cloud, frozenset(node.name for node in on_edge))


def _json(document: object) -> bytes:
    return (json.dumps(document, indent=1, allow_nan=False) + "\n").encode()


def export_files(
    plan: Path | None,
    folder: Path,
    tools: Sequence[Tool],
    workspace: Workspace,
    reporter: Reporter,
    *,
    model: str | None = None,
    profile: Path | None = None,
    cloud_profile: Path | None = None,
    leakage: Path | None = None,
    force: bool = False,
) -> Exported:
    """As `gather_figures` and `write_exports`, from files.

    Args:
        plan: the plan's file; None: only a profile is exported.
        folder, tools, force: as of `write_exports`.
        workspace, profile, cloud_profile, leakage: as of `gather_figures`.
        reporter: hears what is done.
        model: the target, if it has moved since.

    Raises:
        CollabplanError: as those do, or the target cannot be loaded or traced.
    """
    figures = gather_figures(
        workspace,
        plan=None if plan is None else load(Plan, plan),
        profile=profile,
        cloud_profile=cloud_profile,
        leakage=leakage,
    )

    def opened() -> tuple[TracedGraph, Cut | None]:
        if plan is not None:
            planned = open_plan(plan, model, reporter)
            return planned.traced, planned.cut
        target = figures.profile.target
        inputs = InputOptions.kept_in(target.options)
        return open_session(model or target.spec, inputs, reporter, findings=2).traced, None

    return write_exports(figures, folder, tools, opened, reporter, force=force)
