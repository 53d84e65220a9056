"""`collabplan attack`: what attackers really recover at each cut, under each defense, or at a plan's."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..targets.input_options import InputOptions
from ..workflows.options import AttackOptions
from .grouping import grouped, option
from .optimize_options import MAX_CONSISTENCY, MAX_LINKAGE, MAX_RECONSTRUCTION, MAX_REGION
from .options import (
    MAX_CROSSING,
    OUTPUT,
    RUNS_CODE,
    BatchDim,
    DataPath,
    Debug,
    Force,
    HelpAll,
    Inputs,
    Json,
    OutputFile,
    ReportFile,
    artifacts_option,
    defense_option,
    device_option,
    examples,
    memory_option,
)

if TYPE_CHECKING:
    from ..records import AuditReport
    from .output import Output

EXAMPLES = examples(
    (
        "every cut, without defense and under strong dropout",
        "collabplan attack model.py --defense dropout:element:0,0.9",
    ),
    ("the plan that you are about to ship", "collabplan attack plan.json --effort standard --seeds 3 -o audit.json"),
    (
        "one cut, two attacks, with pictures",
        "collabplan attack model.py --cuts layer2 --attacks ridge,inverse --pictures pictures",
    ),
    ("do the estimates rank as these attacks do?", "collabplan agreement leakage.json audit.json"),
)
_WHAT, _HOW = "What to attack", "How to attack"
_SHOWN = {
    "cuts": option("Names as `profile` prints them.", "all|NAME,...", _WHAT, default=True),
    "defense": defense_option(_WHAT, AttackOptions),
    "attacks": option("prior and ridge are always among them.", "all|NAME,...", _HOW, default=True),
    "effort": option("quick finds lower bounds; the others train until nothing is gained.", None, _HOW, default=True),
    "seed": option("The same seed gives the same figures.", "N", _HOW, default=True, least=0),
    "seeds": option(
        "Attackers of each kind; the worst counts. Signing off takes 3.", "N", _HOW, default=True, least=1, most=1000
    ),
    "race": option("Stop attackers that cannot reach the leader.", None, _HOW, default=True),
    "device": device_option(_HOW),
    "memory": memory_option(_HOW, rare=True),
    "artifacts": artifacts_option(rare=True),
    "max_leakage": option(
        "Exit 1 unless every audit proves at most this index. Default: the plan's own budget, if it has one.",
        "INDEX",
        _HOW,
        least=0,
        most=1,
    ),
    "max_reconstruction": MAX_RECONSTRUCTION,
    "max_linkage": MAX_LINKAGE,
    "max_consistency": MAX_CONSISTENCY,
    "max_region": MAX_REGION,
    "max_crossing": MAX_CROSSING,
    "pictures": option("Originals beside reconstructions, as PNG.", "DIR", OUTPUT, writes="files"),
}


@grouped(options=_SHOWN)
def attack(
    target: Annotated[
        str,
        typer.Argument(
            metavar="TARGET|PLAN",
            help=f"path.py, path.py:NAME, package.module:NAME, or a plan file (.json). {RUNS_CODE}",
            show_default=False,
        ),
    ],
    options: AttackOptions,
    inputs: Inputs = None,
    batch_dim: BatchDim = None,
    data: DataPath = None,
    file: OutputFile = None,
    page: ReportFile = None,
    force: Force = False,
    as_json: Json = False,
    _debug: Debug = False,
    _help_all: HelpAll = False,
) -> None:
    """Run attacks against each cut and defense, and report the worst case for each threat model.

    All attackers know the defense and own images of the same kind. White-box ones have the edge's weights, black-box
    ones may query the device, query-free ones have only the cloud half; a stronger one can do all that a weaker one
    can. Finished attacks are kept: run the same command again after an interruption and it continues.
    Loading TARGET runs its Python code.
    """
    from ..records import Plan, load, save
    from ..workflows.attack import attack as run
    from ..workflows.replacing import refuse_to_replace
    from ..workflows.workspace import Workspace
    from .next_steps import to_deploy
    from .output import Output
    from .pages import require_plan, write_page

    output = Output(as_json=as_json)
    if page is not None:
        require_plan(target, page)
    refuse_to_replace(file, force)
    found = run(target, InputOptions.given(inputs, batch_dim, data), options, Workspace.here(), output)
    for path in found.report.pictures:
        output.wrote("pictures", Path(path))
    show_report(found.report, output)
    if file is not None:
        save(found.report, file)
        output.wrote("audit report", file)
    if page is not None:
        write_page(load(Plan, Path(target)), Path(target), page, output, audits=[found.report])
    output.document(found.report)
    found.require_within()
    if target.endswith(".json"):
        output.next(*to_deploy(load(Plan, Path(target)), target))
    else:
        output.next("collabplan optimize --budget-ms 50")


def show_report(made: AuditReport, output: Output) -> None:
    """Print the table, how to read it, what failed, and the notes."""
    from .attack_table import attack_table, failures, legend

    output.say("")
    output.show(attack_table(made, output.results.width))
    for line in [*legend(made), *failures(made)]:
        output.say(line)
    for note in made.notes:
        output.say(f"note: {note}")
