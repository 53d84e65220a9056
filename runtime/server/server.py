"""The cloud's server: listens, answers the devices of one bundle with its cloud half, and stops in order.

`methods` answers the calls, `half_runner` runs the half, `engine` queues what has to wait, and `streams` closes what is
silent. What a request holds is never logged, and no error message quotes its numbers.
"""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from types import TracebackType

import torch

from ...records import CollabplanError
from ...records.extras import optional_imports
from ..parts import CloudPart
from ..wire.framing import REQUEST_HEADER_BYTES
from ..wire.service import (
    LEAST_MESSAGE_BYTES,
    SERVICE,
    Methods,
    ServerTls,
    parse_address,
    require_safe,
    server_options,
)
from ..wire.transport import grpc
from .engine import Engine
from .half_runner import HalfRunner
from .limits import ServeLimits
from .methods import ServiceMethods
from .metrics import MetricsEndpoint, ServerCounts
from .streams import OpenStreams

_OTHER_RPCS = 8
"""Calls that may be open besides streams: handshakes, status, health."""

_WATCH_S = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class ServeOptions(ServeLimits):
    """How a server works.

    Attributes:
        tls: the server's certificate; None serves plaintext, on loopback or with `insecure` alone.
    """

    tls: ServerTls | None = None


class CloudServer:
    """Serves one cloud part. As a context manager it starts on entry and stops on exit.

    Args:
        part: from `open_cloud`.
        listen: `HOST:PORT`; port 0 takes any free port.
        options: how it works.

    Attributes:
        counts: the requests answered so far, by status.
        max_batch: the most samples of one request.
        max_message_bytes: the largest message that is received.
        host, port: where it listens.

    Raises:
        CollabplanError: the address cannot be listened on, plaintext would leave this machine, the model cannot be
            micro-batched, or grpcio-health-checking is not installed.

    Example::

        with CloudServer(open_cloud(Path("bundle")), "127.0.0.1:7433") as server:
            print(server.address)
    """

    def __init__(self, part: CloudPart, listen: str, options: ServeOptions | None = None) -> None:
        self.part, self.options = part, options or ServeOptions()
        host, port = parse_address(listen)
        require_safe(host, tls=self.options.tls is not None, insecure=self.options.insecure)
        runner = HalfRunner(part, max_batch=self.options.max_batch, allow_undefended=self.options.allow_undefended)
        if self.options.micro_batch > 1:
            runner.require_divisible()
        self.max_batch = runner.max_batch
        self.max_message_bytes = max(REQUEST_HEADER_BYTES + runner.largest_body_bytes, LEAST_MESSAGE_BYTES)
        self.counts = ServerCounts()
        self._streams = OpenStreams(self.options.max_streams)
        self._stopping = threading.Event()
        self._engine = _engine(runner, self.options)
        self.methods = ServiceMethods(
            runner,
            self._engine,
            self._streams,
            self.counts,
            self._stopping,
            max_message_bytes=self.max_message_bytes,
            reads_ahead=self.options.micro_batch > 1,
        )
        self._open_server()
        self.host, self.port = host, self._bind(host, port)
        self._metrics: MetricsEndpoint | None = None
        self._watcher = threading.Thread(target=self._watch, name="collabplan-watch", daemon=True)

    @property
    def address(self) -> str:
        """The `HOST:PORT` that it listens on."""
        return _address(self.host, self.port)

    @property
    def metrics_port(self) -> int | None:
        """The port of the Prometheus endpoint; None if there is none, or before `start`."""
        return None if self._metrics is None else self._metrics.port

    def start(self) -> CloudServer:
        """Begin to answer.

        Raises:
            CollabplanError: the Prometheus endpoint cannot be opened, or prometheus-client is not installed.
        """
        if self.options.metrics is not None:
            host, port = parse_address(self.options.metrics)
            self._metrics = MetricsEndpoint(
                self.counts, host, port, waiting=lambda: self._engine.waiting, streams=lambda: len(self._streams)
            )
        self._engine.start()
        self._server.start()
        self._set_health(serving=True)
        self._watcher.start()
        return self

    def stop(self, grace_s: float = 30.0) -> None:
        """Refuse new requests, finish the running ones, and end. A second call does nothing.

        Args:
            grace_s: the seconds that running requests get.
        """
        if self._stopping.is_set():
            return
        self._stopping.set()
        self._set_health(serving=False)
        stopped = self._server.stop(grace_s)
        self._streams.end_silent(idle_s=0.0, reading_only=True)
        stopped.wait()
        self._engine.stop()
        self._watcher.join()
        self._pool.shutdown()
        if self._metrics is not None:
            self._metrics.close()

    def __enter__(self) -> CloudServer:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _open_server(self) -> None:
        """The gRPC server with the service and gRPC's health service; it does not listen yet."""
        with optional_imports():
            from grpc_health.v1 import health, health_pb2_grpc

        rpcs = self.options.max_streams + _OTHER_RPCS
        self._pool = ThreadPoolExecutor(max_workers=rpcs, thread_name_prefix="collabplan-rpc")
        self._server = grpc.server(
            self._pool, options=server_options(self.max_message_bytes), maximum_concurrent_rpcs=rpcs
        )
        methods = self.methods
        handlers = Methods(hello=methods.hello, infer=methods.infer, status=methods.status, echo=methods.echo)
        self._server.add_generic_rpc_handlers((handlers.handler(),))
        self._health = health.HealthServicer()
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._server)

    def _bind(self, host: str, port: int) -> int:
        """The port that the server listens on. Raises CollabplanError."""
        address, tls = _address(host, port), self.options.tls
        try:
            if tls is None:
                bound = self._server.add_insecure_port(address)
            else:
                bound = self._server.add_secure_port(address, tls.credentials())
        except (RuntimeError, ValueError):
            bound = 0
        if not bound:
            raise CollabplanError(
                f"cannot listen on {address}: the port is taken, the host is not this machine's, or the TLS files do "
                "not belong together"
            )
        return int(bound)

    def _set_health(self, *, serving: bool) -> None:
        from grpc_health.v1 import health_pb2

        states = health_pb2.HealthCheckResponse
        for service in ("", SERVICE):
            self._health.set(service, states.SERVING if serving else states.NOT_SERVING)

    def _watch(self) -> None:
        """Close streams whose client has gone silent."""
        while not self._stopping.wait(min(_WATCH_S, self.options.idle_s / 4)):
            self._streams.end_silent(idle_s=self.options.idle_s)


def _engine(runner: HalfRunner, options: ServeOptions) -> Engine:
    return Engine(
        runner.run,
        concurrency=options.concurrency,
        queue=options.queue,
        micro_batch=options.micro_batch,
        wait_s=options.micro_batch_wait_ms / 1e3,
        inline=torch.get_num_threads() == 1,
    )


def _address(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
