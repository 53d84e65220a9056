"""Writes the figures of a profile into an ONNX model, where Netron and other viewers show them.

Each node gets its latency and each tensor that crosses a cut the cut's figures: as `metadata_props`, one for each
figure, and again as `doc_string`, which older viewers show. Nothing that computes is changed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ..records import Profile
from .node_figures import CutLeakage, crossing_nodes, cut_notes, node_notes

PREFIX = "collabplan "
"""Begins every key, which other tools may write too."""

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
        nodes: by the name of a profiled node, the ONNX node that makes its result.
        profile: of the same model.
        figures: see `node_figures.known_leakage`.

    Returns:
        The number of profiled nodes that the model has.
    """
    places = {value.name: value for value in model.graph.input} | dict(nodes)
    notes: dict[str, dict[str, str]] = {name: {} for name in places}
    profiled = [node for node in profile.nodes if node.name in nodes]
    for node in profiled:
        notes[node.name].update(node_notes(node))
    _write(model, {"whole model, latency_p50_ms": f"{profile.whole.p50_ms:.6g}", "machine": profile.device.name})
    for cut in profile.cuts:
        found = cut_notes(cut, figures)
        _write(model, found)
        names = {each.node: each.name for each in cut.crossing}
        for node_name in crossing_nodes(cut):
            place = node_name if node_name in places else names[node_name]
            if place in places:
                notes[place].update(found)
    for name, written in notes.items():
        if written:
            _write(places[name], written)
            places[name].doc_string = _lines(written)
    model.doc_string = ABOUT
    return len(profiled)


def _write(place: Any, notes: Mapping[str, str]) -> None:
    for name, text in notes.items():
        place.metadata_props.add(key=PREFIX + name, value=text)


def _lines(notes: Mapping[str, str]) -> str:
    return "\n".join(f"{name}: {text}" for name, text in notes.items())
