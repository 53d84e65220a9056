"""What a server counts: requests by status, how long they took, how many wait. Nothing about what is in them."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable
from typing import Any

from ...records import CollabplanError
from ..wire.framing import Status
from .engine import Job

_BUCKETS_S = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0)


class Counts:
    """Requests answered, by status."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._answered: Counter[str] = Counter()
        self._observers: list[Callable[[Job], None]] = []

    def add(self, job: Job) -> None:
        """Count an answered request."""
        with self._lock:
            self._answered[job.status.name] += 1
        for observe in self._observers:
            observe(job)

    def answered(self) -> dict[str, int]:
        """By status, those that there were."""
        with self._lock:
            return dict(self._answered)

    def publish(
        self, host: str, port: int, *, waiting: Callable[[], int], streams: Callable[[], int]
    ) -> tuple[int, Callable[[], None]]:
        """Serve the figures to Prometheus at `http://host:port/metrics`, until the returned function is called.

        Args:
            host: where to listen; anybody who reaches it reads the figures.
            port: 0 for any that is free.
            waiting: how many requests wait now.
            streams: how many clients' streams are open now.

        Returns:
            The port, and what ends it.

        Raises:
            CollabplanError: prometheus-client is not installed, or the address cannot be taken.
        """
        try:
            from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, start_http_server
        except ImportError:
            raise CollabplanError("metrics need prometheus-client; run: pip install 'collabplan[runtime]'") from None
        registry = CollectorRegistry()
        requests = Counter("collabplan_requests", "Requests answered.", ["status"], registry=registry)
        for status in Status:
            requests.labels(status.name)
        waited = Histogram("collabplan_queue_seconds", "Waited.", buckets=_BUCKETS_S, registry=registry)
        computed = Histogram("collabplan_compute_seconds", "Ran.", buckets=_BUCKETS_S, registry=registry)
        for name, text, value in (
            ("collabplan_waiting_requests", "Requests that wait.", waiting),
            ("collabplan_open_streams", "Streams of clients.", streams),
        ):
            Gauge(name, text, registry=registry).set_function(value)

        def observe(job: Job) -> None:
            requests.labels(job.status.name).inc()
            waited.observe(job.queue_us / 1e6)
            if job.compute_us:
                computed.observe(job.compute_us / 1e6)

        try:
            started: Any = start_http_server(port, host, registry=registry)
        except OSError as error:
            raise CollabplanError(
                f"metrics cannot listen on {host}:{port} ({error.strerror}); choose another"
            ) from None
        server, thread = started
        self._observers.append(observe)

        def stop() -> None:
            server.shutdown()
            server.server_close()
            thread.join()

        return int(server.server_port), stop
