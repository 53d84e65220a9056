"""What a server counts: requests by status, how long they took, how many wait. Nothing about what is in them."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable
from typing import Any

from ...records import CollabplanError
from ...records.extras import optional_imports
from ..wire.framing import Status
from .engine import Job

_BUCKETS_S = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0)


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

    Args:
        counts: the server's.
        host: where to listen. Anybody who reaches the address can read the figures.
        port: 0 takes any free port.
        waiting: returns how many requests wait now.
        streams: returns how many streams are open now.

    Attributes:
        port: where it listens.

    Raises:
        CollabplanError: prometheus-client is not installed, or the address cannot be listened on.
    """

    def __init__(
        self, counts: ServerCounts, host: str, port: int, *, waiting: Callable[[], int], streams: Callable[[], int]
    ) -> None:
        with optional_imports():
            from prometheus_client import CollectorRegistry, Gauge, start_http_server

        registry = CollectorRegistry()
        for name, text, value in (
            ("collabplan_waiting_requests", "Requests that wait.", waiting),
            ("collabplan_open_streams", "Streams that are open.", streams),
        ):
            Gauge(name, text, registry=registry).set_function(value)
        observer = _observer(registry)
        try:
            self._server, self._thread = start_http_server(port, host, registry=registry)
        except OSError as error:
            raise CollabplanError(
                f"metrics cannot listen on {host}:{port} ({error.strerror}); choose another address"
            ) from None
        self.port = int(self._server.server_port)
        counts.observe(observer)

    def close(self) -> None:
        """Stop listening."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


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
