"""What is counted is published, by status, and nothing else."""

from __future__ import annotations

import socket
import urllib.error
import urllib.request

import pytest
from collabplan.records import CollabplanError
from collabplan.runtime.server.engine import Job
from collabplan.runtime.server.metrics import MOST_READERS, MetricsEndpoint, ServerCounts, metrics_address
from collabplan.runtime.wire.framing import BodyKind, Status


def answered(status: Status) -> Job:
    job = Job(BodyKind.defended, 1, b"", 0.0, queue_us=1500, compute_us=30_000)
    job.finish(status, b"")
    return job


def test_requests_are_counted_by_status() -> None:
    counts = ServerCounts()
    for status in (Status.ok, Status.late, Status.ok):
        counts.add(answered(status))
    assert counts.answered() == {"ok": 2, "late": 1}


def test_the_endpoint_publishes_the_requests_since_it_was_opened() -> None:
    counts = ServerCounts()
    counts.add(answered(Status.ok))
    endpoint = MetricsEndpoint(counts, "127.0.0.1", 0, waiting=lambda: 3, streams=lambda: 4)
    counts.add(answered(Status.invalid))
    text = urllib.request.urlopen(f"http://127.0.0.1:{endpoint.port}/metrics", timeout=10).read().decode()
    endpoint.close()
    for line in (
        'collabplan_requests_total{status="invalid"} 1.0',
        'collabplan_requests_total{status="ok"} 0.0',
        "collabplan_waiting_requests 3.0",
        "collabplan_open_streams 4.0",
        'collabplan_queue_seconds_bucket{le="0.002"} 1.0',
        'collabplan_compute_seconds_bucket{le="0.02"} 0.0',
    ):
        assert line in text.splitlines()
    with pytest.raises(urllib.error.URLError, match="refused"):
        urllib.request.urlopen(f"http://127.0.0.1:{endpoint.port}/metrics", timeout=10)


def test_a_taken_address_is_one_clear_error() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(CollabplanError, match=f"metrics cannot listen on 127.0.0.1:{port}"):
            MetricsEndpoint(ServerCounts(), "127.0.0.1", port, waiting=lambda: 0, streams=lambda: 0)


def test_a_port_alone_is_on_this_machine() -> None:
    assert metrics_address("9433") == ("127.0.0.1", 9433)
    assert metrics_address("0.0.0.0:9433") == ("0.0.0.0", 9433)
    with pytest.raises(CollabplanError, match="is not an address"):
        metrics_address("nowhere")


def test_readers_that_send_nothing_or_little_by_little_are_left() -> None:
    endpoint = MetricsEndpoint(ServerCounts(), "127.0.0.1", 0, waiting=lambda: 0, streams=lambda: 0, patience_s=0.4)
    address = ("127.0.0.1", endpoint.port)
    slow = [socket.create_connection(address, timeout=2) for _ in range(MOST_READERS)]
    for each in slow:
        each.sendall(b"GET /metrics HTTP/1.1\r\nHost")
    refused = socket.create_connection(address, timeout=2)
    assert refused.recv(100) == b"", "no thread is free"
    for each in slow:
        assert each.recv(100) == b"", "its time is over"
    text = urllib.request.urlopen(f"http://127.0.0.1:{endpoint.port}/metrics", timeout=2).read()
    assert b"collabplan_requests_total" in text
    endpoint.close()
    for each in (*slow, refused):
        each.close()
