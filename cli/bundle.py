"""`collabplan bundle`: the folder that deploys a plan, one part for the device and one for the cloud."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from .grouping import option
from .options import OUTPUT, Debug, HelpAll, Json, OtherTarget, PlanFile, examples

if TYPE_CHECKING:
    from ..workflows.bundle import Bundled
    from ..workflows.planned import LoadedPlan
    from .output import Output

EXAMPLES = examples(
    ("write bundle/edge for the device and bundle/cloud for the server", "collabplan bundle plan.json -o bundle"),
    ("the device must answer without the cloud too", "collabplan bundle plan.json -o bundle --with-fallback"),
    ("say who made it, for `serve --trust`", "collabplan bundle plan.json -o bundle --sign sign.key"),
    ("halves for another engine as well", "collabplan bundle plan.json -o bundle --format onnx"),
)
_WEIGHTS = "Weights"


class ExportFormat(StrEnum):
    """What `--format` takes. An enumeration, since typer takes no list of literals."""

    onnx = "onnx"
    pt2 = "pt2"

    @property
    def literal(self) -> Literal["onnx", "pt2"]:
        """The same as a plain value."""
        return "onnx" if self is ExportFormat.onnx else "pt2"


def bundle(
    plan: PlanFile,
    folder: Annotated[Path, option("Folder for the bundle.", "DIR", OUTPUT, "-o", "--output", writes="folder")],
    formats: Annotated[
        list[ExportFormat] | None,
        option("Also write the halves for another engine. Once for each format.", None, OUTPUT, "--format"),
    ] = None,
    with_fallback: Annotated[
        bool,
        option(
            "Put the whole model into the edge part, which then holds ALL weights.", None, _WEIGHTS, "--with-fallback"
        ),
    ] = False,
    allow_shared_weights: Annotated[
        bool, option("Also where both halves need the same weights.", None, _WEIGHTS, "--allow-shared-weights")
    ] = False,
    sign: Annotated[
        Path | None,
        option("Sign both parts with this Ed25519 key, for --trust of serve and infer.", "KEY", OUTPUT, "--sign"),
    ] = None,
    model: OtherTarget = None,
    as_json: Json = False,
    _debug: Debug = False,
    _help_all: HelpAll = False,
) -> None:
    """Write the folder that deploys a plan: DIR/edge for the device, DIR/cloud for the server.

    Each part is a program (graph.json and weights.safetensors), the plan, and a manifest with the SHA-256 of each file.
    It can be copied by itself, holds none of the other's weights, and executes nothing when it is opened. Both are read
    back first, and compose to the model bit for bit.

    Loading the plan's target runs its Python code. A plan for other weights, another structure or another torch is
    refused, and so is a DIR that holds anything but an older bundle of this plan.
    """
    from ..workflows.bundle import bundle_plan
    from ..workflows.planned import open_plan
    from .output import Output

    output = Output(as_json=as_json)
    found = open_plan(plan, model, output)
    bundled = bundle_plan(
        found,
        folder,
        output,
        formats=[engine.literal for engine in formats or ()],
        with_fallback=with_fallback,
        allow_shared_weights=allow_shared_weights,
        sign=sign,
    )
    show(found, bundled, output)
    if sign is not None:
        output.say(f"signed with {sign}: give its public key to `serve --trust` and `infer --trust`")
    written = bundled.written
    output.document(
        {
            "folder": str(folder),
            "bundle_id": written.edge.bundle_id,
            "plan_sha256": written.edge.part.plan_sha256,
            "cut": found.cut.name,
            "cut_id": found.cut.id,
            "edge": str(folder / "edge"),
            "cloud": None if written.cloud is None else str(folder / "cloud"),
            "bytes": bundled.bytes,
            "payload_bytes": written.edge.part.wire.payload_bytes,
            "shared_tensors": list(written.edge.part.shared_tensors),
            "fallback": written.edge.part.has_fallback,
            "composes": True,
            "signed": sign is not None,
        }
    )
    if written.cloud is None:
        output.next(f"collabplan infer {folder} --data x.npy", "no server is needed")
    else:
        output.next(f"collabplan serve {folder}", "on the server; on the device: collabplan infer")


def show(planned: LoadedPlan, bundled: Bundled, output: Output) -> None:
    """Say what lies where, and what its holder should know."""
    from ..report.wording import crosses
    from ..workflows.bundle import bundle_notes

    part = bundled.written.edge.part
    if bundled.written.cloud is None:
        output.say("everything runs on the device: nothing is sent, and there is no cloud part")
    else:
        output.say(f"cut {part.cut_name}: {crosses(part.wire.crossing)}, {part.wire.payload_bytes:,} bytes a sample")
    for role, size in bundled.bytes.items():
        output.say(f"{role} part: {bundled.folder / role} ({size / 1e6:,.2f} MB)")
    what = "model" if planned.plan.tuned_weights is None else "model with the fine-tuned cloud half"
    output.say(f"checked: the parts, read back, compose to the {what} bit for bit on the example inputs")
    for note in bundle_notes(planned, bundled):
        output.say(note)
    output.say(f"bundle {bundled.written.edge.bundle_id}")
