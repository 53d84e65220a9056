"""`collabplan profile`: what each node and each cut of a model costs on this machine."""

from __future__ import annotations

import gc
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from ..targets.input_options import InputOptions
from .options import RUNS_CODE, BatchDim, Debug, Inputs, Json, MaxCrossing, OutputFile, examples

if TYPE_CHECKING:
    from ..graph import TracedGraph
    from ..records import Profile
    from ..targets.target import Target
    from .output import Output

EXAMPLES = examples(
    ("a file that defines model and example_inputs", "collabplan profile model.py"),
    ("a function of an installed package", "collabplan profile torchvision.models:resnet18 --input 1x3x224x224"),
    ("one of two machines, its profile to be carried over", "collabplan profile model.py --role edge -o edge.json"),
    ("a GPU, eight samples a request", "collabplan profile model.py --device cuda --batch 8"),
)
_MEASURE = "Measuring"
_STAGES = {"finding cuts": (0.0, 0.0), "nodes": (0.0, 0.2), "cuts": (0.2, 0.8)}
"""Where each stage of a profile begins on the bar, and its share of the whole."""


def profile(
    target: Annotated[
        str, typer.Argument(metavar="TARGET", help=f"path.py, path.py:NAME or package.module:NAME. {RUNS_CODE}")
    ],
    inputs: Inputs = None,
    batch_dim: BatchDim = None,
    max_crossing: MaxCrossing = 4,
    device: Annotated[
        str, typer.Option(metavar="DEVICE", help="cpu, cuda, cuda:1 or mps.", rich_help_panel=_MEASURE)
    ] = "cpu",
    role: Annotated[
        Literal["both", "edge", "cloud"],
        typer.Option(help="Which halves this machine is to run.", rich_help_panel=_MEASURE),
    ] = "both",
    batch: Annotated[int, typer.Option(metavar="N", min=1, help="Samples a request.", rich_help_panel=_MEASURE)] = 1,
    threads: Annotated[
        int | None,
        typer.Option(
            metavar="N", min=1, help="Threads inside an operator; default: torch's.", rich_help_panel=_MEASURE
        ),
    ] = None,
    dtype: Annotated[
        Literal["float32", "float16", "bfloat16", "float64"] | None,
        typer.Option(
            help="Convert a copy and measure that; default: the model as it is.",
            rich_help_panel=_MEASURE,
            show_default=False,
        ),
    ] = None,
    seconds: Annotated[
        float, typer.Option(metavar="S", min=1, help="Time to spend on timing cuts.", rich_help_panel=_MEASURE)
    ] = 30.0,
    file: OutputFile = None,
    as_json: Json = False,
    _debug: Debug = False,
) -> None:
    """Measure a model on this machine, node by node and cut by cut.

    Keeps the profile in .collabplan, where `collabplan optimize` finds it. Loading TARGET runs its Python code.
    """
    from ..records import save
    from ..targets.target import load_target
    from .output import Output
    from .promises import check_promises
    from .workspace import Workspace

    output = Output(as_json=as_json)
    with output.step(f"loading {target}"):
        loaded = load_target(target, InputOptions.given(inputs, batch_dim))
    output.found(f"Target {target}", loaded.findings)
    traced = trace_target(loaded, output)
    if role == "both":  # one of two machines need not have the data
        check_promises(loaded, traced, output)
    made = measure(
        loaded, traced, output, max_crossing=max_crossing, device=device, role=role, batch=batch, threads=threads,
        dtype=dtype, seconds=seconds,
    )  # fmt: skip
    path = Workspace.here().save_profile(made)  # before the report, whose reader may leave early: `| head`
    if file is not None:
        save(made, file)
        path = file
    show_profile(made, output)
    output.wrote("profile", path)
    output.document(made)


def trace_target(target: Target, output: Output) -> TracedGraph:
    """Trace the target's model and say what the user should know about the trace."""
    with output.step("tracing the model"):
        traced = target.trace()
    if not gc.isenabled():  # `main` put it off until here
        gc.freeze()
        gc.set_threshold(100_000, 20, 50)
        gc.enable()
    for note in traced.notes:
        output.say(f"note: {note}")
    return traced


def measure(
    target: Target,
    traced: TracedGraph,
    output: Output,
    *,
    max_crossing: int = 4,
    device: str = "cpu",
    role: Literal["both", "edge", "cloud"] = "both",
    batch: int = 1,
    threads: int | None = None,
    dtype: str | None = None,
    seconds: float = 30.0,
) -> Profile:
    """Profile a traced target with a progress bar. What rebuilds its cuts is kept in the target's options."""
    from ..profilers import profile_model
    from ..runtime import keep_memory

    keep_memory()  # as `serve`, `infer` and `verify` do: what is timed is what is run
    options = {**target.identity.options, "max_crossing": str(max_crossing)}
    with output.bar("profiling") as advance:

        def report(what: str, done: float) -> None:
            start, length = _STAGES.get(what, (1.0, 0.0))
            advance(start + length * done, 1.0, what)

        return profile_model(
            traced,
            target=target.identity.model_copy(update={"options": options}),
            device=device,
            role=role,
            batch=batch,
            threads=threads,
            dtype=dtype,
            max_crossing=max_crossing,
            seconds=seconds,
            on_progress=report,
        )


def show_profile(made: Profile, output: Output) -> None:
    """Print the profile's tables and warnings."""
    from .tables import candidate_cuts, expensive_nodes, measured_power

    load = "" if made.device.load_average is None else f", load average {made.device.load_average:.2f}"
    output.say(
        f"\n{made.model.name} on {made.device.device} ({made.device.name}), {made.device.threads} threads{load}, "
        f"{made.dtype}, batch {made.batch}"
    )
    output.show(expensive_nodes(made), candidate_cuts(made))
    output.say(measured_power(made))
    for warning in made.warnings:
        output.say(f"warning: {warning}")
