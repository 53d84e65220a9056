"""Bar 1.2: which models of others trace, split equal to themselves bit for bit, and keep their gradients.

For every model: trace at batch 1, take 3 cuts at random (one with more than one crossing where the graph has
one), run the halves at batch 1, 3 and 8 and compare with the model bit for bit; check that a gradient gets from each
floating crossing to the floating inputs. A miss is listed with its cause. Needs `make bench-env`.

    bench-env/bin/python benchmarks/tracing.py [--only torchvision,timm,huggingface] [--match TEXT] [--log FILE]
"""

from __future__ import annotations

import argparse
import gc
import json
import random
import time
from pathlib import Path
from typing import Any

import torch
from collabplan.graph import Cut, TracedGraph, candidate_cuts, close_values, dead_gradients, same_values, split, trace
from report import bar, machine
from torch import Tensor, nn
from zoo import ZooModel, zoo

BATCHES = (1, 3, 8)


def examine(entry: ZooModel, seed: int) -> dict[str, Any]:
    """One model's result: traced, equal, alive, and what went wrong."""
    result: dict[str, Any] = {"model": entry.name, "traced": False, "equal": False, "alive": False, "cause": None}
    started = time.perf_counter()
    torch.manual_seed(seed)
    generator = torch.Generator().manual_seed(seed)
    try:
        model = entry.build().eval()
        inputs = {batch: entry.inputs(model, batch, generator) for batch in BATCHES}
        traced = trace_zoo(model, inputs[1])
        result.update(traced=True, method=traced.method, notes=list(traced.notes))
        cuts = pick_cuts(traced, random.Random(seed))
        result["cuts"] = [cut.name for cut in cuts]
        result["nodes"] = len(traced.flat.graph.nodes)
        result["causes_unequal"] = unequal(model, traced, cuts, inputs)
        result["equal"] = not result["causes_unequal"]
        result["dead"] = dead(traced, cuts)
        result["alive"] = not result["dead"]
    except Exception as error:
        result["cause"] = f"{type(error).__name__}: {str(error)[:400]}"
    result["seconds"] = round(time.perf_counter() - started, 1)
    return result


def trace_zoo(model: nn.Module, inputs: dict[str, Tensor]) -> TracedGraph:
    """Images go in by position, named inputs (transformers) by name."""
    return trace(model, (inputs["x"],)) if "x" in inputs else trace(model, (), inputs)


def call(runner: Any, inputs: dict[str, Tensor]) -> Any:
    """The same convention for a call."""
    return runner(inputs["x"]) if "x" in inputs else runner(**inputs)


def pick_cuts(traced: TracedGraph, draw: random.Random) -> list[Cut]:
    """Three proper cuts, one of them with several crossings where there is one."""
    proper = [cut for cut in candidate_cuts(traced) if cut.kind == "proper"]
    several = [cut for cut in proper if len(cut.crossing) > 1]
    chosen = [draw.choice(several)] if several else []
    rest = [cut for cut in proper if cut not in chosen]
    return chosen + draw.sample(rest, min(3 - len(chosen), len(rest)))


@torch.no_grad()
def unequal(model: nn.Module, traced: TracedGraph, cuts: list[Cut], inputs: dict[int, dict[str, Tensor]]) -> list[str]:
    """Where the halves differ from the model, and whether by rounding or by more."""
    torch.backends.mha.set_fastpath_enabled(False)  # the fused kernel rounds differently and has no gradient
    causes = []
    halves = [split(traced, cut) for cut in cuts]
    for batch, given in inputs.items():
        if not traced.dynamic_batch and batch != traced.traced_batch:
            causes.append(f"batch {batch}: traced for batch {traced.traced_batch} only")
            continue
        expected = call(model, given)
        for half in halves:
            got = half.cloud(*call(half.edge, given))
            if not same_values(got, expected):
                kind = "rounding" if close_values(got, expected) else "values"
                causes.append(f"batch {batch}, cut {half.cut.name}: {kind}")
    return causes


def dead(traced: TracedGraph, cuts: list[Cut]) -> list[str]:
    """Crossings that no gradient gets through, by flags and by an actual backward pass."""
    found = [f"{name}: {', '.join(operators)}" for name, operators in dead_gradients(traced, cuts).items()]
    inputs = [t.clone().requires_grad_(t.is_floating_point()) for t in traced.example_inputs]
    leaves = [tensor for tensor in inputs if tensor.requires_grad]
    if not leaves:
        return found
    for cut in cuts:
        with torch.enable_grad():
            crossing = split(traced, cut).edge.graph_module(*inputs)
        for tensor, record in zip(crossing, cut.crossing, strict=True):
            if record.is_floating and tensor.requires_grad:
                gradients = torch.autograd.grad(tensor.sum(), leaves, allow_unused=True, retain_graph=True)
                if all(gradient is None for gradient in gradients):
                    found.append(f"{record.name}: no gradient arrives")
    return found


def main() -> None:
    """Run and print the bars."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", default="torchvision,timm,huggingface")
    parser.add_argument("--match", default="")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--log", type=Path, help="append each model's result here, and skip models already there")
    options = parser.parse_args()
    done: dict[str, dict[str, Any]] = {}
    if options.log and options.log.exists():
        done = {r["model"]: r for r in map(json.loads, options.log.read_text().splitlines())}
    for which in options.only.split(","):
        results = []
        for entry in zoo(which):
            if options.match not in entry.name:
                continue
            result = done.get(entry.name) or examine(entry, options.seed)
            if options.log and entry.name not in done:
                with options.log.open("a") as log:
                    log.write(json.dumps(result) + "\n")
            results.append(result)
            gc.collect()
        report(which, results)
    machine(("torch", "torchvision", "timm", "transformers"))


def report(which: str, results: list[dict[str, Any]]) -> None:
    """Three bars per zoo, then one line per miss."""
    count = len(results)
    for key, what in (("traced", "traced"), ("equal", "halves equal bit for bit"), ("alive", "live gradients")):
        share = sum(bool(result[key]) for result in results) / max(count, 1)
        bar("1.2", f"{which}: {what}", round(share, 4), "share", target=1.0, holds=share == 1.0, models=count)
    for result in results:
        if not (result["traced"] and result["equal"] and result["alive"]):
            print(
                json.dumps({"miss": result["model"], **{k: v for k, v in result.items() if k != "model"}}), flush=True
            )


if __name__ == "__main__":
    main()
