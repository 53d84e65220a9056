"""Floor 6: runs a plan. The bundle, the edge client, the cloud server and the verification live here.

The face is lazy. What a device needs imports neither Optuna nor scikit-learn.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .. import lazy_face

if TYPE_CHECKING:
    from .accountant import ReleasePolicy
    from .bundle import WrittenBundle, write_bundle
    from .cloud import CloudServer, ServeOptions
    from .edge import EdgeClient
    from .halves import write_halves
    from .memory import keep_memory
    from .parts import CloudPart, EdgePart, open_cloud, open_edge
    from .service import ClientTls, ServerTls
    from .session import UnreachableError

_HOMES = {
    "ClientTls": "service",
    "CloudPart": "parts",
    "CloudServer": "cloud",
    "EdgeClient": "edge",
    "EdgePart": "parts",
    "ReleasePolicy": "accountant",
    "ServeOptions": "cloud",
    "ServerTls": "service",
    "UnreachableError": "session",
    "WrittenBundle": "bundle",
    "keep_memory": "memory",
    "open_cloud": "parts",
    "open_edge": "parts",
    "write_bundle": "bundle",
    "write_halves": "halves",
}

__all__ = [
    "ClientTls",
    "CloudPart",
    "CloudServer",
    "EdgeClient",
    "EdgePart",
    "ReleasePolicy",
    "ServeOptions",
    "ServerTls",
    "UnreachableError",
    "WrittenBundle",
    "keep_memory",
    "open_cloud",
    "open_edge",
    "write_bundle",
    "write_halves",
]

__getattr__, __dir__ = lazy_face(__name__, _HOMES)
