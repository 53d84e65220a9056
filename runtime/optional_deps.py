"""The packages that serving and asking need, and planning does not: `pip install 'collabplan[runtime]'`."""

from __future__ import annotations

import os

from ..records import CollabplanError

os.environ.setdefault("GRPC_EXPERIMENTS", "-event_engine_client,-event_engine_listener")
"""Before gRPC is loaded: without its newer event loop a small message there and back takes a third less time. Whoever
sets the variable is heard; gRPC ignores names that it does not know."""

try:
    import google.protobuf  # noqa: F401
    import grpc
except ImportError as error:
    raise CollabplanError(
        f"serving and asking a server needs grpcio and protobuf ({error}); run: pip install 'collabplan[runtime]'"
    ) from None

__all__ = ["grpc"]
