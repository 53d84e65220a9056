"""`collabplan worker`: joins a search that `optimize --storage` began, from this machine or another."""

from __future__ import annotations

import dataclasses
from typing import Annotated

import typer

from ..workflows.options import MachineSettings
from .grouping import grouped
from .options import MACHINES, Debug, HelpAll, Json, OtherTarget, device_option, examples, machine_options

EXAMPLES = examples(
    ("on the first machine", "collabplan optimize model.py --budget-ms 50 --storage postgresql+psycopg://me@db/plans"),
    (
        "on any other, with the same model.py and data",
        "collabplan worker search-1 --storage postgresql+psycopg://me@db/plans",
    ),
    ("keep the password off the command line", "COLLABPLAN_STORAGE=... collabplan worker search-1"),
)


@grouped(machines=machine_options())
def worker(
    study: Annotated[str, typer.Argument(metavar="STUDY", help="As `optimize --storage` names it: search-1.")],
    machines: MachineSettings,
    model: OtherTarget = None,
    device: Annotated[str, device_option(MACHINES)] = "cpu",
    as_json: Json = False,
    _debug: Debug = False,
    _help_all: HelpAll = False,
) -> None:
    """Measure candidates of a study until it is complete, beside all other workers.

    Model, weights and data must be those of the study; what differs is named. A worker may be killed at any time:
    its candidate is measured by another. The study names the target, and loading that runs its Python code: join
    studies of a database that you trust, or give --model.
    """
    from ..workflows.worker import join_study
    from ..workflows.workspace import Workspace
    from .output import Output

    output = Output(as_json=as_json)
    found = join_study(study, machines.storage, machines.artifacts, model, Workspace.here(), output, device)
    output.say(f"{study} is complete: {found.candidates} candidates, {found.measured_here} of them measured here")
    output.document(dataclasses.asdict(found))
    output.next(f"collabplan optimize --reuse {study}", "on the machine that plans")
