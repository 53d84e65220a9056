"""`collabplan serve`: the cloud's half of a bundle as a server."""

from __future__ import annotations

import os
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from ..workflows.options import ServerOptions
from .grouping import grouped, option
from .options import OUTPUT, TRUST, Debug, HelpAll, Json, examples

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
        "only for devices with a certificate",
        "collabplan serve cloud --listen 0.0.0.0:7433 --tls-cert server.pem --tls-key server.key --client-ca ca.pem",
    ),
    ("only a bundle that you signed", "collabplan serve bundle --trust sign.pub"),
    ("figures for Prometheus", "collabplan serve bundle --metrics 9433"),
)
_LOAD, _TLS = "Load", "Who may connect"
_DAY_S = 86_400
_SHOWN = {
    "listen": option("Where to listen; port 0 takes any.", "HOST:PORT", _TLS, default=True),
    "tls_cert": option("The server's certificate.", "PEM", _TLS),
    "tls_key": option("Its secret key.", "PEM", _TLS),
    "client_ca": option("Answer only devices whose certificate this authority signed.", "PEM", _TLS),
    "insecure": option("Speak plaintext on any address.", None, _TLS, "--insecure"),
    "concurrency": option("Requests that run at once.", "N", _LOAD, default=True, least=1, most=256),
    "threads": option("Threads inside an operator; default: torch's choice.", "N", _LOAD, least=1, most=1024),
    "queue": option("Requests that may wait; more are refused at once.", "N", _LOAD, default=True, least=0, most=65536),
    "max_batch": option("Most samples of a request.", "N", _LOAD, default=True, least=1, most=2**31),
    "max_streams": option("Most devices at once.", "N", _LOAD, default=True, least=1, most=4096),
    "max_streams_per_peer": option(
        "Most of them from one address.", "N", _LOAD, rare=True, default=True, least=1, most=4096
    ),
    "micro_batch": option(
        "Run requests of several devices together, up to N samples. Last digits of outputs may then differ.",
        "N",
        _LOAD,
        default=True,
        least=1,
        most=65536,
    ),
    "micro_batch_wait_ms": option(
        "How long such a batch waits for one more.", "MS", _LOAD, default=True, least=0, most=60_000, unit="ms"
    ),
    "idle_s": option("Close streams after S silent seconds.", "S", _LOAD, default=True, least=1, most=_DAY_S, unit="s"),
    "greeting_s": option(
        "Time for a handshake or health check to arrive.",
        "S",
        _LOAD,
        rare=True,
        default=True,
        least=1,
        most=_DAY_S,
        unit="s",
    ),
    "grace_s": option("Time to finish what runs at the end.", "S", _LOAD, default=True, least=0, most=_DAY_S, unit="s"),
    "trust": TRUST,
    "metrics": option("Figures for Prometheus; a PORT alone is on this machine only.", "[HOST:]PORT", OUTPUT),
    "allow_undefended": option(
        "Answer tensors that no defense acted on, which hide NOTHING: to verify the halves.",
        None,
        "Verification",
        "--allow-undefended",
    ),
}


@grouped(options=_SHOWN)
def serve(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="A bundle, or only its cloud part.")],
    options: ServerOptions,
    as_json: Json = False,
    _debug: Debug = False,
    _help_all: HelpAll = False,
) -> None:
    """Answer devices with the cloud half of a bundle, until SIGTERM or Ctrl-C.

    A device must run the edge part of the same bundle. What it sends is checked against the plan before it is run;
    nothing in it is executed or logged. Plaintext is spoken only on loopback, unless --insecure is given. At the end,
    running requests are finished and new ones are refused.

    gRPC's health service answers on the same port.
    """
    from ..workflows.serve import start_server
    from .output import Output

    output = Output(as_json=as_json)
    server = start_server(folder, options, output)
    stop = _first_signal()
    _announce(server, output)
    stop.wait()
    output.say("stopping: what runs is finished")
    finished = server.stop(options.grace_s)
    output.say(f"answered: {server.counts.answered() or 'nothing'}")
    if not finished:
        output.warning("the grace is over; what still ran is dropped, and its devices were told so")
        _leave()


def _announce(server: CloudServer, output: Output) -> None:
    from ..workflows.serve import transport

    part = server.part.manifest.part
    if server.metrics_port is not None:
        output.say(f"metrics on port {server.metrics_port}")
    bundle = server.part.manifest.bundle_id[:12]
    output.say(f"serving bundle {bundle} (cut {part.cut_name}) on {server.address}, {transport(server)}")
    output.document(
        {
            "address": server.address,
            "metrics_port": server.metrics_port,
            "bundle_id": server.part.manifest.bundle_id,
            "cut": part.cut_name,
            "max_batch": server.max_batch,
        }
    )
    output.next(f"collabplan infer DIR --data x.npy --cloud {server.address}", "on the device")


def _leave() -> NoReturn:
    """End the process now: the interpreter would wait for the run that nothing can interrupt."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)


def _first_signal() -> threading.Event:
    """Set at the first SIGTERM or SIGINT; the next one ends the process at once."""
    import signal

    stop = threading.Event()

    def stopping(number: int, frame: object) -> None:  # noqa: ARG001
        for each in (signal.SIGTERM, signal.SIGINT):
            signal.signal(each, signal.SIG_DFL)
        stop.set()

    for each in (signal.SIGTERM, signal.SIGINT):
        signal.signal(each, stopping)
    return stop
