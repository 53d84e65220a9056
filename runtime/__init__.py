"""Runs a plan: the bundle, the edge client, the cloud server and the verification.

The public API is lazy: a name loads its module, and torch with it, on first use.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .. import lazy_api

if TYPE_CHECKING:
    from .bundle import WrittenBundle, write_bundle
    from .device.client import EdgeClient
    from .device.errors import ReleaseError, UnreachableError
    from .device.release_limiter import ReleasePolicy
    from .halves import write_halves
    from .malloc import keep_memory
    from .parts import CloudPart, EdgePart, open_cloud, open_edge
    from .server.server import CloudServer, ServeOptions
    from .wire.service import ClientTls, ServerTls

_HOMES = {
    "ClientTls": "wire.service",
    "CloudPart": "parts",
    "CloudServer": "server.server",
    "EdgeClient": "device.client",
    "EdgePart": "parts",
    "ReleasePolicy": "device.release_limiter",
    "ServeOptions": "server.server",
    "ServerTls": "wire.service",
    "ReleaseError": "device.errors",
    "UnreachableError": "device.errors",
    "WrittenBundle": "bundle",
    "keep_memory": "malloc",
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
    "ReleaseError",
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

__getattr__, __dir__ = lazy_api(__name__, _HOMES)
