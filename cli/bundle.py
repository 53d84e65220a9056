"""`collabplan bundle`: the folder that deploys a plan, one part for the device and one for the cloud."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from .options import Debug, Json, OtherTarget, examples

if TYPE_CHECKING:
    from ..records import Plan
    from ..runtime import WrittenBundle
    from .output import Output

EXAMPLES = examples(
    ("write bundle/edge for the device and bundle/cloud for the server", "collabplan bundle plan.json -o bundle"),
    ("the device must answer without the cloud too", "collabplan bundle plan.json -o bundle --with-fallback"),
    ("halves for another engine as well", "collabplan bundle plan.json -o bundle --format onnx"),
)


class ExportFormat(StrEnum):
    """What `--format` takes (typer knows no list of literals)."""

    onnx = "onnx"
    pt2 = "pt2"


def bundle(
    plan: Annotated[Path, typer.Argument(metavar="PLAN", help="A plan file, written by `collabplan optimize`.")],
    folder: Annotated[
        Path, typer.Option("-o", "--output", metavar="DIR", help="Folder for the bundle.", rich_help_panel="Output")
    ],
    formats: Annotated[
        list[ExportFormat] | None,
        typer.Option(
            "--format",
            help="Also write the halves for other engines. Once per format.",
            rich_help_panel="Output",
            show_default=False,
        ),
    ] = None,
    with_fallback: Annotated[
        bool,
        typer.Option(
            "--with-fallback",
            help="Put the whole model into the edge part, which then holds ALL weights.",
            rich_help_panel="Weights",
            show_default=False,
        ),
    ] = False,
    allow_shared_weights: Annotated[
        bool,
        typer.Option(
            "--allow-shared-weights",
            help="Also where both halves need the same weights.",
            rich_help_panel="Weights",
            show_default=False,
        ),
    ] = False,
    model: OtherTarget = None,
    as_json: Json = False,
    _debug: Debug = False,
) -> None:
    """Write the folder that deploys a plan: DIR/edge for the device, DIR/cloud for the server.

    Each part is a program (graph.json and weights.safetensors), the plan, and a manifest with the SHA-256 of each file.
    It can be copied alone, holds none of the other's weights, and executes nothing when it is opened. Both are read
    back first, and compose to the model bit for bit.

    Loading the plan's target runs its Python code. A plan for other weights, another structure or another torch is
    refused, and so is a DIR that holds anything but an older bundle of this plan.
    """
    from ..runtime import write_bundle
    from .output import Output
    from .planned import open_planned

    output = Output(as_json=as_json)
    found = open_planned(plan, model, output)
    with output.step("writing and checking the bundle"):
        written = write_bundle(
            found.plan,
            found.traced,
            found.cut,
            folder,
            tuned=found.tuned,
            directions=found.directions,
            allow_shared_weights=allow_shared_weights,
            fallback=with_fallback,
            formats=[engine.value for engine in formats or ()],
        )
    sizes: dict[str, int] = {m.part.role: sum(file.size_bytes for file in m.part.files) for m in written.parts}
    show(found.plan, written, folder, sizes, output)
    output.document(
        {
            "folder": str(folder),
            "bundle_id": written.edge.bundle_id,
            "plan_sha256": written.edge.part.plan_sha256,
            "cut": found.cut.name,
            "cut_id": found.cut.id,
            "edge": str(folder / "edge"),
            "cloud": None if written.cloud is None else str(folder / "cloud"),
            "bytes": sizes,
            "payload_bytes": written.edge.part.wire.payload_bytes,
            "shared_tensors": list(written.edge.part.shared_tensors),
            "fallback": written.edge.part.has_fallback,
            "composes": True,
        }
    )


def show(plan: Plan, written: WrittenBundle, folder: Path, sizes: dict[str, int], output: Output) -> None:
    """Say what lies where, and what its holder should know."""
    from .tables import crosses

    part = written.edge.part
    if written.cloud is None:
        output.say("everything runs on the device: nothing is sent, and there is no cloud part")
    else:
        output.say(f"cut {part.cut_name}: {crosses(part.wire.crossing)}, {part.wire.payload_bytes:,} bytes a sample")
    for role, size in sizes.items():
        output.say(f"{role} part: {folder / role} ({size / 1e6:,.2f} MB)")
    what = "model" if plan.tuned_weights is None else "model with the fine-tuned cloud half"
    output.say(f"checked: the parts, read back, compose to the {what} bit for bit on the example inputs")
    if part.shared_tensors:
        output.say(f"WARNING: both parts hold {', '.join(part.shared_tensors)}")
    if part.has_fallback:
        output.say("WARNING: the edge part holds ALL weights of the model, in edge/fallback")
    if plan.portable() != plan:
        output.say("note: the plan in the bundle names files without their folders, which may be private")
    output.say(f"bundle {written.edge.bundle_id}")
