"""A trace is in the Trace Event Format, its rows do not overlap, and it says what is predicted and what measured."""

from __future__ import annotations

import itertools
import json
from typing import Any

import jsonschema
import pytest
import report_plans as made
from collabplan.report.trace_events import PlannedRequest, trace_events
from report_profiles import profile

PLACE = {"pid": {"type": "integer"}, "tid": {"type": "integer"}}
SCHEMA: dict[str, Any] = {
    "type": "object",
    "required": ["traceEvents"],
    "properties": {
        "traceEvents": {
            "type": "array",
            "items": {
                "oneOf": [
                    {
                        "required": ["name", "ph", "pid", "tid", "ts", "dur"],
                        "properties": {
                            **PLACE,
                            "ph": {"const": "X"},
                            "ts": {"type": "number", "minimum": 0},
                            "dur": {"type": "number", "minimum": 0},
                            "args": {"type": "object"},
                        },
                    },
                    {
                        "required": ["name", "ph", "pid", "args"],
                        "properties": {
                            **PLACE,
                            "ph": {"const": "M"},
                            "name": {
                                "enum": ["process_name", "process_sort_index", "thread_name", "thread_sort_index"]
                            },
                        },
                    },
                ]
            },
        },
        "displayTimeUnit": {"enum": ["ms", "ns"]},
        "otherData": {"type": "object", "additionalProperties": {"type": "string"}},
    },
}
PLAN = made.plan(edge_slowdown=2.0)
REQUEST = PlannedRequest(PLAN, profile(), frozenset({"conv2d", "relu"}))


def rows(trace: dict[str, Any]) -> dict[tuple[str, str], list[tuple[str, float, float]]]:
    """The events of each row as (name, start, length) in ms, by the names of its process and thread."""
    events = trace["traceEvents"]
    processes = {each["pid"]: each["args"]["name"] for each in events if each["name"] == "process_name"}
    threads = {(each["pid"], each["tid"]): each["args"]["name"] for each in events if each["name"] == "thread_name"}
    found: dict[tuple[str, str], list[tuple[str, float, float]]] = {}
    for each in events:
        if each["ph"] == "X":
            key = processes[each["pid"]], threads[each["pid"], each["tid"]]
            found.setdefault(key, []).append((each["name"], each["ts"] / 1000, each["dur"] / 1000))
    return found


@pytest.mark.parametrize("request_", [None, REQUEST])
def test_a_trace_fits_the_format_and_no_row_overlaps(request_: PlannedRequest | None) -> None:
    trace = json.loads(json.dumps(trace_events(profile(), request_), allow_nan=False))
    jsonschema.validate(trace, SCHEMA)
    for events in rows(trace).values():
        for (_, start, length), (_, following, _) in itertools.pairwise(events):
            assert start + length <= following + 1e-6


def test_without_a_plan_the_nodes_stand_in_sequence_beside_the_whole_model() -> None:
    found = rows(trace_events(profile()))
    assert found["nodes, measured one by one", "a small processor"] == [
        ("conv2d", 0.0, 2.0),
        ("relu", 2.0, 0.5),
        ("conv2d_1", 2.5, 3.0),
        ("linear", 5.5, 1.0),
    ]
    assert found["the whole model", "a small processor"] == [("whole model", 0.0, 6.0)]


def test_with_a_plan_a_request_goes_from_the_edge_over_the_link_to_the_cloud() -> None:
    found = rows(trace_events(profile(), REQUEST))
    predicted = "one request, predicted by the plan"
    assert found[predicted, "edge: a small processor"] == [
        ("edge half", 0.0, 12.0),
        ("defense", 12.0, 1.0),
        ("serialisation, both ways", 13.0, 1.0),
    ]
    assert found[predicted, "link"] == [("upload", 14.0, 8.0), ("download", 25.0, 8.0)]
    assert found[predicted, "cloud: a large processor"] == [("cloud half", 22.0, 3.0)]


def test_nodes_stand_where_they_run_and_a_declared_slowdown_counts_on_the_edge_alone() -> None:
    found = rows(trace_events(profile(), REQUEST))
    nodes = "nodes, measured one by one"
    assert found[nodes, "edge: a small processor"] == [("conv2d", 0.0, 4.0), ("relu", 4.0, 1.0)]
    assert found[nodes, "cloud: a large processor"] == [("conv2d_1", 22.0, 3.0), ("linear", 25.0, 1.0)]


def test_the_file_says_that_nodes_are_measured_alone_and_that_the_request_is_predicted() -> None:
    about = trace_events(profile(), REQUEST)["otherData"]
    assert "sum is not the model's latency" in about["nodes"]
    assert "predicted" in about["request"]
    assert "multiplied" in about["edge_slowdown"]
    assert "request" not in trace_events(profile())["otherData"]


def test_a_node_that_takes_no_time_is_left_out() -> None:
    shown = profile()
    quick = shown.nodes[1].model_copy(update={"timing": shown.nodes[1].timing.model_copy(update={"p50_ms": 0.0})})
    events = rows(trace_events(shown.model_copy(update={"nodes": (shown.nodes[0], quick)})))
    assert [name for name, _, _ in events["nodes, measured one by one", "a small processor"]] == ["conv2d"]
