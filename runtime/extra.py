"""The packages that serving and asking need, and planning does not: `pip install 'collabplan[runtime]'`."""

from __future__ import annotations

from ..records import CollabplanError

try:
    import google.protobuf  # noqa: F401
    import grpc
except ImportError as error:
    raise CollabplanError(
        f"serving and asking a server needs grpcio and protobuf ({error}); run: pip install 'collabplan[runtime]'"
    ) from None

__all__ = ["grpc"]
