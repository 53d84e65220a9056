"""A split plan answers as the whole model does, and refuses what is not its own."""

from __future__ import annotations

import threading
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
import torch
from bundle_plans import (
    ByNumber,
    FixedBatch,
    Made,
    SkipNet,
    Tokens,
    TwoHeads,
    crossing,
    first,
    images,
    last,
    make,
    middle,
    rows,
    tokens,
)
from collabplan.defenses.randomness import Keyed
from collabplan.records import CollabplanError, DefenseRecord, MismatchError
from collabplan.runtime import write_bundle
from collabplan.runtime.device.client import EdgeClient
from collabplan.runtime.device.errors import UnreachableError
from collabplan.runtime.parts import CloudPart, open_cloud, open_edge
from collabplan.runtime.server.server import CloudServer, ServeOptions
from collabplan.runtime.wire import protocol_pb2 as messages
from collabplan.runtime.wire.framing import PROTOCOL, BodyKind, Request, Status, pack_request, unpack_answer
from collabplan.runtime.wire.request_codec import DefendedCodec
from collabplan.runtime.wire.service import BUNDLE_KEY, PART_KEY, Stub
from defense_records import defense_record
from grpc_health.v1 import health_pb2, health_pb2_grpc
from serving import ANYWHERE, serving, until, written
from torch import Tensor, nn

STEADY = defense_record()
"""A defense without chance: 8 bits, rounded to the nearest."""


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("serving") / "bundle"
    written(folder, STEADY, fallback=True)
    return folder


@pytest.fixture(scope="module")
def server(bundle: Path) -> Iterator[CloudServer]:
    with serving(bundle, allow_undefended=True, max_batch=8, metrics=ANYWHERE) as started:
        yield started


@pytest.fixture
def client(bundle: Path, server: CloudServer) -> Iterator[EdgeClient]:
    with EdgeClient(bundle, server.address) as made:
        yield made


def simulated(bundle: Path, inputs: tuple[Tensor, ...]) -> Any:
    """What the halves and the defense make of inputs, without a wire. For defenses without chance."""
    edge, cloud = open_edge(bundle), open_cloud(bundle)
    with torch.no_grad():
        released = edge.defense.release(edge.program(*inputs), torch.Generator())
        return cloud.program(*cloud.defense.receive(released))


def same(found: Any, expected: Any) -> bool:
    if isinstance(expected, Tensor):
        return torch.equal(found, expected)
    if isinstance(expected, dict):
        return found.keys() == expected.keys() and all(same(found[key], expected[key]) for key in expected)
    if isinstance(expected, list | tuple):
        return type(found) is type(expected) and all(same(a, b) for a, b in zip(found, expected, strict=True))
    return bool(found == expected)


@pytest.mark.parametrize("batch", [1, 3, 8])
def test_an_answer_is_that_of_the_halves_and_the_defense(client: EdgeClient, bundle: Path, batch: int) -> None:
    assert same(client.infer(images(batch)), simulated(bundle, images(batch)))


@pytest.mark.parametrize(("spec", "size"), [(defense_record(share=0.5), 2 * 16), (defense_record(rank=6, bits=3), 3)])
def test_fewer_directions_are_fewer_bytes(spec: DefenseRecord, size: int, tmp_path: Path) -> None:
    made = make(SkipNet(), images, crossing("relu"), spec=spec)
    folder = tmp_path / "bundle"
    write_bundle(made.plan, made.traced, made.cut, folder, projection=made.projection)
    assert DefendedCodec(open_edge(folder).defense).body_bytes(3) == 3 * size
    with serving(folder) as server, EdgeClient(folder, server.address) as client:
        assert same(client.infer(images(3)), simulated(folder, images(3)))
    with (
        serving(folder, allow_undefended=True) as server,
        EdgeClient(folder, server.address, undefended=True) as client,
        torch.no_grad(),
    ):
        assert same(client.infer(images(3)), made.model(*images(3))), "all of them, where nothing is defended"


CASES = [
    pytest.param(SkipNet(), images, middle, 1, (), id="skip connection"),
    pytest.param(SkipNet(), images, first, 1, (), id="cloud alone"),
    pytest.param(TwoHeads(), rows, middle, 1, (), id="two heads"),
    pytest.param(ByNumber(), rows, middle, 1, (), id="numbers for keys"),
    pytest.param(Tokens(), tokens, middle, 2, ("mask",), id="tokens and a public mask"),
    pytest.param(FixedBatch(), rows, middle, 3, (), id="one batch size"),
]


@pytest.mark.parametrize(("model", "inputs", "choose", "batch", "public"), CASES)
def test_undefended_outputs_are_the_whole_models_bit_for_bit(
    tmp_path: Path, model: Any, inputs: Any, choose: Any, batch: int, public: tuple[str, ...]
) -> None:
    made: Made = make(model, inputs, choose, batch=batch, public=public)
    write_bundle(made.plan, made.traced, made.cut, tmp_path / "bundle")
    with (
        serving(tmp_path / "bundle", allow_undefended=True) as server,
        EdgeClient(tmp_path / "bundle", server.address, undefended=True) as client,
        EdgeClient(tmp_path / "bundle", server.address) as defended,
    ):
        for size in (batch,) if isinstance(model, FixedBatch) else (1, 2, 5):
            with torch.no_grad():
                whole = made.model(*inputs(size))
            assert same(client.infer(inputs(size)), whole)
            defended.infer(inputs(size))


def test_a_plan_that_stays_on_the_device_needs_no_server(tmp_path: Path) -> None:
    made = make(TwoHeads(), rows, last)
    write_bundle(made.plan, made.traced, made.cut, tmp_path / "bundle")
    with EdgeClient(tmp_path / "bundle", None) as client, torch.no_grad():
        assert same(client.infer(rows(2)), made.model(*rows(2)))
        assert same(list(client.stream([rows(1), rows(3)])), [made.model(*rows(1)), made.model(*rows(3))])


def test_a_stream_is_answered_in_order_and_whole(client: EdgeClient, bundle: Path) -> None:
    batches = [1, 3, 2, 1, 4, 2, 1]
    found = list(client.stream(images(batch) for batch in batches))
    assert same(found, [simulated(bundle, images(batch)) for batch in batches])


def test_a_stream_works_on_the_next_request_while_the_cloud_works_on_the_last(bundle: Path) -> None:
    part, began, events = open_cloud(bundle), threading.Event(), []
    run = part.program.forward

    def slow(*tensors: Tensor) -> Any:
        began.set()
        events.append("cloud begins")
        time.sleep(0.1)
        events.append("cloud ends")
        return run(*tensors)

    def inputs() -> Iterator[tuple[Tensor, ...]]:
        yield images(1)
        assert began.wait(10)
        events.append("edge")
        yield images(1)

    part.program.forward = slow  # type: ignore[method-assign]
    with CloudServer(part, ANYWHERE) as server, EdgeClient(bundle, server.address) as client:
        assert len(list(client.stream(inputs()))) == 2
    assert events[:3] == ["cloud begins", "edge", "cloud ends"]


def test_many_threads_may_share_a_client(client: EdgeClient, bundle: Path) -> None:
    found: dict[int, Any] = {}
    threads = [
        threading.Thread(target=lambda batch=batch: found.update({batch: client.infer(images(batch))}))
        for batch in range(1, 7)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(same(found[batch], simulated(bundle, images(batch))) for batch in range(1, 7))


def test_inputs_by_name_and_inputs_that_are_not_the_models(client: EdgeClient, bundle: Path) -> None:
    assert same(client.infer({"x": images(2)[0]}), simulated(bundle, images(2)))
    for wrong, says in (
        ({"y": images(1)[0]}, "takes x"),
        ((images(1)[0], images(1)[0]), "takes 1 tensors"),
        (images(1)[0].double(), r"must be float32 \[1, 1, 8, 8\], got float64"),
        (torch.zeros(1, 1, 9, 8), r"got float32 \[1, 1, 9, 8\]"),
        (torch.zeros(9, 1, 8, 8), r"9 samples is more than the server takes \(8\)"),
    ):
        with pytest.raises(CollabplanError, match=says):
            client.infer(wrong)
    mixed = client.stream([images(1), {"y": images(1)[0]}, images(2)], on_error="yield")
    assert [type(each).__name__ for each in mixed] == ["dict", "CollabplanError", "dict"]


def test_another_bundle_is_refused_by_name(server: CloudServer, tmp_path: Path, bundle: Path) -> None:
    written(tmp_path / "other", defense_record(bits=4))
    with EdgeClient(tmp_path / "other", server.address) as client, pytest.raises(MismatchError, match="runs the plan"):
        client.infer(images(1))
    manifest = open_edge(bundle).manifest
    right = {
        "protocol": PROTOCOL, "bundle_id": manifest.bundle_id, "plan_sha256": manifest.part.plan_sha256,
        "part_sha256": manifest.part_sha256,
    }  # fmt: skip
    with grpc.insecure_channel(server.address) as channel:
        stub = Stub(channel)
        assert stub.hello(messages.HelloRequest(**right)).accepted
        wrong: dict[str, Any]
        for wrong, what in (
            ({"protocol": 7}, "protocol"),
            ({"part_sha256": "0" * 64}, "edge part"),
            ({"bundle_id": "0" * 64}, "bundle"),
        ):
            reply = stub.hello(messages.HelloRequest(**{**right, **wrong}))
            assert not reply.accepted
            assert what in reply.refusal


def test_a_stream_without_the_bundles_hashes_is_refused(server: CloudServer, bundle: Path) -> None:
    manifest = open_edge(bundle).manifest
    with grpc.insecure_channel(server.address) as channel:
        for metadata in ([], [(BUNDLE_KEY, manifest.bundle_id), (PART_KEY, "0" * 64)]):
            call = Stub(channel).infer(iter([b"x"]), metadata=metadata)
            with pytest.raises(grpc.RpcError) as caught:
                next(call)
            assert caught.value.code() is grpc.StatusCode.FAILED_PRECONDITION


def test_undefended_tensors_must_be_allowed_by_the_server(bundle: Path) -> None:
    with serving(bundle) as strict, EdgeClient(bundle, strict.address, undefended=True) as client:
        with pytest.raises(MismatchError, match="--allow-undefended"):
            client.infer(images(1))
        manifest = open_edge(bundle).manifest
        frame = pack_request(Request(BodyKind.undefended, 1, 1, 1000, b""))
        with grpc.insecure_channel(strict.address) as channel:
            metadata = [(BUNDLE_KEY, manifest.bundle_id), (PART_KEY, manifest.part_sha256)]
            answer = unpack_answer(next(Stub(channel).infer(iter([frame]), metadata=metadata)))
        assert answer.status is Status.invalid


def test_what_does_not_fit_into_the_queue_is_refused_at_once_and_late_requests_are_not_run(bundle: Path) -> None:
    part, entered, go_on, runs = open_cloud(bundle), threading.Event(), threading.Event(), []
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
        EdgeClient(bundle, server.address) as running,
        EdgeClient(bundle, server.address, timeout_s=0.2, retries=0) as impatient,
        EdgeClient(bundle, server.address, retries=0) as refused,
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


def test_a_cloud_half_that_raises_is_answered_without_its_words(tmp_path: Path) -> None:
    made = make(Tokens(), tokens, first, batch=2, public=("mask",))
    write_bundle(made.plan, made.traced, made.cut, tmp_path / "bundle")
    with serving(tmp_path / "bundle") as server, EdgeClient(tmp_path / "bundle", server.address) as client:
        ids, mask = tokens(1)
        with pytest.raises(CollabplanError, match="failed: the cloud half raised") as caught:
            client.infer((ids + 1000, mask))
        assert "1000" not in str(caught.value)
        assert client.infer((ids, mask)).shape == (1, 4, 11)


def two_heads(folder: Path) -> tuple[CloudPart, list[int]]:
    """A cloud part whose outputs can be divided, and how many samples ran together in it so far."""
    made = make(TwoHeads(), rows, middle)
    write_bundle(made.plan, made.traced, made.cut, folder)
    part, sizes = open_cloud(folder), list[int]()
    run = part.program.forward

    def counted(*tensors: Tensor) -> Any:
        sizes.append(tensors[0].shape[0])
        return run(*tensors)

    part.program.forward = counted  # type: ignore[method-assign]
    return part, sizes


def test_micro_batches_answer_each_with_its_own_rows(bundle: Path, tmp_path: Path) -> None:
    part, sizes = two_heads(tmp_path / "bundle")
    found: dict[int, Any] = {}
    options = ServeOptions(micro_batch=6, micro_batch_wait_ms=500)
    with CloudServer(part, ANYWHERE, options) as server:

        def ask(batch: int) -> None:
            with EdgeClient(tmp_path / "bundle", server.address) as client:
                found[batch] = client.infer(rows(batch))

        threads = [threading.Thread(target=ask, args=(batch,)) for batch in (1, 2, 3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert sizes == [6] or sum(sizes) == 6
    for batch in (1, 2, 3):
        assert found[batch][0].shape == (batch,)
        assert found[batch][1][0].shape == (batch, 3)
    with pytest.raises(CollabplanError, match="serve this one without --micro-batch"):
        CloudServer(open_cloud(bundle), ANYWHERE, ServeOptions(micro_batch=4))


def test_a_micro_batch_takes_what_a_stream_sent_ahead(tmp_path: Path) -> None:
    part, sizes = two_heads(tmp_path / "bundle")
    with (
        CloudServer(part, ANYWHERE, ServeOptions(micro_batch=2, micro_batch_wait_ms=2000)) as server,
        EdgeClient(tmp_path / "bundle", server.address) as client,
    ):
        found = list(client.stream(rows(1) for _ in range(6)))
    assert [answer[0].shape for answer in found] == [(1,)] * 6
    assert sizes == [2, 2, 2], "two requests of one stream run together, and nobody waits for a third"


class Weighted(nn.Module):
    """A softmax over the batch: each sample's answer depends on who else is in it."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(6, 7), nn.Linear(7, 3)

    def forward(self, x: Tensor) -> Tensor:
        hidden = torch.tanh(self.first(x))
        return self.second(hidden * torch.softmax(hidden.mean(1), 0)[:, None])


def test_samples_that_read_each_other_are_served_alone(tmp_path: Path) -> None:
    made = make(Weighted(), rows, crossing("tanh"), spec=STEADY)
    write_bundle(made.plan, made.traced, made.cut, tmp_path / "bundle")
    part = open_cloud(tmp_path / "bundle")
    assert (part.manifest.part.samples_independent, part.manifest.part.batch) == (False, 1)
    with pytest.raises(CollabplanError, match=r"read each other.*without --micro-batch"):
        CloudServer(part, ANYWHERE, ServeOptions(micro_batch=4))
    inputs = rows(3)
    with serving(tmp_path / "bundle") as server, EdgeClient(tmp_path / "bundle", server.address) as client:
        found = torch.cat(list(client.stream(sample[None] for sample in inputs[0])))
        with pytest.raises(CollabplanError, match="a request holds one; send them one by one"):
            client.infer(inputs)
    expected = torch.cat([simulated(tmp_path / "bundle", (sample[None],)) for sample in inputs[0]])
    assert torch.equal(found, expected)


def test_keyed_masks_repeat_and_need_their_key(tmp_path: Path) -> None:
    written(tmp_path / "bundle", defense_record(dropout="element", rate=0.5, masks="keyed"))
    key = tmp_path / "key"
    key.write_text("00" * 32 + "\n" + "a7" * 32 + "\n")
    key.chmod(0o600)
    unit = (torch.rand(2, 1, 8, 8),)
    edge, cloud = open_edge(tmp_path / "bundle"), open_cloud(tmp_path / "bundle")
    with torch.no_grad():
        source = Keyed(bytes.fromhex("a7" * 32), edge.manifest.part.plan_sha256.encode(), unit[0])
        expected = cloud.program(*cloud.defense.receive(edge.defense.release(edge.program(*unit), source)))
    with serving(tmp_path / "bundle") as server:
        with EdgeClient(tmp_path / "bundle", server.address, key_file=key) as client:
            assert same(client.infer(unit), expected)
            assert same(client.infer(unit), expected)
            with pytest.raises(CollabplanError, match=r"must lie in \[0, 1\]"):
                client.infer(images(1))
        with pytest.raises(CollabplanError, match="give --key-file"):
            EdgeClient(tmp_path / "bundle", server.address)


def test_a_key_is_not_given_where_none_is_used(bundle: Path, tmp_path: Path) -> None:
    with pytest.raises(CollabplanError, match="no key is used"):
        EdgeClient(bundle, "127.0.0.1:1", key_file=tmp_path / "key")


def test_without_the_cloud_there_is_a_clear_error_or_the_fallback(bundle: Path) -> None:
    with EdgeClient(bundle, "127.0.0.1:9", retries=1) as client, pytest.raises(UnreachableError, match="UNAVAILABLE"):
        client.infer(images(1))
    with EdgeClient(bundle, "127.0.0.1:9", retries=0, fallback=True) as client:
        answers = [client.infer(images(2)), *client.stream([images(2)])]
        assert client.counts.fallbacks == 2
    expected = make(SkipNet(), images, crossing("relu", "conv2d_1")).model
    with torch.no_grad():
        assert all(same(answer, expected(*images(2))) for answer in answers)


def test_plaintext_leaves_the_machine_only_where_it_is_asked_for(bundle: Path) -> None:
    with pytest.raises(CollabplanError, match="plaintext can be read"):
        CloudServer(open_cloud(bundle), "0.0.0.0:0")
    with pytest.raises(CollabplanError, match="plaintext can be read"):
        EdgeClient(bundle, "192.0.2.1:7433")
    with serving(bundle, "0.0.0.0:0", insecure=True) as server:
        assert server.port
    with pytest.raises(CollabplanError, match="not an address"):
        EdgeClient(bundle, "localhost")


def test_a_taken_port_is_told(bundle: Path, server: CloudServer) -> None:
    with pytest.raises(CollabplanError, match="cannot listen on"):
        CloudServer(open_cloud(bundle), server.address)


def test_health_status_echo_and_metrics(client: EdgeClient, server: CloudServer) -> None:
    client.infer(images(1))
    with grpc.insecure_channel(server.address) as channel:
        health = health_pb2_grpc.HealthStub(channel)
        for service in ("", "collabplan.Cloud"):
            checked = health.Check(health_pb2.HealthCheckRequest(service=service))
            assert checked.status == health_pb2.HealthCheckResponse.SERVING
        stub = Stub(channel)
        status = stub.status(messages.StatusRequest())
        assert not status.stopping
        assert status.answered["ok"] >= 1
        assert len(stub.echo(messages.EchoRequest(payload=b"x" * 100, answer_bytes=50)).payload) == 50
        with pytest.raises(grpc.RpcError) as caught:
            stub.echo(messages.EchoRequest(answer_bytes=2**31))
        assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
        with pytest.raises(grpc.RpcError) as caught:
            stub.echo(messages.EchoRequest(payload=bytes(server.max_message_bytes)))
        assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    text = urllib.request.urlopen(f"http://127.0.0.1:{server.metrics_port}/metrics").read().decode()
    assert 'collabplan_requests_total{status="ok"}' in text
    assert "collabplan_compute_seconds_bucket" in text
