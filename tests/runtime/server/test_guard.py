"""Clients that open calls or connections and say nothing hold none of them, and keep nobody out."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import grpc
import pytest
from bundle_plans import images
from collabplan.runtime.device.client import EdgeClient
from collabplan.runtime.server.server import CloudServer
from collabplan.runtime.wire import protocol_pb2 as messages
from collabplan.runtime.wire.framing import PROTOCOL
from collabplan.runtime.wire.service import BUNDLE_KEY, MOST_CALLS_PER_CONNECTION, Stub
from grpc_health.v1 import health_pb2, health_pb2_grpc
from http2 import PREFACE, SETTINGS
from serving import same, serving, simulated, until

EMPTY_SETTINGS = bytes([0, 0, 0, SETTINGS, 0, 0, 0, 0, 0])
MOST_STREAMS_SETTING = 3

open_to_all = pytest.mark.parametrize("method", ["/collabplan.Cloud/Hello", "/grpc.health.v1.Health/Check"])


class HalfOpen:
    """Calls whose request never comes, on connections of their own. Ends them on exit."""

    def __init__(self, address: str, method: str, count: int, metadata: Any = ()) -> None:
        self._over, self._stack = threading.Event(), ExitStack()
        self.calls = []
        for start in range(0, count, MOST_CALLS_PER_CONNECTION):
            channel = self._stack.enter_context(grpc.insecure_channel(address, [("number", start)]))
            call = channel.stream_stream(method)
            for _ in range(min(MOST_CALLS_PER_CONNECTION, count - start)):
                self.calls.append(call(self._nothing(), metadata=metadata))

    def _nothing(self) -> Iterator[bytes]:
        self._over.wait(20)
        yield from ()

    def __enter__(self) -> HalfOpen:
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        for call in self.calls:
            call.cancel()
        self._stack.close()


def code_of(call: Any) -> Any:
    with pytest.raises(grpc.RpcError) as caught:
        next(call)
    return caught.value.code()


def healthy(address: str) -> bool:
    with grpc.insecure_channel(address) as channel:
        check = health_pb2_grpc.HealthStub(channel).Check
        return bool(check(health_pb2.HealthCheckRequest(), timeout=2).status == health_pb2.HealthCheckResponse.SERVING)


@open_to_all
def test_seventy_two_calls_that_send_nothing_keep_nobody_out(steady_bundle: Path, method: str) -> None:
    with serving(steady_bundle) as server, HalfOpen(server.address, method, 72):
        for _ in range(3):
            assert healthy(server.address)
        with EdgeClient(steady_bundle, server.address, retries=0, connect_timeout_s=2, timeout_s=2) as client:
            assert same(client.infer(images(1)), simulated(steady_bundle, images(1)))


@open_to_all
def test_a_call_that_sends_nothing_is_ended(steady_bundle: Path, method: str) -> None:
    with serving(steady_bundle, greeting_s=0.3) as server, HalfOpen(server.address, method, 3) as half:
        began = time.monotonic()
        assert {code_of(call) for call in half.calls} == {grpc.StatusCode.CANCELLED}
        assert time.monotonic() - began < 2


@open_to_all
def test_a_call_without_a_request_is_refused(steady_server: CloudServer, method: str) -> None:
    with grpc.insecure_channel(steady_server.address) as channel:
        call = channel.stream_stream(method)(iter(()), timeout=5)
        assert code_of(call) is grpc.StatusCode.INVALID_ARGUMENT


@pytest.mark.parametrize("metadata", [(), ((BUNDLE_KEY, "0" * 64),)])
def test_status_and_echo_are_refused(steady_server: CloudServer, metadata: Any) -> None:
    with grpc.insecure_channel(steady_server.address) as channel:
        stub = Stub(channel)
        for ask, request in ((stub.status, messages.StatusRequest()), (stub.echo, messages.EchoRequest())):
            with pytest.raises(grpc.RpcError) as caught:
                ask(request, metadata=metadata, timeout=5)
            assert caught.value.code() is grpc.StatusCode.FAILED_PRECONDITION


def test_they_are_refused_before_their_request_comes(steady_server: CloudServer) -> None:
    for name in ("Status", "Echo", "Infer"):
        with HalfOpen(steady_server.address, f"/collabplan.Cloud/{name}", 2) as half:
            assert {code_of(call) for call in half.calls} == {grpc.StatusCode.FAILED_PRECONDITION}


def test_a_refused_handshake_tells_nothing_but_why(steady_server: CloudServer) -> None:
    with grpc.insecure_channel(steady_server.address) as channel:
        reply = Stub(channel).hello(messages.HelloRequest(bundle_id="\x1b[2J\n"), timeout=5)
    assert reply.refusal
    assert reply.refusal.isprintable()
    assert reply == messages.HelloReply(accepted=False, refusal=reply.refusal, protocol=PROTOCOL)


def test_three_hundred_that_only_say_hello_are_closed(steady_bundle: Path) -> None:
    with serving(steady_bundle, greeting_s=0.5) as server, ExitStack() as stack:
        idle = [
            stack.enter_context(socket.create_connection((server.host, server.port), timeout=2)) for _ in range(300)
        ]
        for each in idle:
            each.sendall(PREFACE + EMPTY_SETTINGS)
        assert healthy(server.address)
        until(lambda: all(closed(each) for each in idle[::30]), within_s=4)


def test_one_holds_a_few_calls_at_most(steady_server: CloudServer) -> None:
    with socket.create_connection((steady_server.host, steady_server.port), timeout=5) as connection:
        connection.sendall(PREFACE + EMPTY_SETTINGS)
        head = connection.recv(9, socket.MSG_WAITALL)
        body = connection.recv(int.from_bytes(head[:3], "big"), socket.MSG_WAITALL)
    settings = {
        int.from_bytes(body[at : at + 2], "big"): int.from_bytes(body[at + 2 : at + 6], "big")
        for at in range(0, len(body), 6)
    }
    assert settings[MOST_STREAMS_SETTING] == MOST_CALLS_PER_CONNECTION


def closed(connection: socket.socket) -> bool:
    """True once the other side has closed the connection."""
    try:
        while connection.recv(4096, socket.MSG_DONTWAIT):
            pass
    except BlockingIOError:
        return False
    except OSError:
        pass
    return True
