"""The cloud half answers each request with its own rows, alone or in a micro-batch, and no error quotes a request."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest
import torch
from bundle_plans import (
    Tokens,
    TwoHeads,
    crossing,
    first,
    make,
    middle,
    rows,
    tokens,
)
from collabplan.records import CollabplanError
from collabplan.runtime import write_bundle
from collabplan.runtime.device.client import EdgeClient
from collabplan.runtime.parts import CloudPart, open_cloud
from collabplan.runtime.server.server import CloudServer, ServeOptions
from serving import ANYWHERE, STEADY, serving, simulated
from torch import Tensor, nn


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


def test_micro_batches_answer_each_with_its_own_rows(steady_bundle: Path, tmp_path: Path) -> None:
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
        CloudServer(open_cloud(steady_bundle), ANYWHERE, ServeOptions(micro_batch=4))


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
