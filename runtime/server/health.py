"""gRPC's standard health check, as load balancers ask for it.

Only `Check` is answered. `Watch` would hold a call open for as long as a client likes, and clients that ask for it fall
back where it is absent: https://github.com/grpc/grpc/blob/master/doc/health-checking.md
"""

from __future__ import annotations

import threading
from typing import Any

from ...records import printable
from ...records.extras import optional_imports
from ..wire.service import SERVICE, Wrap, one_request
from ..wire.transport import grpc
from .guard import abort


def health_handler(stopping: threading.Event, watched: Wrap) -> Any:
    """The handler for `server.add_generic_rpc_handlers`.

    Args:
        stopping: set when the server takes nothing more.
        watched: watches the call.

    Raises:
        CollabplanError: grpcio-health-checking is not installed.
    """
    with optional_imports():
        from grpc_health.v1 import health_pb2

    def check(request: Any, context: Any) -> Any:
        if request.service not in ("", SERVICE):
            abort(context, grpc.StatusCode.NOT_FOUND, f"there is no service {printable(request.service, 80)!r} here")
        states = health_pb2.HealthCheckResponse
        return states(status=states.NOT_SERVING if stopping.is_set() else states.SERVING)

    name = health_pb2.DESCRIPTOR.services_by_name["Health"].full_name
    return grpc.method_handlers_generic_handler(
        name, {"Check": one_request(watched(check), health_pb2.HealthCheckRequest)}
    )
