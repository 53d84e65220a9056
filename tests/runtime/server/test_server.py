"""The server listens where it may, refuses what does not fit its queue, and publishes how it is doing."""

from __future__ import annotations

import threading
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from bundle_plans import (
    images,
)
from collabplan.records import CollabplanError
from collabplan.runtime.device.client import EdgeClient
from collabplan.runtime.parts import open_cloud
from collabplan.runtime.server.server import CloudServer, ServeOptions
from collabplan.runtime.wire import protocol_pb2 as messages
from collabplan.runtime.wire.service import BUNDLE_KEY, Stub
from grpc_health.v1 import health_pb2, health_pb2_grpc
from serving import ANYWHERE, serving, until
from torch import Tensor


@pytest.fixture
def client(steady_bundle: Path, steady_server: CloudServer) -> Iterator[EdgeClient]:
    with EdgeClient(steady_bundle, steady_server.address) as opened:
        yield opened


def test_what_does_not_fit_into_the_queue_is_refused_at_once_and_late_requests_are_not_run(steady_bundle: Path) -> None:
    part, entered, go_on, runs = open_cloud(steady_bundle), threading.Event(), threading.Event(), []
    run = part.program.forward

    def held(*tensors: Tensor) -> Any:
        runs.append(1)
        entered.set()
        go_on.wait(10)
        return run(*tensors)

    part.program.forward = held  # type: ignore[method-assign]
    outcomes: dict[str, Any] = {}

    def ask(name: str, client: EdgeClient) -> None:
        try:
            outcomes[name] = client.infer(images(1))
        except CollabplanError as error:
            outcomes[name] = str(error)

    with (
        CloudServer(part, ANYWHERE, ServeOptions(queue=1)) as server,
        EdgeClient(steady_bundle, server.address) as running,
        EdgeClient(steady_bundle, server.address, timeout_s=0.2, retries=0) as impatient,
        EdgeClient(steady_bundle, server.address, retries=0) as refused,
    ):
        for each in (running, impatient, refused):
            each.connect()
        threads = [threading.Thread(target=ask, args=("running", running))]
        threads[0].start()
        assert entered.wait(10)
        threads.append(threading.Thread(target=ask, args=("impatient", impatient)))
        threads[1].start()
        until(lambda: server.methods.status(None, None).waiting > 0)
        ask("refused", refused)
        threads[1].join()
        time.sleep(0.1)
        go_on.set()
        threads[0].join()
        until(lambda: server.counts.answered().get("late", 0) > 0)
    assert isinstance(outcomes["running"], dict)
    assert "overloaded: the server's queue is full" in outcomes["refused"]
    assert "no answer within 0.2 s" in outcomes["impatient"]
    assert len(runs) == 1


def test_plaintext_leaves_the_machine_only_where_it_is_asked_for(steady_bundle: Path) -> None:
    with pytest.raises(CollabplanError, match="plaintext can be read"):
        CloudServer(open_cloud(steady_bundle), "0.0.0.0:0")
    with pytest.raises(CollabplanError, match="plaintext can be read"):
        EdgeClient(steady_bundle, "192.0.2.1:7433")
    with serving(steady_bundle, "0.0.0.0:0", insecure=True) as server:
        assert server.port
    with pytest.raises(CollabplanError, match="not an address"):
        EdgeClient(steady_bundle, "localhost")


def test_a_taken_port_is_told(steady_bundle: Path, steady_server: CloudServer) -> None:
    with pytest.raises(CollabplanError, match="cannot listen on"):
        CloudServer(open_cloud(steady_bundle), steady_server.address)


def test_requests_that_are_larger_than_a_message_can_be_are_refused_at_the_start(steady_bundle: Path) -> None:
    part = open_cloud(steady_bundle)
    with pytest.raises(CollabplanError, match=r"gRPC takes 2,147,483,615; serve with --max-batch \d+") as caught:
        CloudServer(part, ANYWHERE, ServeOptions(max_batch=2**30))
    fitting = int(str(caught.value).rpartition(" ")[2])
    with serving(steady_bundle, max_batch=fitting) as server:
        assert 2**30 < server.max_message_bytes < 2**31


def test_health_status_echo_and_metrics(client: EdgeClient, steady_server: CloudServer) -> None:
    client.infer(images(1))
    with grpc.insecure_channel(steady_server.address) as channel:
        health = health_pb2_grpc.HealthStub(channel)
        for service in ("", "collabplan.Cloud"):
            checked = health.Check(health_pb2.HealthCheckRequest(service=service))
            assert checked.status == health_pb2.HealthCheckResponse.SERVING
        stub, known = Stub(channel), [(BUNDLE_KEY, steady_server.part.manifest.bundle_id)]
        status = stub.status(messages.StatusRequest(), metadata=known)
        assert not status.stopping
        assert status.answered["ok"] >= 1
        assert len(stub.echo(messages.EchoRequest(payload=b"x" * 100, answer_bytes=50), metadata=known).payload) == 50
        with pytest.raises(grpc.RpcError) as caught:
            stub.echo(messages.EchoRequest(answer_bytes=2**31), metadata=known)
        assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
        with pytest.raises(grpc.RpcError) as caught:
            stub.echo(messages.EchoRequest(payload=bytes(steady_server.max_message_bytes)), metadata=known)
        assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    text = urllib.request.urlopen(f"http://127.0.0.1:{steady_server.metrics_port}/metrics").read().decode()
    assert 'collabplan_requests_total{status="ok"}' in text
    assert "collabplan_compute_seconds_bucket" in text
