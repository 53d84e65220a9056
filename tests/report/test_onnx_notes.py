"""Figures in an ONNX model, each at its node or input. A stand-in has the fields that are written."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import report_plans as made
from collabplan.report.node_figures import CutLeakage
from collabplan.report.onnx_notes import annotate
from report_profiles import TIMES_MS, profile


class Props(list[tuple[str, str]]):
    """As protobuf's repeated field of `StringStringEntryProto`."""

    def add(self, key: str, value: str) -> None:
        assert key not in dict(self), f"{key} is written twice"
        self.append((key, value))


def place(name: str) -> Any:
    return SimpleNamespace(name=name, metadata_props=Props(), doc_string="")


def annotated(*names: str) -> tuple[Any, dict[str, Any], int]:
    nodes = {name: place(name) for name in names}
    graph = SimpleNamespace(input=[place("image")], node=[place("conv2d.1"), *nodes.values(), place("node_Shape_0")])
    model = SimpleNamespace(graph=graph, metadata_props=Props(), doc_string="")
    leaks = [
        CutLeakage("id-layer2.2", "none", "estimated", made.interval(0.5, 0.4, 0.6)),
        CutLeakage("id-layer1.1", "none", "attacked at quick effort", made.interval(0.8, 0.7, 0.9)),
    ]
    return model, nodes, annotate(model, nodes, profile(), leaks)


def test_a_node_has_its_times_and_the_cuts_that_it_crosses() -> None:
    _, nodes, count = annotated(*TIMES_MS)
    notes = dict(nodes["relu"].metadata_props)
    assert count == 4
    assert notes["p50_ms"] == "0.5"
    assert notes["cut"].startswith("layer2.2: edge")
    assert notes["cut 2"].startswith("layer1.1: crosses with relu and conv2d_1")
    assert notes["leakage"] == "0.500 [0.400, 0.600] at layer2.2 under none, estimated"
    assert notes["leakage 2"] == "0.800 [0.700, 0.900] at layer1.1 under none, attacked at quick effort"
    assert "cut" not in dict(nodes["conv2d"].metadata_props)
    assert nodes["relu"].doc_string.splitlines()[0] == "p50_ms: 0.5"


def test_nodes_are_named_by_their_modules_as_in_node_data() -> None:
    model, _, _ = annotated("conv2d", "relu")
    names = ["module/conv2d/conv2d.1", "module/conv2d/conv2d", "module/relu/relu", "node_Shape_0"]
    assert [node.name for node in model.graph.node] == names


def test_an_input_and_the_model_have_theirs_and_the_model_says_what_they_do_not_mean() -> None:
    model, _, _ = annotated(*TIMES_MS)
    assert dict(model.graph.input[0].metadata_props) == {
        "cut": "cloud-only: cloud 6.50 ms, 64 B a sample undefended",
    }
    told = dict(model.metadata_props)
    assert [key for key in told if key.startswith("cut")] == ["cut", "cut 2", "cut 3", "cut 4"]
    assert told["machine"] == "a small processor"
    assert "proves no privacy" in model.doc_string


def test_a_node_that_the_model_lacks_is_not_counted() -> None:
    _, nodes, count = annotated("conv2d", "relu")
    assert count == 2
    assert set(nodes) == {"conv2d", "relu"}
