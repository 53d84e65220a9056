"""What really crosses: the plan's tensors after the defense and the public inputs, in messages of one size.

A proxy keeps every byte that the device sends, and the test reads them as HTTP/2 and gRPC.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from statistics import fmean

import pytest
import torch
from bundle_plans import Made, Tokens, make, middle, tokens
from collabplan.attacks import AuditRequest, AuditTarget, Effort, attack_named, run_audit
from collabplan.defenses import Defense
from collabplan.defenses.randomness import Keyed
from collabplan.estimators.inversion import MANY
from collabplan.records import DefenseRecord
from collabplan.runtime import write_bundle
from collabplan.runtime.device.client import EdgeClient
from collabplan.runtime.parts import open_edge
from collabplan.runtime.wire import protocol_pb2 as messages
from collabplan.runtime.wire.framing import REQUEST_HEADER_BYTES, BodyKind, unpack_request
from collabplan.runtime.wire.request_codec import DefendedCodec
from collabplan.targets import Data, InputScaling
from defense_records import defense_record
from http2 import FIXED_BYTES, GOAWAY, OVERHEAD, SETTINGS, Captured, read
from serving import Proxy, serving
from sklearn.datasets import load_digits
from torch import Tensor, nn


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wire") / "bundle"
    spec = defense_record(dropout="element", rate=0.4, noise="gaussian", noise_std=0.1, bits=5, masks="keyed")
    made = make(Tokens(), tokens, middle, batch=2, public=("mask",), spec=spec)
    write_bundle(made.plan, made.traced, made.cut, folder)
    return folder


def captured(bundle: Path, key: Path, *runs: Sequence[tuple[torch.Tensor, ...]]) -> list[Captured]:
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
    )

    # Each request is, byte for byte, what the plan's defense releases of the crossing tensors, and the public mask.
    bodies = DefendedCodec(edge.defense)
    assert len({len(frame) for frame in found.messages[requests]}) == 1
    assert len(found.messages[requests]) == len(inputs)
    for number, (frame, (ids, mask)) in enumerate(zip(found.messages[requests], inputs, strict=True), start=1):
        request = unpack_request(frame)
        assert (request.id, request.batch, request.kind, request.patience_ms) == (number, 1, BodyKind.defended, 10_000)
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


# What was captured, given to the audit -------------------------------------------------------------------------------

EFFORT = Effort("quick", 100, 600, 250, 120, 8, 16, False)
TARGETS, AT_ONCE = 100, 25


def digits() -> tuple[Data, Data]:
    """Targets and the attacker's own."""
    pixels = torch.tensor(load_digits().images, dtype=torch.float32)[:, None] / 16
    order = torch.randperm(len(pixels), generator=torch.Generator().manual_seed(1))
    return Data((pixels[order[:TARGETS]],)), Data((pixels[order[TARGETS : TARGETS + 600]],))


@pytest.fixture(scope="module")
def classifier() -> Made:
    model = nn.Sequential(nn.Conv2d(1, 6, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(384, 10))
    spec = defense_record(dropout="element", rate=0.6, bits=6)
    own = digits()[1].inputs[0]
    return make(model, lambda batch: (own[:batch],), middle, batch=200, spec=spec)


@pytest.fixture(scope="module")
def observed(classifier: Made, tmp_path_factory: pytest.TempPathFactory) -> list[tuple[Tensor, ...]]:
    """What somebody reads on the wire while a device sends every target ten times, release after release."""
    folder = tmp_path_factory.mktemp("capture") / "bundle"
    write_bundle(classifier.plan, classifier.traced, classifier.cut, folder)
    batches = digits()[0].inputs[0].split(AT_ONCE)
    with serving(folder) as server, Proxy(server.address) as proxy:
        with EdgeClient(folder, proxy.address, policy=None) as client:
            for _ in range(MANY):
                for batch in batches:
                    client.infer(batch)
        (sent,) = (read(bytes(each)) for each in proxy.up)
    edge = open_edge(folder)
    layout, frames = DefendedCodec(edge.defense), sent.messages[max(sent.messages)]
    seen = [edge.defense.observed(layout.unpack(unpack_request(each).body, AT_ONCE)) for each in frames]
    per = len(batches)
    return [tuple(map(torch.cat, zip(*seen[at : at + per], strict=True))) for at in range(0, len(seen), per)]


def test_the_audit_of_what_was_captured_agrees_with_the_audit_of_the_plan(
    classifier: Made, observed: list[tuple[Tensor, ...]]
) -> None:
    made, (targets, own) = classifier, digits()
    assert len(observed) == MANY

    def audited(spec: DefenseRecord, seed: int, *, captured: bool) -> dict[str, float]:
        """The index by attack."""
        defense = Defense(spec, made.cut.crossing)
        target = AuditTarget(made.traced, made.cut, defense, InputScaling.from_range(0, 1))
        turned = observed[seed:] + observed[:seed]
        seen = {count: target.captured(turned[:count], targets) for count in (1, MANY)} if captured else None
        attacks = [attack_named("prior"), attack_named("ridge")]
        found = run_audit(AuditRequest(target, targets, own, captured=seen), attacks, EFFORT, seed=seed).record
        return {each.attack: each.figures.index.value for each in found.attacks if each.figures is not None}

    # The device draws from the system's own randomness, so that a single release is now and then two hundredths off.
    spec, seeds = made.plan.defense, range(8)
    planned, real = ([audited(spec, seed, captured=captured) for seed in seeds] for captured in (False, True))
    undropped = audited(spec.without("dropout"), 0, captured=False)
    assert real[0].keys() == planned[0].keys() > {"ridge", f"ridge ({MANY} releases)"}
    for attack in planned[0]:
        assert fmean(each[attack] for each in real) == pytest.approx(fmean(each[attack] for each in planned), abs=0.02)
    assert fmean(each["ridge"] for each in real) < undropped["ridge"] - 0.1, "agreement says something"
    assert real != planned, "they are other releases"
