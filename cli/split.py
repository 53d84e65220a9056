"""`collabplan split`: the two halves of a plan as files, proven to compose to the model."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .options import Debug, Json, OtherTarget, examples

if TYPE_CHECKING:
    from torch import Tensor

    from ..graph.structures import Cut, TracedGraph
    from ..records import Plan
    from .target import Target

EXAMPLES = examples(
    ("write halves/edge and halves/cloud", "collabplan split plan.json -o halves"),
    ("the model's file has moved since", "collabplan split plan.json -o halves --model new/model.py"),
)


def split(
    plan: Annotated[Path, typer.Argument(metavar="PLAN", help="A plan file, written by `collabplan optimize`.")],
    folder: Annotated[
        Path, typer.Option("-o", "--output", metavar="DIR", help="Folder for the two halves.", rich_help_panel="Output")
    ],
    model: OtherTarget = None,
    as_json: Json = False,
    _debug: Debug = False,
) -> None:
    """Write the two halves of a plan and check that they compose to the model, bit for bit.

    Each half is graph.json and weights.safetensors; loading one executes nothing. Loading the plan's target
    runs its Python code. A plan for other weights, another structure or another torch is refused.
    """
    from ..records import Plan, load
    from .output import Output
    from .plan_files import load_weights
    from .profile import trace_target

    output = Output(as_json=as_json)
    record = load(Plan, plan)
    with output.step(f"loading {model or record.target.spec}"):
        loaded = load_plan_target(record, plan, model)
    output.found(f"Target {loaded.identity.spec}", loaded.findings[:2])
    traced = trace_target(loaded, output)
    record.model.require_same(traced.identity, record=f"plan {plan}")
    cut = planned_cut(record, traced)
    with output.step("writing and checking the halves"):
        sizes = write_halves(loaded, traced, cut, folder, load_weights(record, plan))
    names = ", ".join(crossing.name for crossing in cut.crossing) or "nothing"
    output.say(f"cut {cut.name}: {names} crosses")
    for half, size in sizes.items():
        output.say(f"{half} half: {folder / half} ({size / 1e6:,.2f} MB)")
    what = "model" if record.tuned_weights is None else "model with the fine-tuned cloud half"
    output.say(f"checked: the halves, read back, compose to the {what} bit for bit on the example inputs")
    output.document(
        {
            "folder": str(folder),
            "cut": cut.name,
            "cut_id": cut.id,
            "edge": str(folder / "edge"),
            "cloud": str(folder / "cloud"),
            "bytes": sizes,
            "composes": True,
        }
    )


def load_plan_target(plan: Plan, path: Path, target: str | None) -> Target:
    """The target a plan names: as typed then, or beside the plan file where it is not found here.

    Raises:
        TargetError: it cannot be loaded.
    """
    from .target import load_target

    spec = target or plan.target.spec
    head = spec.rpartition(":")[0] if not spec.endswith(".py") else spec
    if target is None and head.endswith(".py") and not Path(head).exists() and (path.parent / head).exists():
        spec = str(path.parent / spec)
    return load_target(spec, plan.target.options.get("input", "").split())


def planned_cut(plan: Plan, traced: TracedGraph) -> Cut:
    """The plan's cut in this trace, a candidate or not. Raises MismatchError where the trace does not have it."""
    from ..graph import candidate_cuts, cut_of
    from ..records import CutError, MismatchError

    cuts = candidate_cuts(traced, int(plan.target.options.get("max_crossing", "4")))
    for cut in cuts:
        if cut.id == plan.cut_id:
            return cut
    found: Cut | None = None
    with contextlib.suppress(CutError):
        found = cut_of(traced, [crossing.name for crossing in plan.crossing if not crossing.public], cuts)
    if found is not None and found.id == plan.cut_id:
        return found
    raise MismatchError(
        f"the plan has the cut {plan.cut_name!r} ({plan.cut_id}), which this collabplan does not find in the same "
        "model: profile and optimize again"
    )


def write_halves(
    target: Target, traced: TracedGraph, cut: Cut, folder: Path, tuned: Mapping[str, Tensor] | None = None
) -> dict[str, int]:
    """Write `folder/edge` and `folder/cloud`, read them back and compare; returns their sizes in bytes.

    With `tuned` weights the cloud half has these, and is compared with the half in memory that has them.

    A trace that equals the model up to rounding (which is told when it is made) is what its halves must equal bit
    for bit then.

    Raises:
        BudgetError: the halves read back do not compose to the model.
        CollabplanError: the folder cannot be written.
    """
    import torch

    from ..graph import close_values, load_program, same_values, save_program, with_weights
    from ..graph import split as split_graph
    from ..graph.tracing import evaluation_mode
    from ..records import BudgetError

    halves = split_graph(traced, cut)
    if tuned is not None:
        halves = replace(halves, cloud=with_weights(halves.cloud, tuned))
    places: dict[str, Any] = {"edge": halves.edge, "cloud": halves.cloud}
    for name, half in places.items():
        save_program(half, folder / name)
    edge, cloud = load_program(folder / "edge"), load_program(folder / "cloud")
    with torch.no_grad():
        composed = cloud(*edge(*(tensor.clone() for tensor in traced.example_inputs)))
        whole = traced.module(*target.example.args, **target.example.kwargs)
        if tuned is not None:
            whole = halves.cloud(*halves.edge(*target.example.args, **target.example.kwargs))
    with evaluation_mode(target.model), target.running():
        expected = whole if tuned is not None else target.model(*target.example.args, **target.example.kwargs)
    if not (same_values(composed, expected) or (same_values(composed, whole) and close_values(composed, expected))):
        raise BudgetError(
            f"the halves in {folder} do not compose to the model bit for bit; do not deploy them, and report this "
            "with `collabplan env`"
        )
    return {name: sum(file.stat().st_size for file in (folder / name).iterdir()) for name in places}
