"""Handshakes and streams of another bundle, or with undefended tensors, are refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import grpc
import pytest
from bundle_plans import (
    images,
)
from collabplan.records import MismatchError
from collabplan.runtime.device.client import EdgeClient
from collabplan.runtime.parts import open_cloud, open_edge
from collabplan.runtime.server.server import CloudServer
from collabplan.runtime.wire import protocol_pb2 as messages
from collabplan.runtime.wire.framing import PROTOCOL, BodyKind, Request, Status, pack_request, unpack_answer
from collabplan.runtime.wire.service import BUNDLE_KEY, PART_KEY, Stub
from defense_records import defense_record
from serving import ANYWHERE, serving, written


def test_another_bundle_is_refused_by_name(steady_server: CloudServer, tmp_path: Path, steady_bundle: Path) -> None:
    written(tmp_path / "other", defense_record(bits=4))
    with (
        EdgeClient(tmp_path / "other", steady_server.address) as client,
        pytest.raises(MismatchError, match="runs the plan"),
    ):
        client.infer(images(1))
    manifest = open_edge(steady_bundle).manifest
    right: dict[str, Any] = {
        "protocol": PROTOCOL, "bundle_id": manifest.bundle_id, "plan_sha256": manifest.part.plan_sha256,
        "part_sha256": manifest.part_sha256,
    }  # fmt: skip
    with grpc.insecure_channel(steady_server.address) as channel:
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


def test_a_stream_without_the_bundles_hashes_is_refused(steady_server: CloudServer, steady_bundle: Path) -> None:
    manifest = open_edge(steady_bundle).manifest
    with grpc.insecure_channel(steady_server.address) as channel:
        for metadata in ([], [(BUNDLE_KEY, manifest.bundle_id), (PART_KEY, "0" * 64)]):
            call = Stub(channel).infer(iter([b"x"]), metadata=metadata)
            with pytest.raises(grpc.RpcError) as caught:
                next(call)
            assert caught.value.code() is grpc.StatusCode.FAILED_PRECONDITION


def test_undefended_tensors_must_be_allowed_by_the_server(steady_bundle: Path) -> None:
    with serving(steady_bundle) as strict, EdgeClient(steady_bundle, strict.address, undefended=True) as client:
        with pytest.raises(MismatchError, match="--allow-undefended"):
            client.infer(images(1))
        manifest = open_edge(steady_bundle).manifest
        frame = pack_request(Request(BodyKind.undefended, 1, 1, 1000, b""))
        with grpc.insecure_channel(strict.address) as channel:
            metadata = [(BUNDLE_KEY, manifest.bundle_id), (PART_KEY, manifest.part_sha256)]
            answer = unpack_answer(next(Stub(channel).infer(iter([frame]), metadata=metadata)))
        assert answer.status is Status.invalid


def test_a_request_that_was_cancelled_is_not_run(steady_bundle: Path) -> None:
    part, runs = open_cloud(steady_bundle), list[int]()
    run = part.program.forward

    def counted(*tensors: Any) -> Any:
        runs.append(1)
        return run(*tensors)

    part.program.forward = counted  # type: ignore[method-assign]
    with CloudServer(part, ANYWHERE) as server, EdgeClient(steady_bundle, server.address) as client:
        request, manifest = client.prepare(images(1)), client.part.manifest

        class Gone:
            """The context of a call that its client has left."""

            def invocation_metadata(self) -> list[tuple[str, str]]:
                return [(BUNDLE_KEY, manifest.bundle_id), (PART_KEY, manifest.part_sha256)]

            def peer(self) -> str:
                return "ipv4:127.0.0.1:1"

            def is_active(self) -> bool:
                return False

        assert list(server.methods.infer(iter([request.frame]), Gone())) == []
        assert not runs
        client.collect(client.submit(request))
        assert runs
