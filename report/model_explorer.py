"""Node data for Google's Model Explorer: a number for each node, by which it colours a graph.

The format is that of `GraphNodeData` in Model Explorer's `node_data_builder.py`. A file without graph ids, as these
are, applies to whichever graph is open. Keys are ids of nodes, which in an ONNX file are their names: those that
`onnx_notes.annotate` gives them.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from ..records import Profile
from .node_figures import CutLeakage, by_defense, leakage_by_node, node_id

_LATENCY = [{"stop": 0, "bgColor": "#FFFFFF"}, {"stop": 1, "bgColor": "#0072B2"}]
"""From no time to the slowest node."""

_LEAKAGE = [
    {"value": 0.25, "bgColor": "#FEEDDE"},
    {"value": 0.5, "bgColor": "#FDBE85"},
    {"value": 0.75, "bgColor": "#FD8D3C"},
    {"value": 1, "bgColor": "#A63603"},
]
"""Colours by the index itself, so that those of two files can be compared. None of them says safe."""


def node_data(profile: Profile, figures: Iterable[CutLeakage]) -> dict[str, dict[str, Any]]:
    """The node data of a profile, by the name of a file for each.

    `latency-p50-ms.json` has every node. There is one file of leakage for each defense and support,
    `leakage-upper-end-none-estimated.json`, with the nodes at which the profile has a cut and `figures` a figure.

    Args:
        profile: the nodes with their times, and the cuts.
        figures: see `known_leakage`.
    """
    latencies = {node_id(node): node.timing.p50_ms for node in profile.nodes}
    files: dict[str, dict[str, Any]] = {
        "latency-p50-ms.json": {"results": _results(latencies), "gradient": _LATENCY},
    }
    ids = _ids(profile)
    for (defense, support), found in by_defense(figures).items():
        indices = {ids[node]: value for node, value in leakage_by_node(profile, found).items()}
        if indices:
            files[f"leakage-upper-end-{_slug(defense)}-{_slug(support)}.json"] = {
                "results": _results(indices),
                "thresholds": _LEAKAGE,
                "hideAggregatedStats": ["sum"],
            }
    return files


def _results(values: Mapping[str, float]) -> dict[str, dict[str, float]]:
    return {node: {"value": value} for node, value in values.items()}


def _ids(profile: Profile) -> dict[str, str]:
    """By the name of a node or input, its id. Model Explorer's ONNX adapter calls an input `[io]NAME`."""
    inputs = {each.node: f"[io]{each.name}" for cut in profile.cuts for each in cut.crossing}
    return inputs | {node.name: node_id(node) for node in profile.nodes}


def _slug(text: str) -> str:
    """A name for a file: `projection:rank=4 quantizer:bits=8` as `projection-rank-4-quantizer-bits-8`."""
    return re.sub(r"[^\w.]+", "-", text).strip("-")
