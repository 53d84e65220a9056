"""`collabplan leakage`: how much each cut leaks about the input, under each defense; tests its own estimators."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..targets.input_options import InputOptions
from ..workflows.options import LeakageOptions
from .grouping import grouped, option
from .options import (
    MAX_CROSSING,
    TARGET_HELP,
    BatchDim,
    DataPath,
    Debug,
    Force,
    HelpAll,
    Inputs,
    Json,
    OutputFile,
    ReportFile,
    defense_option,
    device_option,
    examples,
    memory_option,
)

if TYPE_CHECKING:
    from ..records import ControlRow, LeakageReport
    from .output import Output

EXAMPLES = examples(
    ("every cut of the model profiled last, five dropout rates", "collabplan leakage"),
    ("two cuts under noise", "collabplan leakage model.py --cuts layer1,layer2 --defense noise:gaussian:0.05"),
    ("another estimator too", "collabplan leakage model.py --estimators kde,sandwich,logdet,ridge,mine"),
    ("a plan's page with the estimates of all cuts", "collabplan leakage plan.json --report report.html"),
    ("do the estimators find what is known? (no model needed)", "collabplan leakage --controls"),
)
_WHAT, _HOW = "What to measure", "How to measure"


_SHOWN = {
    "cuts": option("Names as in the table.", "all|NAME,...", _WHAT, default=True),
    "defense": defense_option(_WHAT, LeakageOptions),
    "estimators": option("Of information; ridge is the leakage index. mine is slow.", "NAME,...", _HOW, default=True),
    "samples": option("Most samples, the same at all cuts.", "N", _HOW, default=True),
    "seed": option("The same seed gives the same figures.", "N", _HOW, default=True, least=0),
    "memory": memory_option(_HOW),
    "device": device_option(_HOW),
    "max_crossing": MAX_CROSSING,
}


@grouped(options=_SHOWN)
def leakage(
    options: LeakageOptions,
    target: Annotated[
        str | None,
        typer.Argument(
            metavar="TARGET|PLAN",
            help=f"A plan file (.json), whose target is measured; or {TARGET_HELP}",
            show_default=False,
        ),
    ] = None,
    controls: Annotated[
        bool,
        option("Run the estimators on data whose answer is known; exit 1 if one fails.", None, _HOW, "--controls"),
    ] = False,
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
    """Estimate how much each cut leaks about the private input, by depth and defense.

    Each cut is kept when it is finished: run the same command again after an interruption and it continues.
    The index is estimated: no bound on what attackers recover. Loading TARGET runs its Python code.
    """
    from ..records import Plan, load, save
    from ..workflows.leakage import check_estimators, measure_leakage, require_passed
    from ..workflows.replacing import refuse_to_replace
    from ..workflows.workspace import Workspace
    from .next_steps import to_attack
    from .output import Output
    from .pages import require_plan, write_page

    output = Output(as_json=as_json)
    if page is not None:
        require_plan(target, page)
    refuse_to_replace(file, force)
    checked = check_estimators(options, output) if controls else ()
    if controls and target is None:
        finish_controls(checked, file, output)
        return
    given = InputOptions.given(inputs, batch_dim, data)
    made = measure_leakage(target, given, options, Workspace.here(), output, checked)
    show_report(made, output)
    if file is not None:
        save(made, file)
        output.wrote("leakage report", file)
    plan = Path(target) if target is not None and target.endswith(".json") else None
    if page is not None and plan is not None:
        write_page(load(Plan, plan), plan, page, output, leakage=made)
    output.document(made)
    require_passed(checked)
    if plan is not None:
        output.next(*to_attack(load(Plan, plan), plan))
    else:
        output.next("collabplan optimize --budget-ms 50 --preset look")


def show_report(made: LeakageReport, output: Output) -> None:
    """Print the table, how to read it, and the notes."""
    from .leakage_table import head, leakage_table, legend

    output.say("")
    for line in head(made):
        output.say(line)
    table = leakage_table(made, output.results.width)
    output.show(table)
    for line in legend(made, table):
        output.say(line)
    for note in made.notes:
        output.say(f"note: {note}")
    if made.controls:
        show_controls(made.controls, output)


def show_controls(checked: Sequence[ControlRow], output: Output) -> None:
    """Print the table of controls."""
    from .leakage_table import control_remarks, control_table

    output.show(control_table(checked, output.results.width))
    for line in control_remarks(checked):
        output.say(line)


def finish_controls(checked: Sequence[ControlRow], file: Path | None, output: Output) -> None:
    """Print only the controls. Raises BudgetError where one failed."""
    from ..workflows.leakage import require_passed, write_controls

    show_controls(checked, output)
    if file is not None:
        write_controls(checked, file)
        output.wrote("controls", file)
    output.document({"controls": [row.model_dump(mode="json") for row in checked]})
    require_passed(checked)
