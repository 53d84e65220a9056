"""Node data for Google's Model Explorer: a number for each node, by which it colours a graph.

The format is that of `GraphNodeData` in Model Explorer's `node_data_builder.py`. A file without graph ids, as these
are, applies to whichever graph is open. Keys are ids of nodes, which in an ONNX file are their names.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from ..records import Profile
from .node_figures import CutLeakage, by_defense, leakage_by_node

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
    latencies = {node.name: node.timing.p50_ms for node in profile.nodes}
    files = {"latency-p50-ms.json": {"results": _results(latencies), "gradient": _LATENCY}}
    for (defense, support), found in by_defense(figures).items():
        indices = leakage_by_node(profile, found)
        if indices:
            files[f"leakage-upper-end-{_slug(defense)}-{_slug(support)}.json"] = {
                "results": _results(indices) | _results(_of_inputs(profile, indices)),
                "thresholds": _LEAKAGE,
                "hideAggregatedStats": ["sum"],
            }
    return files


def _results(values: Mapping[str, float]) -> dict[str, dict[str, float]]:
    return {node: {"value": value} for node, value in values.items()}


def _of_inputs(profile: Profile, values: Mapping[str, float]) -> dict[str, float]:
    """The same at inputs of the model, which Model Explorer's ONNX adapter calls `[io]NAME`."""
    computed = {node.name for node in profile.nodes}
    crossing = (each for cut in profile.cuts for each in cut.crossing)
    return {f"[io]{each.name}": values[each.node] for each in crossing if each.node in values.keys() - computed}


def _slug(text: str) -> str:
    """A name for a file: `projection:rank=4 quantizer:bits=8` as `projection-rank-4-quantizer-bits-8`."""
    return re.sub(r"[^\w.]+", "-", text).strip("-")
