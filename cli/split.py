"""`collabplan split`: the two halves of a plan as files, proven to compose to the model."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from .grouping import option
from .options import OUTPUT, Debug, Force, HelpAll, Json, OtherTarget, PlanFile, examples

if TYPE_CHECKING:
    from ..records import Plan

EXAMPLES = examples(
    ("write halves/edge and halves/cloud", "collabplan split plan.json -o halves"),
    ("the model's file has moved since", "collabplan split plan.json -o halves --model new/model.py"),
)


def split(
    plan: PlanFile,
    folder: Annotated[Path, option("Folder for the two halves.", "DIR", OUTPUT, "-o", "--output", writes="folder")],
    model: OtherTarget = None,
    force: Force = False,
    as_json: Json = False,
    _debug: Debug = False,
    _help_all: HelpAll = False,
) -> None:
    """Write the two halves of a plan and check that they compose to the model, bit for bit.

    Each half is two files, graph.json and weights.safetensors, for inspection or for programs of your own; to deploy a
    plan, use `collabplan bundle`. Loading a half executes nothing. Loading the plan's target runs its Python code. A
    plan for other weights, another structure or another torch is refused.
    """
    from ..workflows.planned import open_plan
    from ..workflows.replacing import refuse_to_replace
    from ..workflows.split import split_plan
    from .next_steps import to_deploy
    from .output import Output

    output = Output(as_json=as_json)
    refuse_to_replace(folder, force)
    found = open_plan(plan, model, output)
    written = split_plan(found, folder, output)
    output.say(f"cut {found.cut.name}: {_crossing(found.plan)}")
    for half, size in written.bytes.items():
        output.say(f"{half} half: {folder / half} ({size / 1e6:,.2f} MB)")
    what = "model" if found.tuned is None else "model with the fine-tuned cloud half"
    output.say(f"checked: the halves, read back, compose to the {what} bit for bit on the example inputs")
    output.document(
        {
            "folder": str(folder),
            "cut": found.cut.name,
            "cut_id": found.cut.id,
            "edge": str(written.edge),
            "cloud": str(written.cloud),
            "bytes": written.bytes,
            "composes": True,
        }
    )
    output.next(*to_deploy(found.plan, plan))


def _crossing(plan: Plan) -> str:
    """What the device sends. Where it computes everything, that is the answer, if anything."""
    from ..report.wording import crosses

    if plan.cut_kind != "edge-only":
        return crosses(plan.crossing)
    sent = "nothing is sent" if plan.budgets.result_at == "edge" else "only the answer is sent"
    return f"the edge half computes the whole answer, {sent}"
