"""Answers devices with the cloud's half of a bundle."""

from __future__ import annotations

import gc
from dataclasses import fields
from pathlib import Path

import torch

from ..records import CollabplanError
from ..runtime import CloudServer, ServeOptions, ServerTls, keep_memory, open_cloud
from ..runtime.server.limits import ServeLimits
from ..runtime.server.metrics import metrics_address
from ..runtime.wire.service import is_loopback
from .options import ServerOptions
from .reporter import Reporter


def start_server(folder: Path, options: ServerOptions, reporter: Reporter) -> CloudServer:
    """Open the cloud part of a bundle and start to answer devices.

    Args:
        folder: a bundle, or its cloud part alone.
        options: where to listen, who may connect, and how much runs at once.
        reporter: hears what is done, and warnings.

    Returns:
        The running server; whoever started it calls `stop(grace_s)`.

    Raises:
        CollabplanError: certificates that do not belong together, or a folder that holds no cloud part or one
            that no trusted key signed.
    """
    tls_cert, tls_key, client_ca = options.tls_cert, options.tls_key, options.client_ca
    if (tls_cert is None) != (tls_key is None) or (client_ca is not None and tls_cert is None):
        raise CollabplanError("--tls-cert and --tls-key belong together, and --client-ca needs both")
    if options.threads is not None:
        torch.set_num_threads(options.threads)
    served = ServeOptions(
        tls=None if tls_cert is None or tls_key is None else ServerTls(tls_cert, tls_key, client_ca),
        **{field.name: getattr(options, field.name) for field in fields(ServeLimits)},
    )
    keep_memory()
    with reporter.progress("opening the cloud part"):
        server = CloudServer(open_cloud(folder, trust=options.trust or None), options.listen, served)
    _collect_garbage()
    server.start()
    if options.insecure and served.tls is None:
        reporter.warning("plaintext; who is on the way reads and changes what passes")
    if options.metrics is not None and not is_loopback(metrics_address(options.metrics)[0]):
        reporter.warning("whoever reaches the metrics' address reads them; give a PORT alone to keep them here")
    if options.allow_undefended:
        reporter.warning("undefended tensors are answered, which hide nothing; for verification alone")
    return server


def transport(server: CloudServer) -> str:
    """How devices connect: plaintext, TLS or mutual TLS."""
    tls = server.options.tls
    if tls is None:
        return "plaintext"
    return "mutual TLS" if tls.client_ca else "TLS"


def _collect_garbage() -> None:
    """The command line starts without garbage collection; a server that runs for weeks needs it."""
    gc.collect()
    gc.freeze()
    gc.enable()
