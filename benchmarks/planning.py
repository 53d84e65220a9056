"""Bar 1.4: enumerating the cuts and finding the cheapest one, against networkx's minimum cut on the same graph.

bench-env/bin/python benchmarks/planning.py [--repeats 5]
"""

from __future__ import annotations

import argparse
import importlib
import random
import statistics
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial

import networkx as nx
import torch
from collabplan.graph import TracedGraph, candidate_cuts, cheapest_cut, trace
from collabplan.graph.units import units
from report import bar, machine
from zoo import torchvision_module


def seconds(function: Callable[[], object], repeats: int) -> float:
    """Median wall time of a call."""
    times = []
    for _ in range(repeats):
        started = time.perf_counter()
        function()
        times.append(time.perf_counter() - started)
    return statistics.median(times)


def _plan_fresh(traced: TracedGraph, given: tuple[dict[str, float], dict[str, float], dict[str, float]]) -> None:
    _plan(fresh(traced), given)


def fresh(traced: TracedGraph) -> TracedGraph:
    """The same trace without what earlier calls have kept."""
    return replace(traced)


def costs(traced: TracedGraph) -> tuple[dict[str, float], dict[str, float], dict[str, float]]:
    """Random but fixed milliseconds per node."""
    draw = random.Random(0)
    names = [node.name for node in traced.flat.graph.nodes if traced.kinds.get(node.name) == "value"]
    on_edge = {name: draw.uniform(0.05, 1.0) for name in names}
    on_cloud = {name: cost / 10 for name, cost in on_edge.items()}
    sending = {name: draw.uniform(0.5, 20.0) for name in names}
    return on_edge, on_cloud, {**sending, "output": 1.0}


def reference_cut(traced: TracedGraph) -> float:
    """The same minimum cut by networkx (its default algorithm), from the same unit graph."""
    graph = units(traced)
    on_edge, on_cloud, sending = costs(traced)
    network = nx.DiGraph()
    for index, head in enumerate(graph.heads):
        forced = index < graph.input_count
        cloud = on_cloud.get(head.name, 0.0) + (sending["output"] if head.op == "output" else 0.0)
        network.add_edge("s", index, capacity=float("inf") if forced else cloud)
        network.add_edge(index, "t", capacity=0.0 if forced else on_edge.get(head.name, 0.0))
    readers = graph.readers.tocoo()
    for index, tensor in enumerate(graph.tensors):
        network.add_edge(tensor.unit, f"t{index}", capacity=sending.get(tensor.node.name, 0.0))
    for tensor, reader in zip(readers.row, readers.col, strict=True):
        network.add_edge(f"t{tensor}", int(reader))
        network.add_edge(int(reader), graph.tensors[tensor].unit)
    value, _ = nx.minimum_cut(network, "s", "t")
    return float(value)


def main() -> None:
    """Print the two bars, and the references."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    torchvision = torchvision_module()
    timm = importlib.import_module("timm")
    large = timm.create_model("coat_tiny", pretrained=False)
    small = torchvision.models.resnet50(weights=None)
    larger = torchvision.models.swin_v2_b(weights=None)
    table = (("coat_tiny", large, 1.0, 0), ("swin_v2_b", larger, 1.0, 2400), ("resnet50", small, 0.1, 0))
    for label, model, limit, at_least in table:
        traced = trace(model, torch.randn(1, 3, 224, 224))
        nodes = exported_nodes(model)
        given = costs(traced)
        proper = [cut for cut in candidate_cuts(traced) if cut.kind == "proper"]
        whole = seconds(partial(_plan_fresh, traced, given), options.repeats)
        reference = seconds(partial(reference_cut, traced), 1)
        bar(
            "1.4",
            f"enumeration and minimum cut, {label}",
            round(whole, 4),
            "s",
            target=limit,
            holds=whole < limit and nodes >= at_least and bool(proper),
            reference={"networkx minimum_cut alone": round(reference, 3), "ratio": round(whole / reference, 4)},
            exported_nodes=nodes,
            normalised_nodes=len(traced.flat.graph.nodes),
            units=units(traced).count,
            proper_cuts=len(proper),
        )
    machine(("torch", "scipy", "networkx", "timm", "torchvision"))


@torch.no_grad()
def exported_nodes(model: torch.nn.Module) -> int:
    """The size of the graph as torch.export hands it out, before the normalisation that shrinks it."""
    program = torch.export.export(model.eval(), (torch.randn(2, 3, 224, 224),), strict=False)
    return len(program.run_decompositions({}).graph.nodes)


def _plan(traced: TracedGraph, given: tuple[dict[str, float], dict[str, float], dict[str, float]]) -> None:
    candidate_cuts(traced)
    cheapest_cut(traced, *given)


if __name__ == "__main__":
    main()
