"""`collabplan verify`: runs a plan for real and holds its predictions to it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from .cloud_options import Ca, Insecure, ServerName, TlsCert, TlsKey, client_tls
from .options import RUNS_CODE, Debug, Json, OtherTarget, OutputFile, examples

if TYPE_CHECKING:
    from ..records import Plan
    from .output import Output

EXAMPLES = examples(
    ("on this machine, over a loopback link shaped like the plan's", "collabplan verify plan.json"),
    ("over another link", "collabplan verify plan.json --link-shape 20mbps,15ms"),
    (
        "against a server that runs the plan's bundle, with the result in the plan",
        "collabplan verify plan.json --cloud cloud.example:7433 --ca ca.pem -o verified.json",
    ),
)
_CLOUD, _HOW = "Cloud", "How"


def verify(
    plan: Annotated[
        Path, typer.Argument(metavar="PLAN", help=f"A plan file, written by `collabplan optimize`. {RUNS_CODE}")
    ],
    cloud: Annotated[
        str | None,
        typer.Option(
            metavar="HOST:PORT",
            help="A server that runs the plan's bundle; default: one on this machine, behind a shaped link.",
            rich_help_panel=_CLOUD,
            show_default=False,
        ),
    ] = None,
    ca: Ca = None,
    tls_cert: TlsCert = None,
    tls_key: TlsKey = None,
    server_name: ServerName = None,
    insecure: Insecure = False,
    link_shape: Annotated[
        str | None,
        typer.Option(
            metavar="RATE,RTT",
            help="The loopback link: 20mbps,15ms; default: the plan's.",
            rich_help_panel=_HOW,
            show_default=False,
        ),
    ] = None,
    requests: Annotated[int, typer.Option(metavar="N", min=1, help="How many are timed.", rich_help_panel=_HOW)] = 60,
    data: Annotated[
        Literal["confirm", "validation"],
        typer.Option(help="Samples for accuracy: those of the plan's figures, or all.", rich_help_panel=_HOW),
    ] = "confirm",
    key_file: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Secret mask keys, for a plan with keyed masks; default: one thrown away afterwards.",
            rich_help_panel=_HOW,
            show_default=False,
        ),
    ] = None,
    model: OtherTarget = None,
    file: OutputFile = None,
    as_json: Json = False,
    _debug: Debug = False,
) -> None:
    """Run the two halves of a plan and print predicted against measured: latency part by part, and accuracy.

    Without --cloud the cloud half runs in a second process, over a loopback link with the bandwidth, round trip and
    slow start of the plan's link (or of --link-shape), and undefended outputs are compared bit for bit too. With it,
    the link is whatever lies between, and is taken to be the plan's.

    Exit 1 where the measured median or the accuracy lies outside the plan's interval. -o writes the plan with what was
    measured. Run it on an otherwise idle machine.
    """
    from ..records import BudgetError, CollabplanError
    from ..runtime import keep_memory
    from ..runtime.over_the_wire import Subject
    from ..runtime.shaping import Shape
    from ..runtime.verify import Server
    from ..runtime.verify import verify as run
    from .output import Output
    from .planned import open_planned
    from .promises import reading_of
    from .verify_table import against, told

    output = Output(as_json=as_json)
    if cloud is not None and link_shape is not None:
        raise CollabplanError("--link-shape is for a server on this machine; leave it or --cloud out")
    shape = None if link_shape is None else Shape.parse(link_shape)
    tls = client_tls(ca, tls_cert, tls_key, server_name)
    keep_memory()
    found = open_planned(plan, model, output, with_data=True)
    with output.step("reading the data"):
        loaded = found.target.load_data(found.traced)
    _say_devices(found.plan, cloud is not None, output)
    subject = Subject(
        found.plan,
        found.traced,
        found.cut,
        loaded.confirm if data == "confirm" else loaded.validation,
        found.tuned,
        found.directions,
        found.target.evaluate,
        loaded.pixel_scaling(found.traced),
        reading=reading_of(found.target, found.traced, loaded),
    )
    server = None if cloud is None else Server(cloud, tls, insecure)
    with output.step(f"running {found.plan.cut_name}"):
        measured = run(subject, requests=requests, shape=shape, server=server, key_file=key_file)
    output.show(against(measured))
    for line in told(measured, found.plan):
        output.say(line)
    if file is not None:
        _save(found.plan.model_copy(update={"measured": measured}), plan, file, output)
    output.document(measured)
    if measured.violations:
        raise BudgetError(f"not as planned: {'; '.join(measured.violations)}")
    output.say("verified: the plan does what it says")


def _say_devices(plan: Plan, remote: bool, output: Output) -> None:
    """Warn where the plan is of other machines than this one."""
    from ..records import processor_name

    others = {"edge": plan.edge_device} if remote else {"edge": plan.edge_device, "cloud": plan.cloud_device}
    for role, device in others.items():
        if device.name != processor_name() or device.device != "cpu":
            output.say(f"WARNING: the plan's {role} is {device.name} ({device.device}), this machine is another")


def _save(plan: Plan, source: Path, file: Path, output: Output) -> None:
    """Write the plan with what was measured; its tensors go along to another folder."""
    from ..records import save, write_bytes

    for named in (plan.tuned_weights, plan.directions):
        if named is not None and file.resolve().parent != source.resolve().parent:
            write_bytes(file.with_name(named.file), source.with_name(named.file).read_bytes())
    save(plan, file)
    output.wrote("plan, with what was measured", file)
