"""`collabplan split`: the two halves of a plan as files, proven to compose to the model."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from .options import Debug, Json, OtherTarget, examples

if TYPE_CHECKING:
    from ..records import Plan

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

    Each half is graph.json and weights.safetensors alone, to look at or for programs of your own; to deploy a plan, use
    `collabplan bundle`. Loading a half executes nothing. Loading the plan's target runs its Python code. A plan for
    other weights, another structure or another torch is refused.
    """
    from dataclasses import replace

    from ..graph import split as split_graph
    from ..graph import with_weights
    from ..runtime import write_halves
    from .output import Output
    from .planned import open_planned

    output = Output(as_json=as_json)
    found = open_planned(plan, model, output)
    with output.step("writing and checking the halves"):
        halves = split_graph(found.traced, found.cut)
        if found.tuned is not None:
            halves = replace(halves, cloud=with_weights(halves.cloud, found.tuned))
        write_halves(found.traced, halves, folder, tuned=found.tuned is not None)
    sizes = {half: sum(file.stat().st_size for file in (folder / half).iterdir()) for half in ("edge", "cloud")}
    output.say(f"cut {found.cut.name}: {_crossing(found.plan)}")
    for half, size in sizes.items():
        output.say(f"{half} half: {folder / half} ({size / 1e6:,.2f} MB)")
    what = "model" if found.tuned is None else "model with the fine-tuned cloud half"
    output.say(f"checked: the halves, read back, compose to the {what} bit for bit on the example inputs")
    output.document(
        {
            "folder": str(folder),
            "cut": found.cut.name,
            "cut_id": found.cut.id,
            "edge": str(folder / "edge"),
            "cloud": str(folder / "cloud"),
            "bytes": sizes,
            "composes": True,
        }
    )


def _crossing(plan: Plan) -> str:
    """What the device sends. Where it computes everything, that is the answer, if anything."""
    from .tables import crosses

    if plan.cut_kind != "edge-only":
        return crosses(plan.crossing)
    sent = "nothing is sent" if plan.budgets.result_at == "edge" else "only the answer is sent"
    return f"the edge half computes the whole answer, {sent}"
