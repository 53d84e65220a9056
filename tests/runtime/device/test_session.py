"""A session hands each answer to its own request, and fails all that wait when its stream ends."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from concurrent import futures
from pathlib import Path
from typing import Any

import grpc
import pytest
import torch
from collabplan.records import CollabplanError, MismatchError
from collabplan.runtime.device.errors import UnreachableError
from collabplan.runtime.device.session import Address, CloudSession
from collabplan.runtime.parts import open_edge
from collabplan.runtime.wire import protocol_pb2 as messages
from collabplan.runtime.wire.framing import (
    Answer,
    BodyKind,
    Request,
    Status,
    pack_answer,
    pack_request,
    unpack_request,
)
from collabplan.runtime.wire.service import Methods

Infer = Callable[[Iterator[bytes], Any], Iterator[bytes]]


@pytest.fixture
def session(steady_bundle: Path) -> Iterator[Callable[..., CloudSession]]:
    """Opens a session with a server whose `infer` a test gives."""
    opened: list[Any] = []

    def open_with(infer: Infer, *, refusal: str = "", torch_version: str = "") -> CloudSession:
        server = grpc.server(futures.ThreadPoolExecutor(4))
        reply = messages.HelloReply(
            accepted=not refusal, refusal=refusal, max_batch=7, torch_version=torch_version or torch.__version__
        )
        methods = Methods(hello=lambda *_: reply, infer=infer, status=_unused, echo=_unused)
        server.add_generic_rpc_handlers((methods.handler(),))
        port = server.add_insecure_port("127.0.0.1:0")
        server.start()
        opened.append(lambda: server.stop(0).wait())
        address = Address.checked(f"127.0.0.1:{port}", None, insecure=False)
        made = CloudSession(
            address, open_edge(steady_bundle).manifest, undefended=False, most_bytes=10_000, timeout_s=10.0
        )
        opened.insert(0, made.end)
        return made

    yield open_with
    for close in opened:
        close()


def _unused(*_: object) -> None:
    raise AssertionError


def frame(number: int) -> bytes:
    return pack_request(Request(BodyKind.defended, number, 1, 1000, bytes([number])))


def answer(request: Request, *, crc: int | None = None) -> bytes:
    body = bytes(request.body)
    return pack_answer(Answer(Status.ok, request.id, 1, body, request_crc=request.crc if crc is None else crc))


def in_reverse(frames: Iterator[bytes], _: Any) -> Iterator[bytes]:
    both = [unpack_request(next(frames)), unpack_request(next(frames))]
    for request in reversed(both):
        yield answer(request)


def test_answers_in_another_order_reach_their_own_requests(session: Callable[..., CloudSession]) -> None:
    opened = session(in_reverse)
    assert opened.max_batch == 7
    first, second = opened.send(1, frame(1)), opened.send(2, frame(2))
    assert (bytes(first.result(10).body), bytes(second.result(10).body)) == (b"\x01", b"\x02")


def test_all_that_wait_fail_when_the_stream_ends_and_nothing_can_be_sent_after(
    session: Callable[..., CloudSession],
) -> None:
    def nothing(frames: Iterator[bytes], _: Any) -> Iterator[bytes]:
        next(frames)
        return
        yield b""

    opened = session(nothing)
    with pytest.raises(UnreachableError, match="ended the stream"):
        opened.send(1, frame(1)).result(10)
    assert opened.broken
    with pytest.raises(UnreachableError, match="ended the stream"):
        opened.send(2, frame(2)).result(10)


def test_an_answer_that_cannot_be_read_ends_the_session(session: Callable[..., CloudSession]) -> None:
    def garbage(frames: Iterator[bytes], _: Any) -> Iterator[bytes]:
        next(frames)
        yield b"no frame"

    opened = session(garbage)
    with pytest.raises(UnreachableError, match="cannot be read"):
        opened.send(1, frame(1)).result(10)
    assert opened.broken


def test_an_answer_to_other_bytes_fails_all_that_wait_at_once(session: Callable[..., CloudSession]) -> None:
    def wrong(frames: Iterator[bytes], _: Any) -> Iterator[bytes]:
        both = [unpack_request(next(frames)), unpack_request(next(frames))]
        yield answer(both[1], crc=both[1].crc ^ 1)

    opened = session(wrong)
    waiting = [opened.send(number, frame(number)) for number in (1, 2)]
    for future in waiting:
        with pytest.raises(UnreachableError, match="answers another request"):
            future.result(2)
    assert opened.broken


def test_ending_a_session_fails_what_is_unanswered_with_the_reason(session: Callable[..., CloudSession]) -> None:
    entered = threading.Event()

    def silent(frames: Iterator[bytes], _: Any) -> Iterator[bytes]:
        next(frames)
        entered.set()
        yield from (answer(unpack_request(each)) for each in frames)

    opened = session(silent)
    future = opened.send(1, frame(1))
    assert entered.wait(10)
    opened.end(UnreachableError("too late"))
    with pytest.raises(UnreachableError, match="too late"):
        future.result(10)


def test_a_server_that_refuses_the_handshake_is_a_mismatch(session: Callable[..., CloudSession]) -> None:
    with pytest.raises(MismatchError, match="refuses this device: another bundle"):
        session(in_reverse, refusal="another bundle")


HOSTILE = "\x1b[2J\x1b]0;title\x07first\r\nsecond \u202ethird"


def test_what_the_server_says_reaches_errors_and_log_without_escapes(
    session: Callable[..., CloudSession], caplog: pytest.LogCaptureFixture
) -> None:
    def refuses(_: Iterator[bytes], context: Any) -> Iterator[bytes]:
        context.abort(grpc.StatusCode.INTERNAL, HOSTILE)
        yield b""

    with pytest.raises(MismatchError) as refused:
        session(in_reverse, refusal=HOSTILE)
    with pytest.raises(UnreachableError) as failed:
        session(refuses, torch_version=HOSTILE).send(1, frame(1)).result(5)
    for said in (str(refused.value), str(failed.value), caplog.messages[0]):
        assert "second ?third" in said
        assert said.isprintable()


@pytest.mark.parametrize("variable", ["http_proxy", "https_proxy", "grpc_proxy"])
def test_no_proxy_of_the_environment_is_asked(
    session: Callable[..., CloudSession], monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as proxy:
        for each in ("no_proxy", "no_grpc_proxy"):
            monkeypatch.delenv(each, raising=False)
        monkeypatch.setenv(variable, f"http://127.0.0.1:{proxy.getsockname()[1]}")
        assert session(in_reverse).max_batch == 7
        proxy.settimeout(0.1)
        with pytest.raises(TimeoutError):
            proxy.accept()


def test_no_server_is_unreachable(steady_bundle: Path) -> None:
    manifest = open_edge(steady_bundle).manifest
    with pytest.raises(UnreachableError, match="UNAVAILABLE") as caught:
        CloudSession(Address("127.0.0.1:1"), manifest, undefended=False, most_bytes=1000, timeout_s=5.0)
    assert caught.value.retry


@pytest.mark.parametrize(("text", "says"), [("192.0.2.1:7433", "plaintext can be read"), ("cloud", "not an address")])
def test_an_address_is_checked_before_anything_is_sent(text: str, says: str) -> None:
    with pytest.raises(CollabplanError, match=says):
        Address.checked(text, None, insecure=False)
