"""A profile as a trace for Perfetto and Chrome: the nodes in sequence, and with a plan one request from end to end.

The Trace Event Format: complete events (`ph` X) with microseconds, named by metadata events (`ph` M). Two kinds of rows
are kept apart. A request's parts are the plan's prediction. The nodes were measured one by one, and their sum is not
the latency of a half.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from ..records import NodeProfile, Plan, Profile
from .node_figures import node_notes

Event = dict[str, Any]


@dataclass(frozen=True, eq=False)
class PlannedRequest:
    """A plan, and what of the model it runs where.

    Attributes:
        plan: with its predicted latency.
        cloud: the profile of the cloud machine.
        edge_nodes: the nodes that the device computes; all others run in the cloud.
    """

    plan: Plan
    cloud: Profile
    edge_nodes: frozenset[str]


def trace_events(profile: Profile, request: PlannedRequest | None = None) -> dict[str, Any]:
    """The trace as a JSON object.

    Args:
        profile: of the edge device, or of the one machine that was profiled.
        request: divides the nodes among device and cloud, and adds the predicted request.
    """
    made = _Trace()
    if request is None:
        nodes = made.process("nodes, measured one by one")
        made.sequence(made.thread(nodes, profile.device.name), profile.nodes)
        whole = made.thread(made.process("the whole model"), profile.device.name)
        made.add(whole, "whole model", 0.0, profile.whole.p50_ms, {"p95_ms": f"{profile.whole.p95_ms:.6g}"})
    else:
        _add_request(made, profile, request)
    return {"traceEvents": made.events, "displayTimeUnit": "ms", "otherData": _about(profile, request)}


def _add_request(made: _Trace, profile: Profile, request: PlannedRequest) -> None:
    plan, parts = request.plan, request.plan.chosen.latency.parts
    devices = {"edge": plan.edge_device.name, "cloud": plan.cloud_device.name}
    predicted = made.process("one request, predicted by the plan")
    edge = made.thread(predicted, f"edge: {devices['edge']}")
    link = made.thread(predicted, "link")
    cloud = made.thread(predicted, f"cloud: {devices['cloud']}")
    at = made.add(edge, "edge half", 0.0, parts.edge_ms)
    at = made.add(edge, "defense", at, parts.defense_ms)
    at = made.add(edge, "serialisation, both ways", at, parts.serialisation_ms)
    arrived = made.add(link, "upload", at, parts.transfer_ms, {"payload_bytes": str(plan.chosen.payload_bytes)})
    at = made.add(cloud, "cloud half", arrived, parts.cloud_ms)
    made.add(link, "download", at, parts.download_ms)
    measured = made.process("nodes, measured one by one")
    on_edge = [node for node in profile.nodes if node.name in request.edge_nodes]
    in_cloud = [node for node in request.cloud.nodes if node.name not in request.edge_nodes]
    made.sequence(made.thread(measured, f"edge: {devices['edge']}"), on_edge, slowdown=plan.edge_slowdown)
    made.sequence(made.thread(measured, f"cloud: {devices['cloud']}"), in_cloud, start_ms=arrived)


def _about(profile: Profile, request: PlannedRequest | None) -> dict[str, str]:
    about = {
        "model": profile.model.name,
        "batch": str(profile.batch),
        "nodes": "medians, each node measured alone; their sum is not the model's latency",
        "collabplan": profile.provenance.collabplan_version,
    }
    if request is not None:
        plan = request.plan
        about["request"] = "predicted: medians, without contention"
        about["cut"] = plan.cut_name
        about["edge_slowdown"] = f"{plan.edge_slowdown:g}, by which the edge's times are multiplied"
    return about


Row = tuple[int, int]
"""Process and thread of a trace."""


@dataclass
class _Trace:
    """Events as they are added."""

    events: list[Event] = field(default_factory=list)
    rows: dict[int, int] = field(default_factory=dict)

    def process(self, name: str) -> int:
        """A group of rows."""
        process = len(self.rows) + 1
        self.rows[process] = 0
        self._name("process", (process, 0), name)
        return process

    def thread(self, process: int, name: str) -> Row:
        """A row, below those that its process has."""
        self.rows[process] += 1
        row = (process, self.rows[process])
        self._name("thread", row, name)
        return row

    def add(self, row: Row, name: str, start_ms: float, length_ms: float, notes: dict[str, str] | None = None) -> float:
        """One event; returns its end in ms. What takes no time is left out."""
        if length_ms > 0:
            times = {"ts": round(start_ms * 1e3, 3), "dur": round(length_ms * 1e3, 3)}
            self.events.append(
                {
                    "name": name,
                    "cat": "collabplan",
                    "ph": "X",
                    "pid": row[0],
                    "tid": row[1],
                    **times,
                    "args": notes or {},
                }
            )
        return start_ms + length_ms

    def sequence(self, row: Row, nodes: Iterable[NodeProfile], *, start_ms: float = 0.0, slowdown: float = 1.0) -> None:
        """Nodes one after the other."""
        for node in nodes:
            start_ms = self.add(row, node.name, start_ms, node.timing.p50_ms * slowdown, node_notes(node))

    def _name(self, what: str, row: Row, name: str) -> None:
        shown = {"ph": "M", "pid": row[0], "tid": row[1]}
        self.events.append({"name": f"{what}_name", **shown, "args": {"name": name}})
        self.events.append(
            {"name": f"{what}_sort_index", **shown, "args": {"sort_index": row[0] if what == "process" else row[1]}}
        )
