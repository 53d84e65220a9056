"""Checks who a server is, before gRPC speaks to it.

gRPC takes a certificate without a subject alternative name (SAN) by its common name, and cannot be told not to. So a
device's certificate whose common name is the server's could stand in for the server. Here a handshake of Python's own
checks authority, date, purpose and SAN (RFC 9525, section 6.3: no common names), and gRPC then trusts the one
certificate that was shown. Whoever answers gRPC in the server's place would need its key.
"""

from __future__ import annotations

import contextlib
import socket
import ssl
from pathlib import Path

from ...records import CollabplanError


class IdentityError(OSError):
    """The server shows a certificate that does not prove who it is."""


def server_certificate(
    host: str, port: int, *, name: str | None, ca: Path | None, shown: tuple[Path, Path] | None, timeout_s: float
) -> bytes:
    """The certificate of a server, in PEM, once it is found to be that server's.

    Args:
        host, port: where it is.
        name: what its certificate must be for; None: `host`.
        ca: who must have signed it; None: any authority of the system.
        shown: this side's certificate and key, for a server that asks for one.
        timeout_s: the time limit, in seconds.

    Raises:
        IdentityError: the certificate is for another name, has no SAN, is expired, or of another authority.
        OSError: there is no connection, or no TLS on it.
        ValueError: the host or the name cannot be one.
        CollabplanError: a file holds no certificate or key, or they do not belong together.
    """
    context = _context(ca, shown)
    with socket.create_connection((host, port), timeout_s) as plain:
        try:
            with context.wrap_socket(plain, server_hostname=name or host) as connection:
                shows = connection.getpeercert(binary_form=True)
                with contextlib.suppress(OSError):  # the other side need not take leave
                    connection.unwrap()
        except ssl.SSLCertVerificationError as error:
            raise IdentityError(f"its certificate is refused: {error.verify_message}") from None
        except ssl.SSLError as error:
            raise OSError(f"no TLS: {error.reason}") from None
    assert shows is not None  # the context requires one
    return ssl.DER_cert_to_PEM_cert(shows).encode()


def _context(ca: Path | None, shown: tuple[Path, Path] | None) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cafile=None if ca is None else str(ca))
        if shown is not None:
            context.load_cert_chain(str(shown[0]), str(shown[1]), password="")
    except ssl.SSLError as error:
        what = ca if shown is None else f"{shown[0]} and {shown[1]}"
        raise CollabplanError(f"{what} cannot be used for TLS ({error.reason}); give PEM files") from None
    context.hostname_checks_common_name = False
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT  # Python 3.13 sets it: the same certificates hold everywhere
    context.set_alpn_protocols(["h2"])
    return context
