"""`collabplan link`: measures the network to a running server."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .cloud_options import Ca, Insecure, ServerName, TlsCert, TlsKey, client_tls
from .options import Debug, Json, examples

EXAMPLES = examples(
    ("on the cloud's machine", "collabplan serve bundle --listen 0.0.0.0:7433 --tls-cert cert.pem --tls-key key.pem"),
    ("on the device", "collabplan link cloud.example:7433 --ca ca.pem -o link.json"),
    ("plan with what was measured", "collabplan optimize --budget-ms 80 --link link.json"),
)
_MEASURE = "Measuring"


def link(
    cloud: Annotated[str, typer.Argument(metavar="HOST:PORT", help="A server that runs: `collabplan serve`.")],
    seconds: Annotated[
        float,
        typer.Option(
            metavar="S", min=0.1, help="For each of round trip, way up and way down.", rich_help_panel=_MEASURE
        ),
    ] = 1.0,
    most: Annotated[
        str, typer.Option(metavar="SIZE", help="Largest echo to send.", rich_help_panel=_MEASURE)
    ] = "16MiB",
    ca: Ca = None,
    tls_cert: TlsCert = None,
    tls_key: TlsKey = None,
    server_name: ServerName = None,
    insecure: Insecure = False,
    file: Annotated[
        Path, typer.Option("-o", "--output", metavar="FILE", help="Where to write the link.", rich_help_panel="Output")
    ] = Path("link.json"),
    as_json: Json = False,
    _debug: Debug = False,
) -> None:
    """Measure bandwidth (up and down), round trip, their spread and TCP's slow start to a running server.

    Run it on the device, over the network that it will use. Empty echoes give the round trip, larger ones of several
    sizes the bandwidth: by how much longer they take, so that neither the round trip nor the hosts count. A few follow
    a pause, as a request does.

    It moves some megabytes, for at least 5 seconds. The server answers out of its own memory; no model runs.
    """
    from ..records import parse_size, save
    from ..runtime.device.link_measurement import FIRST_BYTES, measure_link
    from ..runtime.device.session import Address
    from .output import Output
    from .tables import latency, link_text

    output = Output(as_json=as_json)
    address = Address.checked(cloud, client_tls(ca, tls_cert, tls_key, server_name), insecure=insecure)
    with output.step(f"measuring the link to {cloud}"):
        report = measure_link(address, seconds=seconds, most_bytes=max(parse_size(most), FIRST_BYTES))
    trip = report.round_trip
    output.say(link_text(report.link))
    output.say(
        f"empty echoes: p50 {latency(trip.p50_ms)} ms, p95 {latency(trip.p95_ms)} ms, what both hosts spend included; "
        f"{report.moved_bytes / 1e6:.1f} MB moved"
    )
    for warning in report.warnings:
        output.say(f"WARNING: {warning}")
    save(report, file)
    output.wrote("link", file)
    output.document(report)
