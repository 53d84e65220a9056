"""What goes wrong on a network and at its ends: a request is answered rightly or fails in words, and nothing hangs."""

from __future__ import annotations

import random
import resource
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
import torch
from bundle_plans import images
from collabplan.records import CollabplanError
from collabplan.runtime.device.client import EdgeClient
from collabplan.runtime.device.errors import UnreachableError
from collabplan.runtime.parts import open_cloud, open_edge
from collabplan.runtime.server.server import CloudServer, ServeOptions
from collabplan.runtime.wire.framing import BodyKind, Request, Status, pack_request, unpack_answer, unpack_request
from collabplan.runtime.wire.service import BUNDLE_KEY, PART_KEY, Stub
from defense_records import defense_record
from http2 import read
from serving import ANYWHERE, Proxy, serving, until, written
from torch import Tensor

SERVE = """
import sys, time
from pathlib import Path
import torch
from collabplan.runtime import CloudServer, open_cloud
torch.set_num_threads(1)
part = open_cloud(Path(sys.argv[1]))
run = part.program.forward
part.program.forward = lambda *tensors: (time.sleep(0.05), run(*tensors))[1]
server = CloudServer(part, "127.0.0.1:0").start()
print(server.address, flush=True)
time.sleep(60)
"""


NOWHERE = "127.0.0.1:1"
"""Nobody listens there."""


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("faults") / "bundle"
    written(folder, defense_record(), fallback=True)
    return folder


@pytest.fixture(scope="module")
def expected(bundle: Path) -> list[Tensor]:
    """The logits of single samples 0 to 11, without a wire: the defense has no chance in it."""
    edge, cloud = open_edge(bundle), open_cloud(bundle)
    with torch.no_grad():
        return [
            cloud.program(*cloud.defense.receive(edge.defense.release(edge.program(x), torch.Generator())))["logits"]
            for x in samples()
        ]


def samples() -> list[Tensor]:
    return [images(batch)[0][:1] for batch in range(1, 13)]


def frames_of(proxy: Proxy) -> dict[int, set[bytes]]:
    """By request, the frames that a client sent for it, over all of its connections."""
    found: dict[int, set[bytes]] = {}
    for sent in proxy.up:
        for stream, messages in read(bytes(sent)).messages.items():
            if stream > 1:
                for message in messages:
                    found.setdefault(unpack_request(message).id, set()).add(message)
    return found


def test_a_server_that_is_killed_and_replaced_in_mid_stream_loses_and_doubles_nothing(
    bundle: Path, expected: list[Tensor]
) -> None:
    command = [sys.executable, "-c", SERVE, str(bundle)]
    servers = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    try:
        addresses = [server.stdout.readline().strip() for server in servers if server.stdout is not None]
        with Proxy(addresses[0]) as proxy:
            with EdgeClient(bundle, proxy.address, retries=8, in_flight=3) as client:
                found = []
                for index, output in enumerate(client.stream(samples())):
                    found.append(output["logits"])
                    if index == 3:
                        servers[0].send_signal(signal.SIGKILL)
                        servers[0].wait()
                        proxy.retarget(addresses[1])
                assert client.counts.retries >= 1
            assert all(torch.equal(a, b) for a, b in zip(found, expected, strict=True))
            sent = frames_of(proxy)
            assert sorted(sent) == list(range(1, 13))
            assert all(len(frames) == 1 for frames in sent.values()), "a retry sends identical bytes"
    finally:
        for server in servers:
            server.kill()
            server.communicate()


def test_a_server_that_is_gone_for_good_fails_each_request_in_words(bundle: Path, expected: list[Tensor]) -> None:
    with serving(bundle) as server, Proxy(server.address) as proxy:
        found: list[Any] = []
        with EdgeClient(bundle, proxy.address, retries=1) as client:
            for output in client.stream(samples(), on_error="yield"):
                found.append(output)
                if len(found) == 4:
                    proxy.close()
    answered = [each for each in found if not isinstance(each, UnreachableError)]
    assert len(found) == 12
    assert 4 <= len(answered) < 12
    for output, right in zip(found, expected, strict=True):
        assert isinstance(output, UnreachableError) or torch.equal(output["logits"], right)


def test_a_link_that_is_cut_again_and_again_only_delays(bundle: Path, expected: list[Tensor]) -> None:
    with serving(bundle) as server, Proxy(server.address) as proxy:
        with EdgeClient(bundle, proxy.address, retries=8) as client:
            found = []
            for index, output in enumerate(client.stream(samples())):
                found.append(output["logits"])
                if index % 4 == 1:
                    proxy.cut()
        assert all(torch.equal(a, b) for a, b in zip(found, expected, strict=True))
        assert {len(frames) for frames in frames_of(proxy).values()} == {1}


def test_a_link_that_is_down_for_five_seconds_in_mid_stream_only_delays(bundle: Path, expected: list[Tensor]) -> None:
    with serving(bundle) as server, Proxy(server.address) as proxy:
        with EdgeClient(bundle, proxy.address, retries=12, in_flight=3) as client:
            found, down = [], 0.0
            for index, output in enumerate(client.stream(samples())):
                found.append(output["logits"])
                if index == 3:
                    proxy.retarget(NOWHERE)
                    proxy.cut()
                    down = time.monotonic()
                    threading.Timer(5.0, proxy.retarget, [server.address]).start()
            assert time.monotonic() - down > 5.0, "it was down when it was needed"
        assert all(torch.equal(a, b) for a, b in zip(found, expected, strict=True))
        assert {len(frames) for frames in frames_of(proxy).values()} == {1}


def test_a_link_that_swallows_everything_is_noticed_and_left(bundle: Path, expected: list[Tensor]) -> None:
    with (
        serving(bundle) as server,
        Proxy(server.address) as proxy,
        EdgeClient(bundle, proxy.address, retries=1, timeout_s=0.5, connect_timeout_s=3) as client,
    ):
        client.infer(samples()[0])
        proxy.held.set()
        began = time.monotonic()
        with pytest.raises(UnreachableError):
            client.infer(samples()[1])
        assert time.monotonic() - began < 15
        proxy.held.clear()
        proxy.cut()
        assert torch.equal(client.infer(samples()[2])["logits"], expected[2])


@pytest.mark.parametrize("upwards", [True, False])
def test_damaged_bytes_are_never_taken_for_an_answer(bundle: Path, expected: list[Tensor], upwards: bool) -> None:
    generator = random.Random(7)
    outcomes = {"right": 0, "failed": 0}
    with serving(bundle) as server:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        for _ in range(40):
            with Proxy(server.address) as proxy, EdgeClient(bundle, proxy.address, retries=0, timeout_s=0.25) as client:
                client.connect()
                damage = _damaging(generator)
                proxy.change, proxy.change_down = (damage, proxy.change) if upwards else (proxy.change, damage)
                try:
                    output = client.infer(samples()[0])["logits"]
                except CollabplanError:
                    outcomes["failed"] += 1
                else:
                    assert torch.equal(output, expected[0])
                    outcomes["right"] += 1
        grown_kb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
        with EdgeClient(bundle, server.address) as client:
            assert torch.equal(client.infer(samples()[0])["logits"], expected[0])
    assert outcomes["failed"] > 5
    assert grown_kb < 50_000


def _damaging(generator: random.Random) -> Any:
    """Flips one bit of the next piece."""
    todo = [1]

    def change(piece: bytes) -> bytes:
        if not todo:
            return piece
        todo.clear()
        damaged = bytearray(piece)
        damaged[generator.randrange(len(piece))] ^= 1 << generator.randrange(8)
        return bytes(damaged)

    return change


def test_frames_that_are_wrong_on_purpose_are_answered_with_a_status(bundle: Path) -> None:
    """Their checksums are right: an attacker can compute them too."""
    edge, generator = open_edge(bundle), random.Random(3)
    size = edge.manifest.part.wire.payload_bytes
    with serving(bundle, max_batch=2) as server, grpc.insecure_channel(server.address) as channel:
        stub = Stub(channel)
        metadata = [(BUNDLE_KEY, edge.manifest.bundle_id), (PART_KEY, edge.manifest.part_sha256)]
        frames: list[bytes] = []
        for batch in (1, 2, 3, 2**32 - 1):
            for length in (0, 1, size - 1, size, 2 * size, 3 * size):
                body = generator.randbytes(length)
                frames.append(pack_request(Request(BodyKind.defended, len(frames), batch, 2**32 - 1, body)))
        statuses = [unpack_answer(answer).status for answer in stub.infer(iter(frames), metadata=metadata)]
        assert len(statuses) == len(frames)
        assert set(statuses) <= {Status.ok, Status.invalid}
        assert statuses.count(Status.ok) <= 2
        for frame in (b"", b"CPRQ", generator.randbytes(100), frames[0][:-1] + b"?", bytes(40)):
            call = stub.infer(iter([frame]), metadata=metadata)
            with pytest.raises(grpc.RpcError) as caught:
                next(call)
            assert caught.value.code() is grpc.StatusCode.DATA_LOSS
        too_large = stub.infer(iter([bytes(server.max_message_bytes + 1)]), metadata=metadata)
        with pytest.raises(grpc.RpcError) as caught:
            next(too_large)
        assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED


def test_slow_and_silent_clients_are_left_and_do_not_keep_others_out(bundle: Path, expected: list[Tensor]) -> None:
    edge = open_edge(bundle)
    metadata = [(BUNDLE_KEY, edge.manifest.bundle_id), (PART_KEY, edge.manifest.part_sha256)]
    with serving(bundle, max_streams=4, idle_s=0.8) as server:
        host, port = server.host, server.port
        loris = [socket.create_connection((host, port)) for _ in range(20)]
        for index, each in enumerate(loris):
            each.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"[: 2 + index])
        go_on = threading.Event()
        channels = [grpc.insecure_channel(server.address, [("number", number)]) for number in range(4)]
        silent = [Stub(channel).infer(_nothing(go_on), metadata=metadata) for channel in channels]
        until(lambda: server.methods.status(None, None).streams == 4)
        with EdgeClient(bundle, server.address, retries=0) as client, pytest.raises(UnreachableError, match="as many"):
            client.infer(samples()[0])
        for call in silent:
            with pytest.raises(grpc.RpcError) as caught:
                next(call)
            assert caught.value.code() is grpc.StatusCode.CANCELLED
        with EdgeClient(bundle, server.address) as client:
            assert torch.equal(client.infer(samples()[0])["logits"], expected[0])
        go_on.set()
        for each in (*loris, *channels):
            each.close()


def _nothing(until: threading.Event) -> Iterator[bytes]:
    until.wait(20)
    yield from ()


def test_a_stopping_server_finishes_what_is_in_flight(bundle: Path, expected: list[Tensor]) -> None:
    part, entered = open_cloud(bundle), threading.Event()
    run = part.program.forward

    def slow(*tensors: Tensor) -> Any:
        entered.set()
        time.sleep(0.4)
        return run(*tensors)

    part.program.forward = slow  # type: ignore[method-assign]
    server = CloudServer(part, ANYWHERE, ServeOptions(concurrency=2)).start()
    found: list[Any] = []
    with (
        EdgeClient(bundle, server.address, retries=0) as client,
        EdgeClient(bundle, server.address, retries=0) as idle,
    ):
        idle.connect()
        asking = threading.Thread(target=lambda: found.append(client.infer(samples()[0])["logits"]))
        asking.start()
        assert entered.wait(10)
        began = time.monotonic()
        server.stop(grace_s=20)
        assert time.monotonic() - began < 10, "an idle stream does not hold it up"
        asking.join()
        assert torch.equal(found[0], expected[0])
        with pytest.raises(UnreachableError):
            idle.infer(samples()[1])


@pytest.mark.parametrize("run_s", [0.3, 4.0])
def test_the_time_to_finish_is_kept_and_what_is_finished_in_it_arrives(
    bundle: Path, expected: list[Tensor], run_s: float
) -> None:
    part, entered, over = open_cloud(bundle), threading.Event(), threading.Event()
    run = part.program.forward

    def slow(*tensors: Tensor) -> Any:
        entered.set()
        over.wait(run_s)
        return run(*tensors)

    part.program.forward = slow  # type: ignore[method-assign]
    server = CloudServer(part, ANYWHERE).start()
    found: list[Any] = []

    def ask(client: EdgeClient) -> None:
        try:
            found.append(client.infer(samples()[0])["logits"])
        except UnreachableError as error:
            found.append(error)

    with EdgeClient(bundle, server.address, retries=0) as client:
        asking = threading.Thread(target=ask, args=(client,))
        asking.start()
        assert entered.wait(10)
        began = time.monotonic()
        finished = server.stop(grace_s=0.8)
        assert time.monotonic() - began < 2.3
        assert server.stop() == finished, "a second call says the same"
        asking.join(5)
    over.set()
    assert finished == (run_s < 0.8)
    assert torch.equal(found[0], expected[0]) if finished else isinstance(found[0], UnreachableError)
