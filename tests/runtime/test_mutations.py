"""20,000 mutated messages: none crashes or hangs either side, runs anything, or is taken for what it is not.

And 1,500 mutated plans; bundles are in test_parts.py. Messages meet the code that gRPC hands them to; what damages the
bytes below that on their way is in test_faults.py.
"""

from __future__ import annotations

import random
import resource
import socket
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from bundle_plans import images
from collabplan.records import Plan, RecordError, load
from collabplan.runtime.device.client import EdgeClient
from collabplan.runtime.parts import EdgePart, open_edge
from collabplan.runtime.server.server import CloudServer
from collabplan.runtime.wire import protocol_pb2 as messages
from collabplan.runtime.wire.framing import (
    PROTOCOL,
    Answer,
    BodyKind,
    FrameError,
    Request,
    Status,
    pack_answer,
    pack_request,
    unpack_answer,
)
from collabplan.runtime.wire.request_codec import DefendedCodec
from collabplan.runtime.wire.response_codec import AnswerError, pack_outputs, unpack_outputs
from collabplan.runtime.wire.service import BUNDLE_KEY, PART_KEY
from damage import damaged, edit, edited
from defense_records import defense_record
from google.protobuf.message import DecodeError
from serving import Proxy, serving, written

REQUESTS, FORGED, ANSWERS, HANDSHAKES, CONNECTIONS = 6000, 4000, 8000, 1500, 500
"""In all 20,000."""

PLANS = 1500

MOST_GROWTH_KB = 60_000


class Aborted(Exception):
    """What gRPC's `abort` raises."""


class Context:
    """What gRPC tells a method of its call."""

    def __init__(self, part: EdgePart) -> None:
        self._metadata = ((BUNDLE_KEY, part.manifest.bundle_id), (PART_KEY, part.manifest.part_sha256))

    def invocation_metadata(self) -> tuple[tuple[str, str], ...]:
        return self._metadata

    def peer(self) -> str:
        return "a test"

    def is_active(self) -> bool:
        return True

    def abort(self, code: Any, details: str) -> None:
        assert "\n" not in details
        raise Aborted(code)


@pytest.fixture(scope="module")
def edge(tmp_path_factory: pytest.TempPathFactory) -> EdgePart:
    folder = tmp_path_factory.mktemp("mutations") / "bundle"
    written(folder, defense_record(bits=5))
    return open_edge(folder / "edge")


@pytest.fixture(scope="module")
def server(edge: EdgePart) -> Iterator[CloudServer]:
    with serving(edge.folder.parent, max_batch=4) as found:
        yield found


@pytest.fixture(scope="module")
def bodies(edge: EdgePart) -> dict[int, bytes]:
    """What the device releases, by number of samples."""
    layout = DefendedCodec(edge.defense)
    with torch.no_grad():
        return {
            batch: layout.pack(edge.defense.release(edge.program(*images(batch)), torch.Generator()), batch)
            for batch in (1, 2, 4)
        }


@pytest.fixture(autouse=True)
def memory_stays(server: CloudServer) -> Iterator[None]:  # noqa: ARG001
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    yield
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < MOST_GROWTH_KB


def answer_of(server: CloudServer, edge: EdgePart, frame: bytes) -> Answer | None:
    """What the server answers, None where it ends the stream."""
    try:
        return unpack_answer(next(server.methods.infer(iter([frame]), Context(edge))))
    except Aborted:
        return None


def test_damaged_requests_end_their_stream(server: CloudServer, edge: EdgePart, bodies: dict[int, bytes]) -> None:
    draw = random.Random("requests")
    frames = {batch: pack_request(Request(BodyKind.defended, 7, batch, 10_000, body)) for batch, body in bodies.items()}
    whole = {batch: answer_of(server, edge, frame) for batch, frame in frames.items()}
    assert all(answer is not None and answer.status is Status.ok for answer in whole.values())
    for _ in range(REQUESTS):
        batch = draw.choice(list(frames))
        frame = damaged(frames[batch], draw)
        found = answer_of(server, edge, frame)
        assert (found is None) == (frame != frames[batch])
    assert server.methods.status(None, Context(edge)).streams == 0
    for batch, frame in frames.items():
        again, first = answer_of(server, edge, frame), whole[batch]
        assert again is not None
        assert first is not None
        assert bytes(again.body) == bytes(first.body)


def test_requests_whose_checksum_is_right_are_answered_or_refused_by_size(
    server: CloudServer, edge: EdgePart, bodies: dict[int, bytes]
) -> None:
    """An attacker can compute checksums too."""
    draw, layout = random.Random("forged"), DefendedCodec(edge.defense)
    statuses = []
    for _ in range(FORGED):
        body = damaged(bodies[draw.choice(list(bodies))], draw)
        batch = draw.choice((1, 2, 3, 4, 5, 2**32 - 1))
        request = Request(draw.choice(list(BodyKind)), draw.randrange(2**64), batch, draw.randrange(2**32), body)
        answer = answer_of(server, edge, pack_request(request))
        assert answer is not None
        assert answer.id == request.id
        statuses.append(answer.status)
        if answer.status is Status.ok:
            assert request.kind is BodyKind.defended
            assert batch <= 4
            assert len(body) == layout.body_bytes(batch)
            assert unpack_outputs(answer.body, edge.manifest.part.outputs, batch)["logits"].shape == (batch, 5)
    assert set(statuses) <= {Status.ok, Status.invalid, Status.late}
    assert statuses.count(Status.ok) > FORGED // 50


def test_damaged_answers_are_not_taken(server: CloudServer, edge: EdgePart, bodies: dict[int, bytes]) -> None:
    draw, spec = random.Random("answers"), edge.manifest.part.outputs
    right = answer_of(server, edge, pack_request(Request(BodyKind.defended, 7, 2, 10_000, bodies[2])))
    assert right is not None
    output = unpack_outputs(right.body, spec, 2)
    frame = pack_answer(right)
    for _ in range(ANSWERS // 2):
        changed = damaged(frame, draw)
        if changed != frame:
            with pytest.raises(FrameError):
                unpack_answer(changed)
    for _ in range(ANSWERS // 2):  # and from a server that lies
        body = damaged(bytes(right.body), draw)
        found = unpack_answer(pack_answer(Answer(Status.ok, 7, 2, body)))
        try:
            value = unpack_outputs(found.body, spec, 2)
        except AnswerError:
            continue
        assert value.keys() == output.keys()
        assert value["logits"].shape == output["logits"].shape
        assert value["logits"].dtype is output["logits"].dtype
        assert pack_outputs(value, spec) == body


def test_damaged_handshakes_are_refused(server: CloudServer, edge: EdgePart) -> None:
    draw = random.Random("handshakes")
    right = messages.HelloRequest(
        protocol=PROTOCOL,
        bundle_id=edge.manifest.bundle_id,
        plan_sha256=edge.manifest.part.plan_sha256,
        part_sha256=edge.manifest.part_sha256,
    )
    assert server.methods.hello(right, Context(edge)).accepted
    for _ in range(HANDSHAKES):
        try:
            request = messages.HelloRequest.FromString(damaged(right.SerializeToString(), draw))
        except (DecodeError, UnicodeDecodeError):
            continue
        reply = server.methods.hello(request, Context(edge))
        assert reply.accepted == all(
            getattr(request, field) == getattr(right, field)
            for field in ("protocol", "bundle_id", "plan_sha256", "part_sha256", "undefended")
        )
        assert "\n" not in reply.refusal


def test_damaged_connections_leave_the_server_as_it_was(server: CloudServer, edge: EdgePart) -> None:
    """What a device sent, damaged anywhere (HTTP/2 and gRPC are bytes too), and sent again by somebody else."""
    draw = random.Random("connections")
    (sample,) = images(1)
    with Proxy(server.address) as proxy, EdgeClient(edge, proxy.address) as client:
        expected = client.infer(sample)["logits"]
        (sent,) = (bytes(each) for each in proxy.up)
    for number in range(CONNECTIONS):
        with socket.create_connection((server.host, server.port)) as connection:
            connection.sendall(damaged(sent, draw))
            if number % 2:  # leave with a reset and not in order
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    with EdgeClient(edge, server.address) as client:
        assert torch.equal(client.infer(sample)["logits"], expected)


def test_damaged_plans_are_refused_in_one_line_or_are_plans(edge: EdgePart, tmp_path: Path) -> None:
    draw, file = random.Random("plans"), tmp_path / "plan.json"
    whole = (edge.folder / "plan.json").read_bytes()
    reasons = []
    for number in range(PLANS):
        file.write_bytes(whole)
        if number % 2:
            edit(file, lambda document: edited(document, draw))
        else:
            file.write_bytes(damaged(whole, draw))
        try:
            load(Plan, file)
        except RecordError as error:
            reasons.append(str(error))
    assert len(reasons) > PLANS // 2
    assert not any("\n" in reason for reason in reasons)
