"""What a server counts: requests by status, how long they took, how many wait. Nothing about what is in them."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections import Counter
from collections.abc import Callable
from socketserver import TCPServer, ThreadingMixIn
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer

from ...records import CollabplanError
from ...records.extras import optional_imports
from ..wire.framing import Status
from ..wire.service import parse_address
from .engine import Job

_BUCKETS_S = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0)

MOST_READERS = 8
"""Connections to the metrics that are read at once."""


class ServerCounts:
    """Requests answered so far, by status. Safe to use from several threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._answered: Counter[str] = Counter()
        self._observers: list[Callable[[Job], None]] = []

    def add(self, job: Job) -> None:
        """Count an answered request, and show it to the observers."""
        with self._lock:
            self._answered[job.status.name] += 1
        for observe in self._observers:
            observe(job)

    def answered(self) -> dict[str, int]:
        """The number of requests by the name of their status; a status that never occurred is absent."""
        with self._lock:
            return dict(self._answered)

    def observe(self, observer: Callable[[Job], None]) -> None:
        """Have `observer` called with every request that is answered from now on."""
        self._observers.append(observer)


class MetricsEndpoint:
    """Serves the counts to Prometheus at `http://host:port/metrics` until it is closed.

    A connection is closed after `patience_s`, whatever it sends, and no more than `MOST_READERS` are read at once.

    Args:
        counts: the server's.
        host: where to listen. Anybody who reaches the address can read the figures.
        port: 0 takes any free port.
        waiting: returns how many requests wait now.
        streams: returns how many streams are open now.
        patience_s: the seconds that one reader gets.

    Attributes:
        port: where it listens.

    Raises:
        CollabplanError: prometheus-client is not installed, or the address cannot be listened on.
    """

    def __init__(
        self,
        counts: ServerCounts,
        host: str,
        port: int,
        *,
        waiting: Callable[[], int],
        streams: Callable[[], int],
        patience_s: float = 5.0,
    ) -> None:
        with optional_imports():
            from prometheus_client import CollectorRegistry, Gauge, make_wsgi_app

        registry = CollectorRegistry()
        for name, text, value in (
            ("collabplan_waiting_requests", "Requests that wait.", waiting),
            ("collabplan_open_streams", "Streams that are open.", streams),
        ):
            Gauge(name, text, registry=registry).set_function(value)
        observer = _observer(registry)
        try:
            self._server = _Listener((host, port), patience_s)
        except OSError as error:
            raise CollabplanError(
                f"metrics cannot listen on {host}:{port} ({error.strerror}); choose another address"
            ) from None
        self._server.set_app(make_wsgi_app(registry))
        self.port = int(self._server.server_port)
        self._thread = threading.Thread(target=self._server.serve_forever, name="collabplan-metrics", daemon=True)
        self._thread.start()
        counts.observe(observer)

    def close(self) -> None:
        """Stop listening."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


def metrics_address(text: str) -> tuple[str, int]:
    """Host and port of the endpoint: `HOST:PORT`, or `PORT` on this machine alone.

    Raises:
        CollabplanError: the text has another form.

    Examples:
        >>> metrics_address("9433"), metrics_address("0.0.0.0:9433")
        (('127.0.0.1', 9433), ('0.0.0.0', 9433))
    """
    return parse_address(f"127.0.0.1:{text}" if text.isdecimal() else text)


class _Quiet(WSGIRequestHandler):
    """Logs nothing: the address and the path are what a stranger sent."""

    def log_message(self, *_: object) -> None:
        pass


class _Listener(ThreadingMixIn, WSGIServer):
    """Reads a few connections at once, each for a while."""

    daemon_threads, block_on_close = True, False

    def __init__(self, address: tuple[str, int], patience_s: float) -> None:
        self.address_family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
        self._patience_s, self._free = patience_s, threading.BoundedSemaphore(MOST_READERS)
        super().__init__(address, _Quiet)

    def server_bind(self) -> None:
        """Bind without the look-up of the host's name, which may wait for a name server."""
        TCPServer.server_bind(self)
        self.server_name, self.server_port = "metrics", self.server_address[1]
        self.setup_environ()

    def process_request(self, request: Any, client_address: Any) -> None:
        """Read a connection in a thread of its own, if one is free."""
        if self._free.acquire(blocking=False):
            super().process_request(request, client_address)
        else:
            self.shutdown_request(request)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """What that thread does."""
        over = threading.Timer(self._patience_s, _shut, [request])
        over.daemon = True
        over.start()
        try:
            super().process_request_thread(request, client_address)
        finally:
            over.cancel()
            self._free.release()

    def handle_error(self, *_: object) -> None:
        """Say nothing of a connection that broke."""


def _shut(connection: socket.socket) -> None:
    with contextlib.suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)


def _observer(registry: Any) -> Callable[[Job], None]:
    """Feeds the metrics of single requests in `registry`."""
    from prometheus_client import Counter, Histogram

    requests = Counter("collabplan_requests", "Requests answered.", ["status"], registry=registry)
    for status in Status:
        requests.labels(status.name)
    waited = Histogram("collabplan_queue_seconds", "Time in the queue.", buckets=_BUCKETS_S, registry=registry)
    computed = Histogram("collabplan_compute_seconds", "Time of the run.", buckets=_BUCKETS_S, registry=registry)

    def observe(job: Job) -> None:
        requests.labels(job.status.name).inc()
        waited.observe(job.queue_us / 1e6)
        if job.compute_us:
            computed.observe(job.compute_us / 1e6)

    return observe
