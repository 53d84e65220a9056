"""`collabplan env`: what a bug report needs."""

from __future__ import annotations

import typer

from .options import Debug, HelpAll, Json, examples

EXAMPLES = examples(
    ("what to paste into a bug report", "collabplan env"), ("the same for a program", "collabplan env --json")
)


def env(ctx: typer.Context, as_json: Json = False, _debug: Debug = False, _help_all: HelpAll = False) -> None:
    """Print versions, hardware and configuration: what a bug report needs. Nothing secret, no environment variables."""
    from rich.markup import escape
    from rich.table import Table

    from ..workflows.environment import environment
    from .output import Output

    output = Output(as_json=as_json)
    facts = {**environment(), "configuration": str(ctx.obj.file) if ctx.obj else None}
    table = Table.grid(padding=(0, 2))
    table.add_column(style="dim", no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in facts.items():
        table.add_row(name.replace("_", " "), escape("-" if value is None else str(value)))
    if not as_json:
        output.show(table)
    output.document(facts)
