"""Every node depends on private values, on public inputs, on shapes, or on nothing."""

from collabplan.graph import TracedGraph
from collabplan.graph.node_kinds import classify


def test_values_spread_to_everything_that_reads_them(skip: TracedGraph) -> None:
    kinds = classify(skip.flat.graph, skip.inputs, skip.batch_symbol)
    assert kinds == skip.kinds
    assert {kinds[name] for name in ("x", "linear", "add", "mul")} == {"value"}


def test_a_public_input_and_weights_are_no_values(skip: TracedGraph) -> None:
    assert skip.kinds["mask"] == "public"
    assert {skip.kinds[node.name] for node in skip.flat.graph.nodes if node.op == "get_attr"} == {"constant"}


def test_without_public_inputs_all_inputs_are_values(skip: TracedGraph) -> None:
    from dataclasses import replace

    private = [replace(spec, public=False) for spec in skip.inputs]
    assert classify(skip.flat.graph, private, skip.batch_symbol)["mask"] == "value"
