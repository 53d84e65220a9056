"""Bar 1.2: which models of others trace, can be divided in the middle, split exactly, and keep gradients.

For every model: trace at batch 1; take cloud-only, edge-only, the proper cut nearest to the middle and up to three more
(one with several crossings where the graph has one); run the halves at batch 1, 3 and 8 and compare with the model bit
for bit; check that a gradient gets from each floating crossing to the floating inputs. A model without a proper cut, or
without a searchable one in its middle half, is a miss unless it is a single operation; so is one of which nothing was
compared. Misses are listed with their causes. Needs `make bench-env`.

    bench-env/bin/python benchmarks/tracing.py [--only torchvision,timm,huggingface] [--match TEXT] [--log FILE]
    bench-env/bin/python benchmarks/tracing.py --timing [--match TEXT]

`--log` keeps each model's result, and takes over those of the same revision: a run can be resumed. `--shard 0/2` and
`--shard 1/2` with one log can run at the same time; a last run without `--shard` reports them together. `--timing` is
another run: the whole of `trace` beside `torch.export.export` alone, on ten models that take long.
"""

from __future__ import annotations

import argparse
import gc
import json
import random
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from collabplan.graph import Cut, TracedGraph, candidate_cuts, close_values, dead_gradients, same_values, split, trace
from collabplan.graph.admission import evaluation_mode
from collabplan.graph.exporting import TRACED_BATCH
from report import bar, machine, revision
from torch import Tensor, nn
from torch.export import Dim
from zoo import ZooModel, left_out, timm_model, zoo

BATCHES = (1, 3, 8)
MIDDLE = (0.25, 0.75)
LARGE = (
    "cait_s24_224", "coat_small", "densenet201", "maxvit_tiny_tf_224", "mvitv2_small_cls", "pvt_v2_b5", "resnet152",
    "swin_small_patch4_window7_224", "twins_svt_base", "xcit_small_24_p16_224",
)  # fmt: skip
RATIO = 1.5
CHECKS = {
    "traced": "traced with a free batch",
    "divided": "a searchable cut in the middle half",
    "equal": "halves equal bit for bit",
    "alive": "live gradients",
}


def examine(entry: ZooModel, seed: int) -> dict[str, Any]:
    """One model's result: the checks (`alive` is None where no input is floating), and what went wrong."""
    result: dict[str, Any] = {
        "model": entry.name,
        "revision": revision(),
        **dict.fromkeys(CHECKS, False),
        "cause": None,
    }
    started = time.perf_counter()
    torch.manual_seed(seed)
    generator = torch.Generator().manual_seed(seed)
    try:
        model = entry.build().eval()
        inputs = {batch: entry.inputs(model, batch, generator) for batch in BATCHES}
        tracing = time.perf_counter()
        traced = trace_zoo(model, inputs[1])
        result["trace_seconds"] = round(time.perf_counter() - tracing, 1)
        result.update(traced=traced.dynamic_batch, method=traced.method, notes=list(traced.notes))
        every = candidate_cuts(traced)
        result.update(divisions(every))
        cuts = pick_cuts(every, random.Random(seed))
        result["cuts"] = [cut.name for cut in cuts]
        result["nodes"] = len(traced.flat.graph.nodes)
        result["causes_unequal"], result["compared"] = unequal(model, traced, cuts, inputs)
        result["equal"] = not result["causes_unequal"] and result["compared"] == len(cuts) * len(BATCHES)
        result["dead"], result["gradients"] = dead(traced, cuts)
        result["alive"] = not result["dead"] if result["gradients"] or result["dead"] else None
    except Exception as error:
        result["cause"] = f"{type(error).__name__}: {str(error)[:400]}"
    result["seconds"] = round(time.perf_counter() - started, 1)
    return result


def divisions(every: Sequence[Cut]) -> dict[str, Any]:
    """How many cuts there are, and whether one lies in the middle; `indivisible` says why none can exist."""
    proper = [cut for cut in every if cut.kind == "proper"]
    searchable = [cut for cut in proper if cut.searchable]
    middle = [cut for cut in searchable if MIDDLE[0] <= share(cut) <= MIDDLE[1]]
    graph = every[0].units
    found: dict[str, Any] = {"proper": len(proper), "searchable": len(searchable), "middle": len(middle)}
    if graph.count - graph.input_count - 1 <= 1:
        found["indivisible"] = "a single operation stands between input and output"
    return {**found, "divided": bool(middle) or "indivisible" in found}


def share(cut: Cut) -> float:
    """The share of the model's operations that the edge computes."""
    first = cut.units.input_count
    return float(cut.edge[first:-1].mean())


def trace_zoo(model: nn.Module, inputs: dict[str, Tensor]) -> TracedGraph:
    """Images go in by position, named inputs (transformers) by name."""
    return trace(model, (inputs["x"],)) if "x" in inputs else trace(model, (), inputs)


def call(runner: Any, inputs: dict[str, Tensor]) -> Any:
    """The same convention for a call."""
    return runner(inputs["x"]) if "x" in inputs else runner(**inputs)


def pick_cuts(every: Sequence[Cut], draw: random.Random) -> list[Cut]:
    """Cloud-only, edge-only, the middle, and three more proper cuts, one with several crossings where there is one."""
    proper = [cut for cut in every if cut.kind == "proper"]
    chosen = [cut for cut in every if cut.kind != "proper"]
    if proper:
        chosen.append(min(proper, key=lambda cut: (not cut.searchable, abs(share(cut) - 0.5))))
    several = [cut for cut in proper if len(cut.crossing) > 1 and cut not in chosen]
    chosen += [draw.choice(several)] if several else []
    rest = [cut for cut in proper if cut not in chosen]
    return chosen + draw.sample(rest, min(2 + (not several), len(rest)))


@torch.no_grad()
def unequal(
    model: nn.Module, traced: TracedGraph, cuts: Sequence[Cut], inputs: dict[int, dict[str, Tensor]]
) -> tuple[list[str], int]:
    """Where the halves differ from the model, by rounding or by more, and how many runs were compared."""
    torch.backends.mha.set_fastpath_enabled(False)  # the fused kernel rounds differently and has no gradient
    causes = []
    compared = 0
    halves = [split(traced, cut) for cut in cuts]
    for batch, given in inputs.items():
        if not traced.dynamic_batch and batch != traced.traced_batch:
            causes.append(f"batch {batch}: traced for batch {traced.traced_batch} only")
            continue
        expected = call(model, given)
        for half in halves:
            got = half.cloud(*call(half.edge, given))
            compared += 1
            if not same_values(got, expected):
                kind = "rounding" if close_values(got, expected) else "values"
                causes.append(f"batch {batch}, cut {half.cut.name}: {kind}")
    return causes, compared


def dead(traced: TracedGraph, cuts: Sequence[Cut]) -> tuple[list[str], int]:
    """Crossings that no gradient gets through, by flags and by a backward pass, and how many gradients arrived."""
    found = [f"{name}: {', '.join(operators)}" for name, operators in dead_gradients(traced, cuts).items()]
    inputs = [t.clone().requires_grad_(t.is_floating_point()) for t in traced.example_inputs]
    leaves = [tensor for tensor in inputs if tensor.requires_grad]
    arrived = 0
    for cut in cuts if leaves else ():
        with torch.enable_grad():
            edge: Any = split(traced, cut).edge
            crossing = edge.graph_module(*inputs)
        for tensor, record in zip(crossing, cut.crossing, strict=True):
            if record.public or not record.is_floating:
                continue
            gradients: Sequence[Tensor | None] = (None,)
            if tensor.requires_grad:
                gradients = torch.autograd.grad(tensor.sum(), leaves, allow_unused=True, retain_graph=True)
            if all(gradient is None for gradient in gradients):
                found.append(f"{record.name}: no gradient arrives")
            else:
                arrived += 1
    return found, arrived


def timing(match: str, seed: int, rounds: int) -> None:
    """`trace` beside `torch.export.export` on the models that take longest, in turn; the best of some rounds each."""
    trace(nn.Linear(2, 2), torch.randn(1, 2))  # what torch imports on first use is nobody's time
    ratios = {}
    for name in (name for name in LARGE if any(text in name for text in match.split(","))):
        entry = timm_model(name)
        torch.manual_seed(seed)
        model = entry.build().eval()
        inputs = entry.inputs(model, 1, torch.Generator().manual_seed(seed))
        with torch.no_grad():
            call(model, inputs)
        taken: dict[Callable[..., Any], list[float]] = {exported: [], trace_zoo: []}
        for _ in range(rounds):
            for which, seconds in taken.items():
                gc.collect()
                started = time.perf_counter()
                which(model, inputs)
                seconds.append(time.perf_counter() - started)
        theirs, ours = (min(seconds) for seconds in taken.values())
        ratios[name] = ours / theirs
        bar(
            "1.2", f"{entry.name}: trace over torch.export alone", round(ratios[name], 2), "ratio", target=RATIO,
            holds=ratios[name] <= RATIO, trace_seconds=round(ours, 1), export_seconds=round(theirs, 1), rounds=rounds,
        )  # fmt: skip
    worst = max(ratios.values(), default=None)
    bar(
        "1.2", "trace over torch.export alone, the worst", worst and round(worst, 2), "ratio", target=RATIO,
        holds=worst is not None and worst <= RATIO, models=len(ratios),
    )  # fmt: skip


def exported(model: nn.Module, inputs: dict[str, Tensor]) -> Any:
    """What `trace` asks of torch: the same examples at the same batch, which is free."""
    examples = {name: torch.cat([tensor] * TRACED_BATCH) for name, tensor in inputs.items()}
    shapes = {name: {0: Dim("batch")} for name in examples}
    with evaluation_mode(model):
        return torch.export.export(model, tuple(examples.values()), dynamic_shapes=tuple(shapes.values()))


def main() -> None:
    """Run and print the bars."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="torchvision,timm,huggingface")
    parser.add_argument("--match", default="", help="one of these texts, with commas between, is in the model's name")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--shard", default="0/1", help="which part of the models, of how many: 0/2, 1/2")
    parser.add_argument("--log", type=Path, help="append each model's result here, and take over this revision's")
    parser.add_argument("--timing", action="store_true", help="time ten large models, and nothing else")
    parser.add_argument("--rounds", type=int, default=2, help="of --timing")
    options = parser.parse_args()
    if options.timing:
        timing(options.match, options.seed, options.rounds)
    else:
        part, parts = map(int, options.shard.split("/"))
        done = read_log(options.log)
        for which in options.only.split(","):
            entries = [entry for entry in zoo(which) if any(text in entry.name for text in options.match.split(","))]
            results = []
            for entry in entries[part::parts]:
                result = done.get(entry.name) or examine(entry, options.seed)
                if options.log and entry.name not in done:
                    with options.log.open("a") as log:
                        log.write(json.dumps(result) + "\n")
                results.append(result)
                gc.collect()
            report(which, results)
    machine(("torch", "torchvision", "timm", "transformers"))


def read_log(path: Path | None) -> dict[str, dict[str, Any]]:
    """The results of this revision, by model."""
    if path is None or not path.exists():
        return {}
    results = [json.loads(line) for line in path.read_text().splitlines()]
    return {result["model"]: result for result in results if result["revision"] == revision()}


def report(which: str, results: Sequence[dict[str, Any]]) -> None:
    """The bars of one zoo, one line per miss, per indivisible model, and per family that is not there."""
    for key, what in CHECKS.items():
        asked = [bool(result[key]) for result in results if result[key] is not None]
        value = round(sum(asked) / len(asked), 4) if asked else None
        bar("1.2", f"{which}: {what}", value, "share", target=1.0, holds=bool(asked) and all(asked), models=len(asked))
    cuts = sorted(result.get("proper", 0) for result in results)
    if cuts:
        bar("1.2", f"{which}: proper cuts, least / median / most", [cuts[0], cuts[len(cuts) // 2], cuts[-1]], "cuts")
    for result in results:
        if any(result[key] is False for key in CHECKS):
            print(json.dumps({"miss": result["model"], **result}), flush=True)
        elif "indivisible" in result:
            print(json.dumps({"indivisible": result["model"], "reason": result["indivisible"]}), flush=True)
    for family, reason in left_out(which).items():
        print(json.dumps({"left_out": f"{which}/{family}", "reason": reason}), flush=True)


if __name__ == "__main__":
    main()
