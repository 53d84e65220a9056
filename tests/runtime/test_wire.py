"""What really crosses: the plan's tensors after the defense and the public inputs, in messages of one size.

A proxy keeps every byte that the device sends, and the test reads them as HTTP/2 and gRPC.
"""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from bundle_plans import Tokens, make, middle, tokens
from collabplan.estimators.randomness import Keyed
from collabplan.records import DefenseSpec
from collabplan.runtime import protocol_pb2 as messages
from collabplan.runtime import write_bundle
from collabplan.runtime.bodies import Released
from collabplan.runtime.edge import EdgeClient
from collabplan.runtime.frames import REQUEST_HEADER_BYTES, Wire, unpack_request
from collabplan.runtime.parts import open_edge
from http2 import FIXED_BYTES, GOAWAY, OVERHEAD, SETTINGS, Captured, read
from serving import Proxy, serving


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wire") / "bundle"
    spec = DefenseSpec(dropout="element", rate=0.4, noise="gaussian", noise_std=0.1, bits=5, masks="keyed")
    made = make(Tokens(), tokens, middle, batch=2, public=("mask",), spec=spec)
    write_bundle(made.plan, made.traced, made.cut, folder)
    return folder


def captured(bundle: Path, key: Path, *runs: list[tuple[torch.Tensor, ...]]) -> list[Captured]:
    """What a client of each run's own sends, through one proxy."""
    with serving(bundle) as server, Proxy(server.address) as proxy:
        for inputs in runs:
            with EdgeClient(bundle, proxy.address, key_file=key) as client:
                for each in inputs:
                    client.infer(each)
        return [read(bytes(sent)) for sent in proxy.up]


def test_only_the_defended_tensors_and_public_inputs_cross_in_messages_of_one_size(
    bundle: Path, tmp_path: Path
) -> None:
    secret = "5c" * 32
    key = tmp_path / "key"
    key.write_text(secret)
    key.chmod(0o600)
    generator = torch.Generator().manual_seed(3)
    inputs = [
        (torch.randint(0, 11, (1, 4), generator=generator), torch.tensor([[1.0, 1.0, float(number % 2), 0.0]]))
        for number in range(5)
    ]
    found, others = captured(bundle, key, inputs, [tokens(1)] * 5)

    # The streams are a handshake and the requests. The handshake holds hashes that the manifest has.
    handshake, requests = sorted(found.messages)
    edge = open_edge(bundle)
    (hello,) = found.messages[handshake]
    assert messages.HelloRequest.FromString(hello) == messages.HelloRequest(
        protocol=1,
        bundle_id=edge.manifest.bundle_id,
        plan_sha256=edge.manifest.part.plan_sha256,
        part_sha256=edge.manifest.part_sha256,
        torch_version=torch.__version__,
    )

    # Each request is, byte for byte, what the plan's defense releases of the crossing tensors, and the public mask.
    bodies = Released(edge.defense)
    assert len({len(frame) for frame in found.messages[requests]}) == 1
    assert len(found.messages[requests]) == len(inputs)
    for number, (frame, (ids, mask)) in enumerate(zip(found.messages[requests], inputs, strict=True), start=1):
        request = unpack_request(frame)
        assert (request.id, request.batch, request.wire, request.patience_ms) == (number, 1, Wire.plan, 10_000)
        assert len(frame) == REQUEST_HEADER_BYTES + bodies.body_bytes(1)
        source = Keyed(bytes.fromhex(secret), edge.manifest.part.plan_sha256.encode(), [ids])
        with torch.no_grad():
            released = edge.defense.release(edge.program(ids, mask), source)
        assert bytes(request.body) == bodies.pack(released, 1)
        assert any(torch.equal(tensor, mask) for tensor in released), "the declared public input"

    # What is left is HTTP/2's own: of fixed size, and the same header block whatever the inputs are.
    assert {kind for kind, _ in found.rest} <= OVERHEAD
    for kind, payload in found.rest:
        assert len(payload) == FIXED_BYTES.get(kind, len(payload))
    assert len({len(frame) for frame in others.messages[requests] + found.messages[requests]}) == 1
    assert [kind for kind, _ in others.rest if kind in (SETTINGS, GOAWAY)] == [
        kind for kind, _ in found.rest if kind in (SETTINGS, GOAWAY)
    ]
    assert found.headers[requests] == others.headers[requests]
    assert secret.encode() not in repr(found).encode()
