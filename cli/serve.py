"""`collabplan serve`: the cloud's half of a bundle as a server."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from .options import Debug, Json, examples

if TYPE_CHECKING:
    from ..runtime import CloudServer
    from .output import Output

EXAMPLES = examples(
    ("on this machine, to try it out", "collabplan serve bundle"),
    (
        "for other machines, with TLS",
        "collabplan serve bundle --listen 0.0.0.0:7433 --tls-cert server.pem --tls-key server.key",
    ),
    (
        "for devices with a certificate alone",
        "collabplan serve cloud --listen 0.0.0.0:7433 --tls-cert server.pem --tls-key server.key --client-ca ca.pem",
    ),
    ("figures for Prometheus", "collabplan serve bundle --metrics 127.0.0.1:9433"),
)
_LOAD, _TLS = "Load", "Who may connect"


def serve(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="A bundle, or its cloud part alone.")],
    listen: Annotated[
        str, typer.Option(metavar="HOST:PORT", help="Where to listen; port 0 takes any.", rich_help_panel=_TLS)
    ] = "127.0.0.1:7433",
    tls_cert: Annotated[
        Path | None,
        typer.Option(metavar="PEM", help="The server's certificate.", rich_help_panel=_TLS, show_default=False),
    ] = None,
    tls_key: Annotated[
        Path | None, typer.Option(metavar="PEM", help="Its secret key.", rich_help_panel=_TLS, show_default=False)
    ] = None,
    client_ca: Annotated[
        Path | None,
        typer.Option(
            metavar="PEM",
            help="Take only devices whose certificate this authority signed.",
            rich_help_panel=_TLS,
            show_default=False,
        ),
    ] = None,
    insecure: Annotated[
        bool,
        typer.Option("--insecure", help="Plaintext on any address.", rich_help_panel=_TLS, show_default=False),
    ] = False,
    concurrency: Annotated[
        int, typer.Option(metavar="N", min=1, help="Requests that run at once.", rich_help_panel=_LOAD)
    ] = 1,
    threads: Annotated[
        int | None,
        typer.Option(metavar="N", min=1, help="Threads inside an operator; default: torch's.", rich_help_panel=_LOAD),
    ] = None,
    queue: Annotated[
        int,
        typer.Option(
            metavar="N", min=0, help="Requests that may wait; more are refused at once.", rich_help_panel=_LOAD
        ),
    ] = 16,
    max_batch: Annotated[
        int, typer.Option(metavar="N", min=1, help="Most samples of a request.", rich_help_panel=_LOAD)
    ] = 32,
    max_streams: Annotated[
        int, typer.Option(metavar="N", min=1, help="Most devices at once.", rich_help_panel=_LOAD)
    ] = 64,
    micro_batch: Annotated[
        int,
        typer.Option(
            metavar="N",
            min=1,
            help="Run requests of several devices together, up to N samples. Last digits of outputs may then differ.",
            rich_help_panel=_LOAD,
        ),
    ] = 1,
    micro_batch_wait_ms: Annotated[
        float,
        typer.Option(metavar="MS", min=0, help="How long such a batch waits for one more.", rich_help_panel=_LOAD),
    ] = 2.0,
    idle_s: Annotated[
        float, typer.Option(metavar="S", min=1, help="Close streams that are silent so long.", rich_help_panel=_LOAD)
    ] = 300.0,
    grace_s: Annotated[
        float, typer.Option(metavar="S", min=0, help="How long to finish what runs.", rich_help_panel=_LOAD)
    ] = 30.0,
    metrics: Annotated[
        str | None,
        typer.Option(metavar="HOST:PORT", help="Figures for Prometheus.", rich_help_panel="Output", show_default=False),
    ] = None,
    allow_undefended: Annotated[
        bool,
        typer.Option(
            "--allow-undefended",
            help="Answer tensors that no defense acted on, which hide NOTHING: to verify the halves.",
            rich_help_panel="Verification",
            show_default=False,
        ),
    ] = False,
    as_json: Json = False,
    _debug: Debug = False,
) -> None:
    """Answer devices with the cloud half of a bundle, until SIGTERM or Ctrl-C.

    A device must run the edge part of the same bundle. What it sends is checked against the plan before it is run;
    nothing in it is executed or logged. Plaintext is spoken on loopback alone, unless --insecure is given. At the end
    requests that run are finished and new ones refused.

    gRPC's health service answers on the same port.
    """
    import torch

    from ..records import CollabplanError
    from ..runtime import CloudServer, ServeOptions, ServerTls, keep_memory, open_cloud
    from .output import Output

    output = Output(as_json=as_json)
    if (tls_cert is None) != (tls_key is None) or (client_ca is not None and tls_cert is None):
        raise CollabplanError("--tls-cert and --tls-key belong together, and --client-ca needs both")
    if threads is not None:
        torch.set_num_threads(threads)
    options = ServeOptions(
        concurrency=concurrency,
        queue=queue,
        max_batch=max_batch,
        max_streams=max_streams,
        micro_batch=micro_batch,
        micro_batch_wait_ms=micro_batch_wait_ms,
        idle_s=idle_s,
        tls=None if tls_cert is None or tls_key is None else ServerTls(tls_cert, tls_key, client_ca),
        insecure=insecure,
        allow_undefended=allow_undefended,
        metrics=metrics,
    )
    keep_memory()
    with output.step("opening the cloud part"):
        server = CloudServer(open_cloud(folder), listen, options)
    _collect_again()
    server.start()
    _announce(server, output)
    _wait_for_signal()
    output.say("stopping: what runs is finished")
    server.stop(grace_s)
    output.say(f"answered: {server.counts.answered() or 'nothing'}")


def _announce(server: CloudServer, output: Output) -> None:
    part, options = server.part.manifest.part, server.options
    if options.insecure and options.tls is None:
        output.say("WARNING: plaintext; who is on the way reads and changes what passes")
    if options.allow_undefended:
        output.say("WARNING: undefended tensors are answered, which hide nothing; for verification alone")
    if server.metrics_port is not None:
        output.say(f"metrics on port {server.metrics_port}")
    how = "plaintext" if options.tls is None else "mutual TLS" if options.tls.client_ca else "TLS"
    output.say(f"serving bundle {server.part.manifest.bundle_id[:12]} (cut {part.cut_name}) on {server.address}, {how}")
    output.document(
        {
            "address": server.address,
            "metrics_port": server.metrics_port,
            "bundle_id": server.part.manifest.bundle_id,
            "cut": part.cut_name,
            "max_batch": server.max_batch,
        }
    )


def _collect_again() -> None:
    """The command line starts without garbage collection; a server that runs for weeks needs it."""
    import gc

    gc.collect()
    gc.freeze()
    gc.enable()


def _wait_for_signal() -> None:
    """Returns at the first SIGTERM or SIGINT; the next one ends the process at once."""
    import signal
    import threading

    stop = threading.Event()

    def stopping(number: int, frame: object) -> None:  # noqa: ARG001
        for each in (signal.SIGTERM, signal.SIGINT):
            signal.signal(each, signal.SIG_DFL)
        stop.set()

    for each in (signal.SIGTERM, signal.SIGINT):
        signal.signal(each, stopping)
    stop.wait()
