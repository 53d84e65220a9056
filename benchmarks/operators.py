"""Which operators and layers of torch's documentation trace, split and reload equal to themselves, gradients included.

Every case of `operator_cases.py` is put between two plain operators (`op(tanh(x)) * 2`), so that a cut lies in front
of it. Traced at batch 2; at two other batches the halves at up to four proper cuts, and the halves that were written to
files and read back, are compared with the model bit for bit. The gradient of the halves is compared with the model's
own. A case without a proper cut is a miss. Random and data-dependent cases must be refused, with the user's line.

    .venv/bin/python benchmarks/operators.py [--match TEXT] [--log FILE]
"""

from __future__ import annotations

import argparse
import functools
import json
import re
import tempfile
import time
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from collabplan.graph import Halves, candidate_cuts, close_values, load_program, same_values, save_program, split, trace
from collabplan.records import CollabplanError
from operator_cases import Case, cases
from report import bar, machine
from torch import Tensor, nn
from torch.utils import _pytree as pytree

BATCHES = (3, 5)
MOST_CUTS = 4
LINE = re.compile(r"operator_cases\.py\D+\d+|operators\.py\D+\d+")


class Between(nn.Module):
    """`op(tanh(x), ...) * 2`: something in front of the operator and something behind it."""

    def __init__(self, case: Case) -> None:
        super().__init__()
        self.call = case.call

    def forward(self, x: Tensor, *others: Tensor) -> Any:
        return pytree.tree_map_only(Tensor, lambda leaf: leaf * 2, self.call(torch.tanh(x), *others))


def examine(case: Case) -> dict[str, Any]:
    """One case's result: traced, equal, reloaded, gradients; or why it was refused."""
    result: dict[str, Any] = {"operator": case.name, "kind": case.kind, "traced": False}
    started = time.perf_counter()
    model = Between(case).eval()
    try:
        traced = trace(model, case.inputs(2, 0))
    except Exception as error:
        refused = isinstance(error, CollabplanError)
        result.update(refused=refused, named=bool(LINE.search(str(error))), cause=f"{type(error).__name__}: {error}")
        return result
    proper = [cut for cut in candidate_cuts(traced) if cut.kind == "proper"]
    chosen = proper if len(proper) <= MOST_CUTS else [proper[0], proper[1], proper[len(proper) // 2], proper[-1]]
    causes = [] if chosen else ["no proper cut"]
    causes += [] if traced.dynamic_batch else [f"static: {traced.notes[-1]}"]
    batches = BATCHES if traced.dynamic_batch else (traced.traced_batch,)
    halves = [split(traced, cut) for cut in chosen]
    unequal = compare(model, halves, case, batches)
    with tempfile.TemporaryDirectory() as folder:
        changed = compare(model, halves, case, batches, Path(folder))
    wrong = gradients(model, halves, case)
    result.update(
        traced=True, method=traced.method, cuts=len(proper), equal=bool(chosen) and not unequal,
        reloaded=bool(chosen) and not changed, gradients=bool(chosen) and not wrong,
        causes=[*causes, *unequal, *changed, *wrong], seconds=round(time.perf_counter() - started, 2),
    )  # fmt: skip
    return result


@torch.no_grad()
def compare(
    model: nn.Module, halves: Sequence[Halves], case: Case, batches: Sequence[int], folder: Path | None = None
) -> list[str]:
    """Where the halves, written to `folder` and read back where one is given, differ from the model."""
    causes = []
    for half in halves:
        edge, cloud = (half.edge, half.cloud) if folder is None else reloaded(half, folder)
        for batch in batches:
            inputs = case.inputs(batch, batch)
            expected = model(*inputs)
            got = cloud(*edge(*inputs))
            if not same_values(got, expected):
                how = "rounding" if close_values(got, expected) else "values"
                causes.append(f"{'files' if folder else 'halves'}, batch {batch}, cut {half.cut.name}: {how}")
    return causes


def reloaded(half: Halves, folder: Path) -> tuple[nn.Module, nn.Module]:
    """The two halves by way of files."""
    for name, program in (("edge", half.edge), ("cloud", half.cloud)):
        (folder / name).mkdir(exist_ok=True)
        save_program(program, folder / name)
    return load_program(folder / "edge"), load_program(folder / "cloud")


def gradients(model: nn.Module, halves: Sequence[Halves], case: Case) -> list[str]:
    """Where the gradient of a weighted sum of the outputs, by way of the halves, is not the model's own."""
    batch = 2 if halves and not halves[0].cut.units.traced.dynamic_batch else BATCHES[0]
    inputs = case.inputs(batch, 7)
    expected = gradient(model, inputs)
    causes = []
    for half in halves:
        got = gradient(lambda *given, half=half: half.cloud(*half.edge(*given)), inputs)
        if not same_values(got, expected):
            how = "rounding" if close_values(got, expected) else "values"
            causes.append(f"gradient, cut {half.cut.name}: {how}")
    return causes


def gradient(call: Any, inputs: Sequence[Tensor]) -> list[Tensor] | str:
    """The gradient by input, zeros where the output does not depend on it; what torch says where it has none."""
    leaves = [tensor.clone().requires_grad_() for tensor in inputs]
    try:
        return _gradient(call, leaves)
    except (RuntimeError, NotImplementedError) as error:
        return str(error).splitlines()[0]


def _gradient(call: Any, leaves: list[Tensor]) -> list[Tensor]:
    outputs = [leaf for leaf in pytree.tree_leaves(call(*leaves)) if isinstance(leaf, Tensor) and leaf.requires_grad]
    if not outputs:
        return [torch.zeros_like(leaf) for leaf in leaves]
    weighted = [(leaf.abs() * torch.linspace(1, 2, leaf.numel()).reshape(leaf.shape)).sum() for leaf in outputs]
    total = functools.reduce(torch.add, weighted)
    found = torch.autograd.grad(total, leaves, allow_unused=True)
    return [torch.zeros_like(leaf) if grad is None else grad for leaf, grad in zip(leaves, found, strict=True)]


def main() -> None:
    """Run and print the bars."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--match", default="")
    parser.add_argument("--log", type=Path, help="append each case's result here")
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    torch.backends.mha.set_fastpath_enabled(False)  # the fused kernel rounds differently and has no gradient
    results = []
    for case in cases():
        if options.match in case.name:
            results.append(examine(case))
            if options.log:
                with options.log.open("a") as log:
                    log.write(json.dumps(results[-1]) + "\n")
    report(results)
    machine(("torch",))


def report(results: Sequence[dict[str, Any]]) -> None:
    """The bars, then one line per miss."""
    wanted = [result for result in results if result["kind"] == "deterministic"]
    traced = [result for result in wanted if result["traced"]]
    others = [result for result in results if result["kind"] != "deterministic"]
    free = sum(result["method"] != "static" for result in traced)
    rows = [("traced", len(traced), len(wanted), 0.95), ("traced with a free batch", free, len(wanted), 0.95)]
    for key, what in (
        ("equal", "halves equal bit for bit at two batches (at one where it is fixed)"),
        ("reloaded", "reloaded halves equal bit for bit, likewise"),
        ("gradients", "gradients equal the model's"),
    ):
        rows.append((what, sum(result[key] for result in traced), len(traced), 1.0))
    refused = sum(not result["traced"] for result in others)
    rows.append(("random and data-dependent: refused", refused, len(others), 1.0))
    clear = [result for result in results if not result["traced"] and result["refused"] and result["named"]]
    rows.append(("refusals that name the line", len(clear), sum(not result["traced"] for result in results), 1.0))
    for what, count, of, target in rows:
        share = count / of if of else None
        bar("1.12", what, share and round(share, 4), "share", target=target, holds=of > 0 and count >= target * of,
            count=count, of=of)  # fmt: skip
    for result in results:
        missed = not result["traced"] or result["causes"] or result["kind"] != "deterministic"
        if missed:
            print(json.dumps(result), flush=True)


if __name__ == "__main__":
    main()
