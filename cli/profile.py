"""`collabplan profile`: what each node and each cut of a model costs on this machine."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from ..targets.input_options import InputOptions
from ..workflows.options import ProfileOptions
from .grouping import grouped, option
from .options import (
    MAX_CROSSING,
    RUNS_CODE,
    BatchDim,
    DataPath,
    Debug,
    Force,
    HelpAll,
    Inputs,
    Json,
    OutputFile,
    examples,
)

if TYPE_CHECKING:
    from ..records import Profile
    from .output import Output

EXAMPLES = examples(
    ("a file that defines model and example_inputs", "collabplan profile model.py"),
    ("a function of an installed package", "collabplan profile torchvision.models:resnet18 --input 1x3x224x224"),
    ("a model by its name, pictures in class folders", "collabplan profile timm:resnet18 --data photos"),
    ("one of two machines; copy its profile to the other", "collabplan profile model.py --role edge -o edge.json"),
    ("a GPU, eight samples a request", "collabplan profile model.py --device cuda --batch 8"),
)
_MEASURE = "Measuring"
_SHOWN = {
    "max_crossing": MAX_CROSSING,
    "device": option("cpu, cuda, cuda:1 or mps.", "DEVICE", _MEASURE, default=True),
    "role": option("The halves that this machine is to run.", None, _MEASURE, default=True),
    "batch": option("Samples of one request.", "N", _MEASURE, default=True, least=1),
    "threads": option(
        "Threads inside an operator; default: torch's choice, or 1 where the machine is busy.", "N", _MEASURE, least=1
    ),
    "dtype": option("Convert a copy and measure it; default: the model as it is.", None, _MEASURE),
    "seconds": option("Time to spend on timing cuts.", "S", _MEASURE, default=True, least=0.1, unit="s"),
}


@grouped(options=_SHOWN)
def profile(
    target: Annotated[
        str,
        typer.Argument(metavar="TARGET", help=f"path.py, path.py:NAME, package.module:NAME or timm:NAME. {RUNS_CODE}"),
    ],
    options: ProfileOptions,
    inputs: Inputs = None,
    batch_dim: BatchDim = None,
    data: DataPath = None,
    file: OutputFile = None,
    force: Force = False,
    as_json: Json = False,
    _debug: Debug = False,
    _help_all: HelpAll = False,
) -> None:
    """Measure a model on this machine, node by node and cut by cut.

    Keeps the profile in .collabplan, where `collabplan optimize` finds it. Loading TARGET runs its Python code.
    """
    from ..records import save
    from ..workflows.profile import profile_target
    from ..workflows.replacing import refuse_to_replace
    from ..workflows.workspace import Workspace
    from .output import Output

    output = Output(as_json=as_json)
    refuse_to_replace(file, force)
    made, path = profile_target(target, InputOptions.given(inputs, batch_dim, data), options, Workspace.here(), output)
    if file is not None:  # before the report, whose reader may leave early: `| head`
        save(made, file)
        path = file
    show_profile(made, output)
    output.wrote("profile", path)
    output.document(made)
    if made.role == "both":
        output.next("collabplan optimize --budget-ms 50 --preset look", "or collabplan leakage")
    else:
        output.next("collabplan optimize --budget-ms 50 --edge-profile FILE --cloud-profile FILE")


def show_profile(made: Profile, output: Output) -> None:
    """Print the profile's tables and warnings."""
    from ..report.wording import measured_power
    from .profile_tables import candidate_cuts, expensive_nodes, marks_legend

    load = "" if made.device.load_average is None else f", load average {made.device.load_average:.2f}"
    output.say(
        f"\n{made.model.name} on {made.device.device} ({made.device.name}), {made.device.threads} threads{load}, "
        f"{made.dtype}, batch {made.batch}"
    )
    output.show(expensive_nodes(made), candidate_cuts(made))
    for line in [*marks_legend(made), measured_power(made)]:
        output.say(line)
    for warning in made.warnings:
        output.say(f"warning: {warning}")
