"""Which dimension counts samples: as it is said, and asked about where the first looks like time or nodes."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from collabplan.graph import candidate_cuts, same_values, split, trace
from collabplan.records import TraceError
from torch import Tensor, nn


class Recurrent(nn.Module):
    """Reads `[time, batch, 6]`; answers from the last step, or at each."""

    def __init__(self, kind: type[nn.Module], *, last: bool = True) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.embed, self.recurrent, self.head, self.last = nn.Linear(6, 8), kind(8, 8), nn.Linear(8, 3), last

    def forward(self, x: Tensor) -> Tensor:
        steps, _ = self.recurrent(torch.relu(self.embed(x)))
        return self.head(steps[-1] if self.last else steps)


class Attentive(nn.Module):
    """A transformer on ids `[time, batch]`, with a mask over time."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.embed, self.layer = nn.Embedding(20, 8), nn.TransformerEncoderLayer(8, 2, 16)
        self.head = nn.Linear(8, 3)

    def forward(self, ids: Tensor, mask: Tensor | None = None) -> Tensor:
        return self.head(self.layer(self.embed(ids), src_mask=mask).mean(0))


class Stepping(nn.Module):
    """A recurrent cell from a state that is given: `[time, batch, 6]` and `[1, batch, 8]`."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.recurrent, self.head = nn.GRU(6, 8), nn.Linear(8, 3)

    def forward(self, x: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        steps, state = self.recurrent(x, state)
        return self.head(steps[-1]), state


class Messages(nn.Module):
    """A graph network: nodes `[N, 5]`, and edges as pairs `[2, E]` or as a matrix `[N, N]`."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first, self.last = nn.Linear(5, 8), nn.Linear(8, 3)

    def forward(self, x: Tensor, edges: Tensor) -> Tensor:
        hidden = torch.relu(self.first(x))
        if edges.is_floating_point():
            return self.last(edges @ hidden)
        return self.last(torch.zeros_like(hidden).index_add(0, edges[1], hidden[edges[0]]))


SEQUENCES: dict[str, tuple[nn.Module, tuple[Tensor, ...]]] = {
    "lstm": (Recurrent(nn.LSTM), (torch.randn(7, 1, 6),)),
    "lstm at every step": (Recurrent(nn.LSTM, last=False), (torch.randn(7, 1, 6),)),
    "gru of two samples": (Recurrent(nn.GRU), (torch.randn(7, 2, 6),)),
    "as many steps as samples": (Recurrent(nn.GRU), (torch.randn(4, 4, 6),)),
    "a state beside it": (Stepping(), (torch.randn(7, 1, 6), torch.zeros(1, 1, 8))),
    "transformer": (Attentive(), (torch.randint(0, 20, (7, 1)),)),
    "transformer with a mask over time": (Attentive(), (torch.randint(0, 20, (7, 1)), torch.zeros(7, 7))),
}


@pytest.mark.parametrize("name", SEQUENCES)
def test_time_first_is_asked_about_and_then_split_along_samples(name: str) -> None:
    model, inputs = SEQUENCES[name]
    with pytest.raises(TraceError, match=r"is dimension 0 time.*batch_dim = 1.*--batch-dim 1"):
        trace(model, inputs)
    traced = trace(model, inputs, batch_dims=1)
    assert (traced.mixed_at, traced.only_batch) == (None, None)
    cuts = candidate_cuts(traced)
    assert sum(cut.kind == "proper" and cut.searchable for cut in cuts) > 0
    for batch in (1, 3):
        given = [_samples(spec.batch_dim, tensor, batch) for spec, tensor in zip(traced.inputs, inputs, strict=True)]
        with torch.no_grad():
            expected = model.eval()(*given)
            for cut in cuts:
                halves = split(traced, cut)
                assert same_values(halves.cloud(*halves.edge(*given)), expected), f"{cut.name} at batch {batch}"


def _samples(batch_dim: int | None, tensor: Tensor, batch: int) -> Tensor:
    if batch_dim is None:
        return tensor
    made = torch.cat([tensor.narrow(batch_dim, 0, 1)] * batch, dim=batch_dim)
    return made + torch.randn(made.shape) if made.is_floating_point() else made.flip(0)


def test_who_says_that_the_first_dimension_counts_is_not_asked() -> None:
    class Running(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x.cumsum(0)

    with pytest.raises(TraceError, match="where dimension 0 does count samples, write batch_dim = 0"):
        trace(Running(), torch.randn(3, 4, 2))
    assert trace(Running(), torch.randn(3, 4, 2), batch_dims=0).mixed_at == "cumsum"
    assert trace(Running(), torch.randn(3, 4)).mixed_at == "cumsum"  # a table of numbers has no time of ids or features


EDGES: dict[str, tuple[Tensor, Tensor]] = {
    "pairs": (torch.randn(5, 5), torch.randint(0, 5, (2, 12))),
    "pairs of two nodes": (torch.randn(2, 5), torch.randint(0, 2, (2, 3))),
    "one pair": (torch.randn(3, 5), torch.tensor([[0], [1]])),
    "a matrix": (torch.randn(6, 5), torch.rand(6, 6)),
}


@pytest.mark.parametrize("name", EDGES)
def test_nodes_of_a_graph_are_asked_about_and_then_one_call_is_one_sample(name: str) -> None:
    model, inputs = Messages(), EDGES[name]
    with pytest.raises(TraceError, match=r"'edges' looks like the edges of a graph.*batch_dim = None") as raised:
        trace(model, inputs)
    assert 'batch_dim = {"x": 0, "edges": None}' in str(raised.value)
    traced = trace(model, inputs, batch_dims="none")
    assert (traced.mixed_at, traced.only_batch) == (None, 1)
    assert "no input has a batch: one call is one sample" in traced.notes
    cuts = candidate_cuts(traced)
    assert any(cut.kind == "proper" and cut.searchable for cut in cuts)
    for cut in cuts:
        halves = split(traced, cut)
        with torch.no_grad():
            assert same_values(halves.cloud(*halves.edge(*inputs)), model(*inputs))


def test_entries_of_which_no_other_number_can_run_are_no_samples() -> None:
    class Neighbours(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.order: Tensor
            self.register_buffer("order", torch.tensor([4, 3, 2, 1, 0]))
            self.layer = nn.Linear(3, 3)

        def forward(self, x: Tensor) -> Tensor:
            return self.layer(x.index_select(0, self.get_buffer("order")))

    with pytest.raises(TraceError, match=r"do not look like samples.*batch_dim = None"):
        trace(Neighbours(), torch.randn(5, 3))


@pytest.mark.parametrize(
    ("said", "says"),
    [
        ({"y": 0}, "batch_dims names 'y', but the model's tensor inputs are x, state"),
        ({"x": 3}, "names dimension 3 of input 'x', which has 3 dimensions"),
        (5, "names dimension 5 of input 'x'"),
        ({"x": 0, "state": 1}, r"disagree about the number of samples: x 7 \(dimension 0\), state 1 \(dimension 1\)"),
    ],
)
def test_dimensions_that_cannot_be_are_refused(said: Any, says: str) -> None:
    with pytest.raises(TraceError, match=says):
        trace(Stepping(), (torch.randn(7, 1, 6), torch.zeros(1, 1, 8)), batch_dims=said)


def test_what_is_not_said_of_an_input_follows_from_the_number_of_samples() -> None:
    class Gated(nn.Module):
        def forward(self, x: Tensor, gate: Tensor, scale: Tensor) -> Tensor:
            return torch.tanh(x * gate[None] * scale)

    traced = trace(Gated(), (torch.randn(5, 2, 3), torch.rand(2, 3), torch.rand(5, 1, 1)), batch_dims={"x": 1})
    assert [spec.batch_dim for spec in traced.inputs] == [1, 0, None]
