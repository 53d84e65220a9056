"""The options that several commands share, and how examples are set at the end of a help text."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Literal

import typer

RUNS_CODE = "Loading TARGET runs its Python code: give only files that you trust."

Json = Annotated[
    bool,
    typer.Option(
        "--json",
        help="Print one JSON document on stdout; everything else goes to stderr.",
        rich_help_panel="Output",
        show_default=False,
    ),
]
Debug = Annotated[
    bool,
    typer.Option("--debug", help="Show the traceback of an error.", rich_help_panel="Output", show_default=False),
]
Inputs = Annotated[
    list[str] | None,
    typer.Option(
        "--input",
        metavar="SHAPE",
        help="Shape of an input, for a target without example_inputs: 1x3x224x224, 1x128:int64, ids=1x128:int64. "
        "Once per input.",
        rich_help_panel="Target",
        show_default=False,
    ),
]
BatchDim = Annotated[
    list[str] | None,
    typer.Option(
        "--batch-dim",
        metavar="DIM",
        help="The dimension of the inputs that counts samples, where it is not the first: 1 for all of them, x=1 or "
        "mask=none for one, none where one call is one sample.",
        rich_help_panel="Target",
        show_default=False,
    ),
]
MaxCrossing = Annotated[
    int,
    typer.Option(metavar="N", min=1, help="Most tensors that may cross one cut.", rich_help_panel="Target"),
]
MaxLeakage = Annotated[
    float | None,
    typer.Option(
        metavar="INDEX",
        help="Highest leakage index, 0 to 1: audited, with --no-audit only estimated.",
        rich_help_panel="Budgets",
        show_default=False,
    ),
]
MaxPayload = Annotated[
    str | None,
    typer.Option(
        metavar="SIZE", help="Most to send for a sample: 20kB.", rich_help_panel="Budgets", show_default=False
    ),
]
AuditIt = Annotated[
    bool,
    typer.Option("--audit/--no-audit", help="Run attacks; without, the plan is ESTIMATED.", rich_help_panel="Audits"),
]
AuditEffort = Annotated[
    Literal["quick", "standard", "thorough"],
    typer.Option(help="Of the attacks on the plan.", rich_help_panel="Audits"),
]
AuditSeeds = Annotated[int, typer.Option(metavar="N", min=1, help="Runs of those attacks.", rich_help_panel="Audits")]
OtherTarget = Annotated[
    str | None,
    typer.Option(
        "--model",
        metavar="TARGET",
        help=f"The target, where it is not where it was planned. {RUNS_CODE}",
        rich_help_panel="Target",
    ),
]
OutputFile = Annotated[
    Path | None,
    typer.Option("-o", "--output", metavar="FILE", help="Also write the result here.", rich_help_panel="Output"),
]


Storage = Annotated[
    str | None,
    typer.Option(
        metavar="URL",
        envvar="COLLABPLAN_STORAGE",
        help="PostgreSQL that holds the study: postgresql+psycopg://user:password@host/database.",
        rich_help_panel="Several machines",
        show_default=False,
    ),
]


Artifacts = Annotated[
    str | None,
    typer.Option(
        metavar="DIR|S3",
        envvar="COLLABPLAN_ARTIFACTS",
        help="Where the machines share finished attacks and fine-tuned weights: a folder, or s3://bucket/prefix.",
        rich_help_panel="Several machines",
        show_default=False,
    ),
]


def unwrapped(function: Callable[..., None]) -> str:
    """A function's docstring as help: one line a paragraph, so that it wraps at the terminal's width."""
    paragraphs = inspect.cleandoc(function.__doc__ or "").split("\n\n")
    return "\n\n".join(" ".join(paragraph.split()) for paragraph in paragraphs).replace("[", "\\[")


def examples(*pairs: tuple[str, str]) -> str:
    """The end of a help text: worked examples as (what it does, the command).

    One line each, so that a command can be copied whole.
    """
    lines = ["[bold]Examples[/bold]"]
    for what, command in pairs:
        lines += ["", f"[dim]# {what}[/dim]", command]
    return "\n".join(lines)
