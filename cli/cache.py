"""`collabplan cache`: what lies in `.collabplan`, and how to be rid of it."""

from __future__ import annotations

import dataclasses
from typing import Annotated

import typer

from .options import Debug, HelpAll, Json, examples

EXAMPLES = examples(
    ("drop caches; profiles and the study stay", "collabplan cache clear"),
    ("drop only what older code made, which is never read again", "collabplan cache clear --outdated"),
    ("drop everything", "collabplan cache clear --all"),
)
app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode="rich",
    add_completion=False,
    help="List or clear what is kept in .collabplan.",
    epilog=EXAMPLES,
    context_settings={"help_option_names": ["-h", "--help"]},
)


@app.command("list", epilog=examples(("what is kept here", "collabplan cache list")))
def list_command(as_json: Json = False, _debug: Debug = False, _help_all: HelpAll = False) -> None:
    """List what is kept in .collabplan, with sizes, and how much of it older code made.

    An outdated result names another revision of an attack, estimator or defense than the current one. It is never read.
    """
    from ..workflows.cache import entries
    from ..workflows.workspace import Workspace
    from .cache_table import cache_table
    from .output import Output

    output = Output(as_json=as_json)
    workspace = Workspace.here()
    rows = entries(workspace)
    output.document({"folder": str(workspace.folder), "entries": [dataclasses.asdict(row) for row in rows]})
    if as_json:
        return
    if not rows:
        output.say(f"{workspace.folder} is empty or absent")
        return
    output.show(cache_table(str(workspace.folder), rows))


@app.command("clear", epilog=EXAMPLES)
def clear_command(
    everything: Annotated[bool, typer.Option("--all", help="Profiles and the study too.", show_default=False)] = False,
    outdated: Annotated[
        bool, typer.Option("--outdated", help="Only what older code made.", show_default=False)
    ] = False,
    as_json: Json = False,
    _debug: Debug = False,
    _help_all: HelpAll = False,
) -> None:
    """Delete the caches; with --all everything that is kept here, with --outdated only what older code made."""
    from ..records import CollabplanError
    from ..workflows.cache import clear, clear_outdated
    from ..workflows.workspace import Workspace
    from .output import Output

    if everything and outdated:
        raise CollabplanError("--all and --outdated exclude one another; give one of them")
    output = Output(as_json=as_json)
    workspace = Workspace.here()
    if outdated:
        removed = clear_outdated(workspace)
        count, freed = sum(row.outdated for row in removed), sum(row.outdated_bytes for row in removed)
        output.say(f"removed {count} outdated files, {freed / 1e6:,.2f} MB, from {workspace.folder}")
    else:
        removed = clear(workspace, everything=everything)
        freed = sum(row.bytes for row in removed)
        output.say(f"removed {len(removed)} entries, {freed / 1e6:,.2f} MB, from {workspace.folder}")
    names = [row.name for row in removed]
    output.document({"folder": str(workspace.folder), "removed": names, "bytes": freed})
