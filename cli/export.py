"""`collabplan export`: figures of a profile or plan in the formats of other tools."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from .grouping import option
from .options import OUTPUT, Debug, Force, HelpAll, Json, OtherTarget, examples

if TYPE_CHECKING:
    from ..workflows.export import Tool

EXAMPLES = examples(
    ("the model that was profiled last, for Model Explorer and Perfetto", "collabplan export -o figures"),
    ("a plan, with what its candidates leak", "collabplan export plan.json -o figures"),
    ("an ONNX file that Netron shows with these figures", "collabplan export plan.json --format onnx -o figures"),
)
_READ = "What else to read"


class ExportTool(StrEnum):
    """What `--format` takes. An enumeration, since typer takes no list of literals."""

    model_explorer = "model-explorer"
    perfetto = "perfetto"
    onnx = "onnx"

    @property
    def literal(self) -> Tool:
        """The same as a plain value."""
        if self is ExportTool.onnx:
            return "onnx"
        return "perfetto" if self is ExportTool.perfetto else "model-explorer"


def export(
    folder: Annotated[Path, option("Folder for the files.", "DIR", OUTPUT, "-o", "--output", writes="folder")],
    plan: Annotated[
        Path | None,
        typer.Argument(
            metavar="PLAN", help="A plan file; default: the model that was profiled last here.", show_default=False
        ),
    ] = None,
    formats: Annotated[
        list[ExportTool] | None,
        option(
            "For which tool; once for each. Default: model-explorer and perfetto. onnx is for Netron.",
            None,
            OUTPUT,
            "--format",
        ),
    ] = None,
    leakage: Annotated[Path | None, option("Estimates, by `collabplan leakage -o`.", "FILE", _READ)] = None,
    profile: Annotated[
        Path | None, option("A profile of the model; default: the last one kept here.", "FILE", _READ)
    ] = None,
    cloud_profile: Annotated[
        Path | None, option("Profile of the cloud machine, if it is another.", "FILE", _READ, rare=True)
    ] = None,
    model: OtherTarget = None,
    force: Force = False,
    as_json: Json = False,
    _debug: Debug = False,
    _help_all: HelpAll = False,
) -> None:
    """Write latency by node and leakage by cut for other tools: Model Explorer, Perfetto, Netron.

    DIR/model-explorer has node data, DIR/trace.json is a trace, DIR/model.onnx the whole model with the figures as
    metadata. Leakage is shown at the node whose result crosses, by the upper end of its interval; estimates and attacks
    stand in files of their own. ONNX, and a plan's trace, load the target, which runs its Python code.
    """
    from ..workflows.export import USUAL_TOOLS, export_files
    from ..workflows.workspace import Workspace
    from .output import Output

    output = Output(as_json=as_json)
    made = export_files(
        plan,
        folder,
        [tool.literal for tool in formats or ()] or USUAL_TOOLS,
        Workspace.here(),
        output,
        model=model,
        profile=profile,
        cloud_profile=cloud_profile,
        leakage=leakage,
        force=force,
    )
    shown = {"trace.json": "trace for Perfetto", "model.onnx": "model for Netron"}
    for file in made.files:
        output.wrote(shown.get(file, "node data for Model Explorer"), folder / file)
    for note in made.notes:
        output.say(f"note: {note}")
    output.document(
        {"folder": str(folder), "files": [str(folder / file) for file in made.files], "notes": list(made.notes)}
    )
