"""How a server is spoken to: the options of every command that asks one."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from ..runtime import ClientTls

_CLOUD = "Cloud"

Ca = Annotated[
    Path | None,
    typer.Option(
        metavar="PEM",
        help="Speak TLS; who signed the server's certificate.",
        rich_help_panel=_CLOUD,
        show_default=False,
    ),
]
TlsCert = Annotated[
    Path | None,
    typer.Option(metavar="PEM", help="This device's certificate.", rich_help_panel=_CLOUD, show_default=False),
]
TlsKey = Annotated[
    Path | None, typer.Option(metavar="PEM", help="Its secret key.", rich_help_panel=_CLOUD, show_default=False)
]
ServerName = Annotated[
    str | None,
    typer.Option(
        metavar="NAME",
        help="The name in the server's certificate, where it is not HOST.",
        rich_help_panel=_CLOUD,
        show_default=False,
    ),
]
Insecure = Annotated[
    bool,
    typer.Option("--insecure", help="Plaintext to any address.", rich_help_panel=_CLOUD, show_default=False),
]


def client_tls(ca: Path | None, cert: Path | None, key: Path | None, server_name: str | None) -> ClientTls | None:
    """What the options say; None for plaintext.

    Raises:
        CollabplanError: a certificate without its key.
    """
    from ..runtime import ClientTls

    return ClientTls(ca, cert, key, server_name) if ca or cert or key or server_name else None
