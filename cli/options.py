"""The options that several commands share, and how examples are set at the end of a help text."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.models import OptionInfo

from ..workflows.options import FEWEST_CROSSING, MOST_CROSSING
from .grouping import option

RUNS_CODE = "Loading TARGET runs its Python code: give only files that you trust."
TARGET_HELP = (
    "path.py, path.py:NAME, package.module:NAME, timm:NAME, torchvision:NAME or hf:NAME; default: the last "
    f"profiled here. {RUNS_CODE}"
)
TARGET, BUDGETS, CONDITIONS, SEARCH, AUDITS, TUNING, MACHINES, CLOUD, OUTPUT = (
    "Target", "Budgets", "Network and devices", "Search", "Audits", "Fine-tuning", "Several machines", "Cloud",
    "Output",
)  # fmt: skip

Json = Annotated[bool, option("Print one JSON document on stdout, everything else on stderr.", None, OUTPUT, "--json")]
Debug = Annotated[bool, option("Show the traceback of an error.", None, OUTPUT, "--debug", rare=True)]
Inputs = Annotated[
    list[str] | None,
    option("Shape of an input: 1x3x32x32, ids=1x128:int64. Once for each input.", "SHAPE", TARGET, "--input"),
]
BatchDim = Annotated[
    list[str] | None,
    option(
        "Dimension of the inputs that counts samples: 1 for all, x=1 or mask=none for one, none where one call is one "
        "sample.",
        "DIM",
        TARGET,
        "--batch-dim",
        rare=True,
    ),
]
DataPath = Annotated[
    Path | None,
    option(
        "Validation data in place of the target's: a folder of pictures (class/file.jpg), "
        ".npz, .safetensors, .csv or .parquet.",
        "PATH",
        TARGET,
        "--data",
    ),
]
MAX_CROSSING = option(
    f"Most tensors that may cross one cut; default: {FEWEST_CROSSING}, or as many as it takes, up to {MOST_CROSSING}.",
    "N",
    TARGET,
    least=1,
)
OtherTarget = Annotated[
    str | None, option(f"The target, if it has moved since. {RUNS_CODE}", "TARGET", TARGET, "--model")
]
OutputFile = Annotated[
    Path | None, option("Also write the result to FILE.", "FILE", OUTPUT, "-o", "--output", writes="file")
]
ReportFile = Annotated[
    Path | None,
    option("Also write the page that `collabplan report` makes.", "FILE", OUTPUT, "--report", writes="file", rare=True),
]
Force = Annotated[bool, option("Replace what lies there.", None, OUTPUT, "--force")]
PlanFile = Annotated[Path, typer.Argument(metavar="PLAN", help="A plan file, written by `collabplan optimize`.")]
USUAL_PLAN = Path("plan.json")
"""Where `optimize` writes a plan, and where the commands that only show one look for it."""

AUDIT = option("Attack the plan; without, it is ESTIMATED.", None, AUDITS, "--audit/--no-audit", default=True)
AUDIT_EFFORT = option("Of the attacks on the plan: quick, standard or thorough.", "EFFORT", AUDITS, default=True)
AUDIT_SEEDS = option("Runs of those attacks.", "N", AUDITS, default=True, least=1, most=1000)
TRUST = option("Refuse a bundle that none of these keys signed (`bundle --sign`). Once for each key.", "PEM", "Bundle")
CLOUD_OPTIONS = {
    "ca": option("Speak TLS; who signed the server's certificate.", "PEM", CLOUD),
    "tls_cert": option("This device's certificate.", "PEM", CLOUD),
    "tls_key": option("Its secret key.", "PEM", CLOUD),
    "server_name": option("The name in the server's certificate, if it is not HOST.", "NAME", CLOUD),
    "insecure": option("Speak plaintext to any address.", None, CLOUD, "--insecure"),
}


def device_option(panel: str | None = None, *, rare: bool = False) -> OptionInfo:
    """`--device`, where this machine runs what a command runs."""
    text = "Where this machine runs halves and attackers: cpu, cuda, cuda:1 or mps."
    return option(text, "DEVICE", panel, default=True, rare=rare)


def memory_option(panel: str | None = None, *, rare: bool = False) -> OptionInfo:
    """`--memory`, how much this machine fills."""
    return option(
        "Memory to fill; activations beyond it lie on the disk. Default: half of what is free.", "4GB", panel, rare=rare
    )


def machine_options(*, rare: bool = False) -> dict[str, OptionInfo]:
    """Database and artifacts of a search by several machines."""
    return {
        "storage": option(
            "PostgreSQL that holds the study: postgresql+psycopg://user:password@host/database.",
            "URL",
            MACHINES,
            rare=rare,
            envvar="COLLABPLAN_STORAGE",
        ),
        "artifacts": artifacts_option(rare=rare),
    }


def artifacts_option(*, rare: bool = False) -> OptionInfo:
    """`--artifacts`, where machines share what they finish."""
    return option(
        "Where machines share finished attacks and fine-tuned weights: a folder, or s3://bucket/prefix.",
        "DIR|S3",
        MACHINES,
        rare=rare,
        envvar="COLLABPLAN_ARTIFACTS",
    )


def _print_all(ctx: Any, value: bool) -> None:
    """Print the help with its rare options, and stop."""
    if not value or ctx.resilient_parsing:
        return
    for parameter in ctx.command.params:
        parameter.hidden = False
    typer.echo(ctx.get_help(), nl=False)
    raise typer.Exit


HelpAll = Annotated[
    bool,
    typer.Option(
        "--help-all",
        help="Show every option, the rare ones too.",
        callback=_print_all,
        is_eager=True,
        expose_value=False,
        show_default=False,
    ),
]


def unwrapped(function: Callable[..., None]) -> str:
    """A function's docstring as help: one line for each paragraph, which wraps at the terminal's width."""
    paragraphs = inspect.cleandoc(function.__doc__ or "").split("\n\n")
    return "\n\n".join(" ".join(paragraph.split()) for paragraph in paragraphs).replace("[", "\\[")


def examples(*pairs: tuple[str, str]) -> str:
    """The end of a help text: worked examples as (what it does, the command).

    A command stands on a line of its own and can be copied whole.
    """
    lines = ["[bold]Examples[/bold]"]
    for what, command in pairs:
        lines += ["", f"[dim]# {what}[/dim]", command]
    return "\n".join(lines)


def defense_option(panel: str, group: type[Any]) -> OptionInfo:
    """`--defense`, as all commands take it. `group` holds its default."""
    default: tuple[str, ...] = group.__dataclass_fields__["defense"].default
    return option(
        f"{_FAMILIES} Default: {', '.join(default)}.",
        "FAMILY",
        panel,
    )


_FAMILIES = (
    "Stages separated by blanks, values by commas: none, dropout:element:0.1..0.9, dropout:channel:keyed:0.3, "
    "noise:gaussian:0.05, projection:share=0.25, 'projection:rank=4,12 quantizer:bits=3,8', quantizer:none. Repeat it "
    "for each family."
)
