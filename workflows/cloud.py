"""How a device speaks to a server."""

from __future__ import annotations

from ..runtime import ClientTls
from .options import CloudOptions


def client_tls(options: CloudOptions) -> ClientTls | None:
    """The certificates of a connection; None for plaintext.

    Raises:
        CollabplanError: a certificate without its key.
    """
    if not (options.ca or options.tls_cert or options.tls_key or options.server_name):
        return None
    return ClientTls(options.ca, options.tls_cert, options.tls_key, options.server_name)
