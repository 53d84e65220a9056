"""`collabplan link`: measures the network to a running server."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ..workflows.options import CloudOptions
from .grouping import grouped, option
from .options import CLOUD, CLOUD_OPTIONS, OUTPUT, Debug, Force, HelpAll, Json, examples

EXAMPLES = examples(
    ("on the cloud's machine", "collabplan serve bundle --listen 0.0.0.0:7433 --tls-cert cert.pem --tls-key key.pem"),
    ("on the device", "collabplan link cloud.example:7433 --bundle edge --ca ca.pem"),
    ("plan with what was measured", "collabplan optimize --budget-ms 80 --link link.json"),
)
_MEASURE = "Measuring"


@grouped(tls=CLOUD_OPTIONS)
def link(
    cloud: Annotated[str, typer.Argument(metavar="HOST:PORT", help="A server that runs: `collabplan serve`.")],
    tls: CloudOptions,
    bundle: Annotated[
        str,
        option("The bundle that runs there: its folder, or the ID that `bundle` printed.", "DIR|ID", CLOUD),
    ],
    seconds: Annotated[
        float,
        option(
            "For each of round trip, way up and way down.", "S", _MEASURE, default=True, least=0.1, most=3600, unit="s"
        ),
    ] = 1.0,
    most: Annotated[str, option("Largest echo to send.", "SIZE", _MEASURE, default=True)] = "16MiB",
    file: Annotated[
        Path, option("Where to write the link.", "FILE", OUTPUT, "-o", "--output", default=True, writes="file")
    ] = Path("link.json"),
    force: Force = False,
    as_json: Json = False,
    _debug: Debug = False,
    _help_all: HelpAll = False,
) -> None:
    """Measure bandwidth (up and down), round trip, their spread and TCP's slow start to a running server.

    Run it on the device, over the network that it will use. Empty echoes give the round trip, larger ones of several
    sizes the bandwidth: by how much longer they take, so that neither the round trip nor the hosts count. A few follow
    a pause, as a request does.

    It moves some megabytes, for at least 5 seconds. The server answers out of its own memory, and only for
    those who name the bundle that it serves; no model runs.
    """
    from ..records import save
    from ..report.wording import link_text, number
    from ..workflows.link import measure_link_to
    from ..workflows.replacing import refuse_to_replace
    from .output import Output

    output = Output(as_json=as_json)
    refuse_to_replace(file, force)
    report = measure_link_to(cloud, bundle, output, seconds=seconds, most=most, tls=tls)
    trip = report.round_trip
    output.say(link_text(report.link))
    output.say(
        f"empty echoes: p50 {number(trip.p50_ms)} ms, p95 {number(trip.p95_ms)} ms, what both hosts spend included; "
        f"{report.moved_bytes / 1e6:.1f} MB moved"
    )
    for warning in report.warnings:
        output.warning(warning)
    save(report, file)
    output.wrote("link", file)
    output.document(report)
    output.next(f"collabplan optimize --budget-ms 50 --link {file}")
