"""Edge memory by liveness, against a small graph worked out by hand and against a slow computation."""

from types import SimpleNamespace

import torch
from collabplan.graph import Cut, TracedGraph, candidate_cuts
from collabplan.profilers.memory import EdgeUse
from collabplan.profilers.nodes import GraphFacts, collect_facts
from torch import fx, nn

aten = torch.ops.aten


def chain() -> tuple[EdgeUse, list[str]]:
    """x (24 bytes) -> relu -> view -> neg -> cat(neg, neg) (48 bytes) -> mul by a weight (4 bytes)."""
    root = nn.Module()
    root.weight = nn.Parameter(torch.ones(1))
    graph = fx.Graph()
    x = graph.placeholder("x")
    weight = graph.get_attr("weight")
    relu = graph.call_function(aten.relu.default, (x,))
    view = graph.call_function(aten.view.default, (relu, [6]))
    neg = graph.call_function(aten.neg.default, (view,))
    cat = graph.call_function(aten.cat.default, ([neg, neg],))
    mul = graph.call_function(aten.mul.Tensor, (cat, weight))
    graph.output((mul,))
    flat = fx.GraphModule(root, graph)
    with torch.inference_mode():
        facts = collect_facts(flat, [torch.ones(2, 3)])
    return EdgeUse(flat, facts), [node.name for node in (relu, view, neg, cat, mul)]


def crossing(*names: str) -> Cut:
    return SimpleNamespace(crossing=[SimpleNamespace(node=name) for name in names])  # type: ignore[return-value]


def test_peak_counts_inputs_weights_and_what_lives_at_once() -> None:
    use, (relu, view, neg, cat, mul) = chain()
    assert use.memory(crossing(relu)).peak_bytes == 24 + 24
    assert use.memory(crossing(view)).peak_bytes == 24 + 24  # a view takes nothing
    assert use.memory(crossing(neg)).peak_bytes == 24 + 24 + 24
    assert use.memory(crossing(cat)).peak_bytes == 24 + 24 + 48  # relu's block is free again
    assert use.memory(crossing(mul)).peak_bytes == 24 + 48 + 48 + 4
    assert use.memory(crossing(relu, cat)).peak_bytes == 24 + 24 + 24 + 48  # what crosses stays


def test_only_the_weights_that_the_edge_reads_count() -> None:
    use, names = chain()
    before, after = use.memory(crossing(names[3])), use.memory(crossing(names[4]))
    assert (before.parameter_count, before.weight_bytes) == (0, 0)
    assert (after.parameter_count, after.weight_bytes) == (1, 4)


def test_a_cut_before_everything_holds_the_input_alone() -> None:
    use, _ = chain()
    assert use.memory(crossing("x")).peak_bytes == 24


def slow_peak(use: EdgeUse, facts: GraphFacts, cut: Cut) -> int:
    """Liveness as one would do it by hand, step by step."""
    nodes = use.nodes_of(cut)
    blocks = {node.name: set(facts.nodes[node.name].storages) for node in use.nodes}
    of = {
        op: set[int]().union(*(blocks[n.name] for n in use.nodes if n.op == op)) for op in ("placeholder", "get_attr")
    }
    weights = set[int]().union(*(blocks[node.name] for node in nodes)) & of["get_attr"]
    kept = set[int]().union(*(blocks[made.node] for made in cut.crossing))
    peak = 0
    for step in range(len(nodes) + 1):
        born = set[int]().union(*(blocks[node.name] for node in nodes[: step + 1]))
        later = [*nodes[step:]]
        read = set[int]().union(
            *(blocks[n.name] | set().union(*(blocks[s.name] for s in n.all_input_nodes)) for n in later)
        )
        live = born & (read | kept) | of["placeholder"] | weights
        peak = max(peak, sum(facts.storage_bytes[block] for block in live - (of["get_attr"] - weights)))
    return peak


def test_the_fast_liveness_equals_the_slow_one(residual: TracedGraph, transformer: TracedGraph) -> None:
    for traced in (residual, transformer):
        with torch.inference_mode():
            facts = collect_facts(traced.flat, traced.example_inputs)
        use = EdgeUse(traced.flat, facts)
        for cut in candidate_cuts(traced):
            assert use.memory(cut).peak_bytes == slow_peak(use, facts, cut), cut.name


def test_tied_parameters_count_once(transformer: TracedGraph) -> None:
    with torch.inference_mode():
        use = EdgeUse(transformer.flat, collect_facts(transformer.flat, transformer.example_inputs))
    whole = use.memory(candidate_cuts(transformer)[-1])
    assert whole.parameter_count == 20 * 16 + 32 * 16 + (48 * 16 + 48) + 2 * 16
