"""The node breakdown: what is known of a node, and that unknown is never zero."""

import torch
from collabplan.graph import TracedGraph
from collabplan.profilers.nodes import MIN_RUNS, collect_facts, time_nodes
from collabplan.profilers.timers import WallTimer, quiet
from collabplan.records import Profile
from torch import fx, nn

aten = torch.ops.aten


def test_views_and_sizes_are_a_true_zero(transformer: TracedGraph) -> None:
    facts = collect_facts(transformer.flat, transformer.example_inputs)
    nodes = {node.name: node for node in transformer.flat.graph.nodes}
    zero = {str(nodes[name].target) for name, fact in facts.nodes.items() if fact.flops == 0}
    unknown = {str(nodes[name].target) for name, fact in facts.nodes.items() if fact.flops is None}
    assert {"aten.transpose.int", "aten.sym_size.int"} <= zero
    assert {"aten.embedding.default", "aten.add.Tensor"} <= unknown
    assert not any("linear" in target for target in zero | unknown)


def test_a_view_has_the_memory_of_what_it_views() -> None:
    graph = fx.Graph()
    x = graph.placeholder("x")
    made = graph.call_function(aten.relu.default, (x,))
    view = graph.call_function(aten.view.default, (made, [6]))
    last = graph.call_function(aten.neg.default, (view,))
    graph.output((last,))
    facts = collect_facts(fx.GraphModule(nn.Module(), graph), [torch.ones(2, 3)])
    assert facts.nodes[view.name].storages == facts.nodes[made.name].storages
    assert facts.nodes[last.name].storages != facts.nodes[made.name].storages
    assert [facts.nodes[node.name].output_bytes for node in (x, made, view, last)] == [24, 24, 24, 24]


def test_every_call_gets_the_same_number_of_samples(residual: TracedGraph) -> None:
    with quiet(1):
        samples = time_nodes(residual.flat, residual.example_inputs, WallTimer(), seconds=0.0)
    calls = [node.name for node in residual.flat.graph.nodes if node.op == "call_function"]
    assert list(samples) == calls
    assert {len(times) for times in samples.values()} == {MIN_RUNS}


def test_the_profile_names_operator_module_and_parameters(profile: Profile) -> None:
    stem = next(node for node in profile.nodes if node.module == "stem")
    assert stem.operator == "aten.conv2d.default"
    assert stem.parameter_count == 3 * 8 * 9 + 8
    assert stem.flops == 2 * (2 * 16 * 16 * 3 * 8 * 9)
    assert stem.output_bytes == 4 * 2 * 8 * 16 * 16
    assert stem.timing.samples_ms
    assert profile.node_sum_ms == sum(node.timing.p50_ms for node in profile.nodes)
