"""A made-up profile of the model of `report_plans`: four nodes, and cuts that one tensor or two cross."""

from __future__ import annotations

from typing import Any

from collabplan.records import Crossing, CutKind, CutProfile, DeviceIdentity, NodeProfile, Profile, Timing
from report_plans import MADE, MODEL, PLAN_TARGET

TIMES_MS = {"conv2d": 2.0, "relu": 0.5, "conv2d_1": 3.0, "linear": 1.0}


def timing(value: float) -> Timing:
    return Timing.from_samples([value, value, value])


def node(name: str, **changes: Any) -> NodeProfile:
    known: dict[str, Any] = {
        "name": name,
        "operator": f"aten.{name.split('_')[0]}.default",
        "module": f"module.{name}",
        "timing": timing(TIMES_MS[name]),
        "output_bytes": 64,
        "flops": 100,
        "parameter_count": 5,
    }
    return NodeProfile(**known | changes)


def cut(name: str, depth: int, *nodes: str, kind: CutKind = "proper", **changes: Any) -> CutProfile:
    known: dict[str, Any] = {
        "id": f"id-{name}",
        "name": name,
        "kind": kind,
        "depth": depth,
        "crossing": tuple(Crossing(name=each, node=each, dtype="float32", sample_shape=(4, 4)) for each in nodes),
        "searchable": True,
        "edge": None if kind == "cloud-only" else timing(float(depth)),
        "cloud": None if kind == "edge-only" else timing(6.5 - depth),
        "payload_bytes": 64,
        "edge_parameter_count": 5,
        "edge_parameter_bytes": 20,
        "edge_peak_bytes": 100,
        "edge_flops": 100,
    }
    return CutProfile(**known | changes)


def profile(**changes: Any) -> Profile:
    """The profile. `layer2.2` is crossed by `relu` alone, `layer1.1` by `relu` and `conv2d_1` together."""
    known: dict[str, Any] = {
        "target": PLAN_TARGET,
        "model": MODEL,
        "role": "both",
        "device": DeviceIdentity(device="cpu", name="a small processor", threads=1),
        "dtype": "float32",
        "batch": 1,
        "whole": timing(6.0),
        "node_sum_ms": sum(TIMES_MS.values()),
        "nodes": tuple(map(node, TIMES_MS)),
        "cuts": (
            cut("cloud-only", 0, "image", kind="cloud-only"),
            cut("layer2.2", 1, "relu"),
            cut("layer1.1", 2, "relu", "conv2d_1"),
            cut("edge-only", 3, "linear", kind="edge-only"),
        ),
        "sample_input_bytes": 64,
        "sample_output_bytes": 40,
        "peak_memory_method": "liveness",
        "provenance": MADE,
    }
    return Profile(**known | changes)
