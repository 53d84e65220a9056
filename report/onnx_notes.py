"""Writes the figures of a profile into an ONNX model, where Netron and other viewers show them.

Each node gets its latency and each tensor that crosses a cut the cut's figures: as `metadata_props`, one for each
figure, and again as `doc_string`, which older viewers show. Nodes are named by module and name, as in node data for
Model Explorer. Nothing that computes is changed.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ..records import Profile
from .node_figures import CutLeakage, crossing_nodes, cut_note, leakage_notes, node_id, node_notes

ABOUT = (
    "Figures by collabplan. Times are medians; each node was measured alone, and the sum over nodes is not the model's "
    "latency. A leakage index is 0 where attackers do no better than the prior and 1 where they recover the input; in "
    "brackets is its interval. What is estimated or attacked at quick effort proves no privacy: a stronger attacker "
    "may recover more."
)


def annotate(model: Any, nodes: Mapping[str, Any], profile: Profile, figures: Sequence[CutLeakage]) -> int:
    """Write what is known of nodes and cuts into an ONNX model.

    Args:
        model: an `onnx.ModelProto`.
        nodes: by the name of a profiled node, the ONNX node that makes its result. Others from the same node are called
            `NAME.1`, `NAME.2`.
        profile: of the same model.
        figures: see `node_figures.known_leakage`.

    Returns:
        The number of profiled nodes that the model has.
    """
    places = {value.name: value for value in model.graph.input} | dict(nodes)
    crossing: dict[str, list[str]] = {name: [] for name in places}
    leaking: dict[str, list[str]] = {name: [] for name in places}
    for cut in profile.cuts:
        names = {each.node: each.name for each in cut.crossing}
        for node in crossing_nodes(cut):
            place = node if node in nodes else names[node]
            if place in places:
                crossing[place].append(cut_note(cut))
                leaking[place] += leakage_notes(cut, figures)
    measured = {node.name: node_notes(node) for node in profile.nodes if node.name in nodes}
    for name, place in places.items():
        notes = measured.get(name, {}) | _numbered("cut", crossing[name]) | _numbered("leakage", leaking[name])
        _write(place, notes)
        if notes:
            place.doc_string = "\n".join(f"{key}: {text}" for key, text in notes.items())
    _write(model, {"machine": profile.device.name, "whole model": f"{profile.whole.p50_ms:.6g} ms"})
    _write(model, _numbered("cut", map(cut_note, profile.cuts)))
    _write(model, _numbered("leakage", (note for cut in profile.cuts for note in leakage_notes(cut, figures))))
    model.doc_string = ABOUT
    ids = {node.name: node_id(node) for node in profile.nodes}
    for node in model.graph.node:
        name, dot, number = node.name.partition(".")
        node.name = ids.get(name, name) + dot + number
    return len(measured)


def _numbered(key: str, texts: Iterable[str]) -> dict[str, str]:
    """`cut`, `cut 2`, ...: every key of a place is another, and viewers cut long ones off."""
    return {f"{key} {number}" if number > 1 else key: text for number, text in enumerate(texts, start=1)}


def _write(place: Any, notes: Mapping[str, str]) -> None:
    for key, text in notes.items():
        place.metadata_props.add(key=key, value=text)
