"""The cloud's server: listens, answers the devices of one bundle with its cloud half, and stops in order.

`methods` answers the calls, `half_runner` runs the half, `engine` queues what has to wait, and `streams` closes what is
silent. What a request holds is never logged, and no error message quotes its numbers.
"""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from types import TracebackType

import torch

from ...records import CollabplanError
from ..parts import CloudPart
from ..wire.framing import REQUEST_HEADER_BYTES
from ..wire.service import (
    LEAST_MESSAGE_BYTES,
    Methods,
    ServerTls,
    parse_address,
    require_safe,
    server_options,
)
from ..wire.transport import grpc
from .engine import Engine
from .guard import MOST_GREETINGS, Guard
from .half_runner import HalfRunner
from .health import health_handler
from .limits import ServeLimits
from .methods import ServiceMethods
from .metrics import MetricsEndpoint, ServerCounts, metrics_address
from .streams import OpenStreams

_SPARE_RPCS = 16
"""Threads for calls that are refused, or have just been cancelled."""

_WAITING_RPCS = 64
"""Calls that may wait for a thread. gRPC refuses more of them at once."""

_LAST_WORDS_S = 0.5
"""What answers that are done get to leave, after the time for the runs is over."""

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
            micro-batched, a request could be larger than gRPC takes, or grpcio-health-checking is not installed.

    Example::

        with CloudServer(open_cloud(Path("bundle")), "127.0.0.1:7433") as server:
            print(server.address)
    """

    def __init__(self, part: CloudPart, listen: str, options: ServeOptions | None = None) -> None:
        self.part, self.options = part, options or ServeOptions()
        host, port = parse_address(listen)
        require_safe(host, tls=self.options.tls is not None, insecure=self.options.insecure)
        runner = HalfRunner(part, max_batch=self.options.max_batch, allow_undefended=self.options.allow_undefended)
        runner.require_sendable()
        if self.options.micro_batch > 1:
            runner.require_divisible()
        self.max_batch = runner.max_batch
        self.max_message_bytes = max(REQUEST_HEADER_BYTES + runner.largest_body_bytes, LEAST_MESSAGE_BYTES)
        self.counts = ServerCounts()
        self._streams = OpenStreams(self.options.max_streams, self.options.max_streams_per_peer)
        self._guard = Guard(part.manifest.bundle_id, self._streams, greeting_s=self.options.greeting_s)
        self._stopping, self._stop_lock, self._finished = threading.Event(), threading.Lock(), False
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
            host, port = metrics_address(self.options.metrics)
            self._metrics = MetricsEndpoint(
                self.counts, host, port, waiting=lambda: self._engine.waiting, streams=lambda: len(self._streams)
            )
        self._engine.start()
        self._server.start()
        self._watcher.start()
        return self

    def stop(self, grace_s: float = 30.0) -> bool:
        """Refuse new requests, finish the running ones, and end. A second call waits for the first and says the same.

        Args:
            grace_s: the seconds that running requests get. Then what waits or runs is answered `stopping`. An answer
                that is done by then still leaves.

        Returns:
            True if all requests were finished. Otherwise a thread still runs the half, which nothing can interrupt, and
            the interpreter waits for it when it exits.
        """
        with self._stop_lock:
            if not self._stopping.is_set():
                self._finished = self._stop(grace_s)
            return self._finished

    def _stop(self, grace_s: float) -> bool:
        until = time.monotonic() + grace_s
        self._stopping.set()
        stopped = self._server.stop(grace_s + _LAST_WORDS_S)
        self._streams.end_silent(idle_s=0.0, reading_only=True)
        stopped.wait(grace_s)
        finished = self._engine.stop(max(0.0, until - time.monotonic()))
        stopped.wait()
        self._watcher.join()
        self._pool.shutdown(wait=finished)
        if self._metrics is not None:
            self._metrics.close()
        return finished

    def __enter__(self) -> CloudServer:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _open_server(self) -> None:
        """The gRPC server with the service and gRPC's health check; it does not listen yet."""
        calls = self.options.max_streams + MOST_GREETINGS + _SPARE_RPCS
        self._pool = ThreadPoolExecutor(max_workers=calls, thread_name_prefix="collabplan-rpc")
        self._server = grpc.server(
            self._pool,
            options=server_options(self.max_message_bytes, idle_s=self.options.greeting_s),
            maximum_concurrent_rpcs=calls + _WAITING_RPCS,
        )
        methods, watched = self.methods, self._guard.watched
        handlers = Methods(hello=methods.hello, infer=methods.infer, status=methods.status, echo=methods.echo)
        greeting = partial(watched, needs_bundle=False)
        self._server.add_generic_rpc_handlers(
            (
                handlers.handler(
                    greeting=greeting,
                    known=partial(watched, needs_bundle=True),
                    large=partial(watched, needs_bundle=True, large=True),
                ),
                health_handler(self._stopping, greeting),
            )
        )

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

    def _watch(self) -> None:
        """Close calls whose client has gone silent."""
        idle_s = self.options.idle_s
        while not self._stopping.wait(min(_WATCH_S, idle_s / 4, self.options.greeting_s / 4)):
            self._streams.end_silent(idle_s=idle_s)
            self._guard.end_silent()


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
