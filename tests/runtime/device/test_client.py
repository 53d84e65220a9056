"""A client answers as the whole model does, in order, and fails in words. Broken links are in test_faults.py."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

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
from collabplan.records import CollabplanError, DefenseRecord
from collabplan.runtime import write_bundle
from collabplan.runtime.device.client import EdgeClient
from collabplan.runtime.device.errors import UnreachableError
from collabplan.runtime.parts import open_cloud, open_edge
from collabplan.runtime.server.server import CloudServer
from collabplan.runtime.wire.request_codec import DefendedCodec
from defense_records import defense_record
from serving import ANYWHERE, same, serving, simulated
from torch import Tensor


@pytest.fixture
def client(steady_bundle: Path, steady_server: CloudServer) -> Iterator[EdgeClient]:
    with EdgeClient(steady_bundle, steady_server.address) as opened:
        yield opened


@pytest.mark.parametrize("batch", [1, 3, 8])
def test_an_answer_is_that_of_the_halves_and_the_defense(client: EdgeClient, steady_bundle: Path, batch: int) -> None:
    assert same(client.infer(images(batch)), simulated(steady_bundle, images(batch)))


@pytest.mark.parametrize(("spec", "size"), [(defense_record(share=0.5), 2 * 16), (defense_record(rank=6, bits=3), 3)])
def test_a_projection_of_smaller_rank_is_fewer_bytes(spec: DefenseRecord, size: int, tmp_path: Path) -> None:
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


def test_a_stream_is_answered_in_order_and_whole(client: EdgeClient, steady_bundle: Path) -> None:
    batches = [1, 3, 2, 1, 4, 2, 1]
    found = list(client.stream(images(batch) for batch in batches))
    assert same(found, [simulated(steady_bundle, images(batch)) for batch in batches])


def test_a_stream_works_on_the_next_request_while_the_cloud_works_on_the_last(steady_bundle: Path) -> None:
    part, began, events = open_cloud(steady_bundle), threading.Event(), []
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
    with CloudServer(part, ANYWHERE) as server, EdgeClient(steady_bundle, server.address) as client:
        assert len(list(client.stream(inputs()))) == 2
    assert events[:3] == ["cloud begins", "edge", "cloud ends"]


def test_many_threads_may_share_a_client(client: EdgeClient, steady_bundle: Path) -> None:
    found: dict[int, Any] = {}
    threads = [
        threading.Thread(target=lambda batch=batch: found.update({batch: client.infer(images(batch))}))
        for batch in range(1, 7)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(same(found[batch], simulated(steady_bundle, images(batch))) for batch in range(1, 7))


def test_inputs_by_name_and_inputs_that_are_not_the_models(client: EdgeClient, steady_bundle: Path) -> None:
    assert same(client.infer({"x": images(2)[0]}), simulated(steady_bundle, images(2)))
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


def test_without_the_cloud_there_is_a_clear_error_or_the_fallback(steady_bundle: Path) -> None:
    with (
        EdgeClient(steady_bundle, "127.0.0.1:9", retries=1) as client,
        pytest.raises(UnreachableError, match="UNAVAILABLE"),
    ):
        client.infer(images(1))
    with EdgeClient(steady_bundle, "127.0.0.1:9", retries=0, fallback=True) as client:
        answers = [client.infer(images(2)), *client.stream([images(2)])]
        assert client.counts.fallbacks == 2
    expected = make(SkipNet(), images, crossing("relu", "conv2d_1")).model
    with torch.no_grad():
        assert all(same(answer, expected(*images(2))) for answer in answers)
