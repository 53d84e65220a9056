"""`collabplan agreement`: do the estimates of a leakage report rank as the attacks of an audit report do?"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from .grouping import option
from .options import Debug, Force, HelpAll, Json, OutputFile, examples

EXAMPLES = examples(
    ("estimate", "collabplan leakage model.py -o leakage.json"),
    ("attack", "collabplan attack model.py --defense dropout:element:0,0.3,0.6,0.9 -o audit.json"),
    ("compare", "collabplan agreement leakage.json audit.json"),
)


def agreement(
    leakage: Annotated[Path, typer.Argument(metavar="LEAKAGE", help="Written by `collabplan leakage -o`.")],
    audit: Annotated[Path, typer.Argument(metavar="AUDIT", help="Written by `collabplan attack -o`.")],
    releases: Annotated[
        Literal["one", "any"],
        typer.Option(
            help="Attackers with one release of each input, as estimates assume, or with as many as were tried."
        ),
    ] = "one",
    seed: Annotated[int, option("Of the bootstrap.", "N", default=True, least=0)] = 0,
    file: OutputFile = None,
    force: Force = False,
    as_json: Json = False,
    _debug: Debug = False,
    _help_all: HelpAll = False,
) -> None:
    """Rank correlation between every estimate and what attacks really recovered, beside trivial proxies.

    Both reports must be of the same model. (cut, defense) pairs that both hold are compared; nothing is run.
    """
    from ..records import save
    from ..workflows.agreement import compare_reports
    from ..workflows.replacing import refuse_to_replace
    from .agreement_table import agreement_table, remarks
    from .output import Output

    output = Output(as_json=as_json)
    refuse_to_replace(file, force)
    made = compare_reports(leakage, audit, releases, seed)
    output.show(agreement_table(made, output.results.width))
    for line in remarks(made):
        output.say(line)
    if file is not None:
        save(made, file)
        output.wrote("agreement report", file)
    output.document(made)
    output.next("collabplan optimize --budget-ms 50", "attacks steer the search")
