"""The batch stays free where code counts pieces of it, and is found where it is not the first dimension."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from collabplan.graph import candidate_cuts, same_values, split, trace
from torch import Tensor, nn


class Runs(nn.Module):
    """A linear layer around `middle`."""

    def __init__(self, middle: Callable[..., Tensor]) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.linear = nn.Linear(4, 6)
        self.register_buffer("order", torch.tensor([[2, 0]]))
        self.middle = middle

    def forward(self, x: Tensor) -> Tensor:
        return self.middle(self, x)


def doubled(self: Runs, x: Tensor) -> Tensor:
    return self.linear(torch.cat([x, x])).tanh()


def guided(pair: Any) -> Tensor:
    without, wanted = pair
    return without + 7.5 * (wanted - without)


MIDDLES = {
    "chunk": lambda self, x: guided(doubled(self, x).chunk(2)),
    "torch.chunk by keyword": lambda self, x: guided(torch.chunk(doubled(self, x), chunks=2, dim=0)),
    "split by the batch": lambda self, x: guided(doubled(self, x).split(x.shape[0])),
    "split in halves": lambda self, x: guided(torch.split(doubled(self, x), doubled(self, x).shape[0] // 2)),
    "three pieces": lambda self, x: sum(self.linear(x.repeat(3, 1)).chunk(3)),
    "channels in pieces": lambda self, x: guided(self.linear(x).chunk(2, dim=1)),
    "take_along_dim": lambda self, x: torch.take_along_dim(self.linear(x), self.linear(x).argsort(1), dim=1),
    "take_along_dim, one order for all": lambda self, x: self.linear(x).take_along_dim(self.order, dim=-1),
    "take_along_dim, flat": lambda self, x: self.linear(x) + torch.take_along_dim(self.order, self.order * 0).sum(),
    "data": lambda self, x: self.linear(x).data * 2,
}


@pytest.mark.parametrize("middle", MIDDLES.values(), ids=MIDDLES)
def test_the_batch_stays_free(middle: Callable[..., Tensor]) -> None:
    model = Runs(middle).eval()
    traced = trace(model, torch.randn(1, 4))
    assert traced.dynamic_batch, traced.notes
    assert not traced.notes
    for batch in (1, 2, 3):
        x = torch.randn(batch, 4, generator=torch.Generator().manual_seed(batch))
        with torch.no_grad():
            for cut in candidate_cuts(traced):
                halves = split(traced, cut)
                assert same_values(halves.cloud(*halves.edge(x)), model(x)), (batch, cut.name)


@pytest.mark.parametrize("middle", [MIDDLES["chunk"], MIDDLES["split by the batch"], MIDDLES["take_along_dim"]])
def test_gradients_are_those_of_the_original_calls(middle: Callable[..., Tensor]) -> None:
    model = Runs(middle).eval()
    traced = trace(model, torch.randn(1, 4))
    x = torch.randn(3, 4, generator=torch.Generator().manual_seed(0))
    slopes: list[Any] = []
    for function in (model, traced.module):
        given = x.clone().requires_grad_()
        function(given).pow(2).sum().backward()
        slopes.append(given.grad)
    assert torch.equal(*slopes)


@pytest.mark.parametrize(
    ("model", "states", "examples"),
    [
        (nn.LSTM(3, 5, num_layers=2, batch_first=True), 2, 1),
        (nn.LSTM(3, 5, batch_first=True), 2, 1),
        (nn.LSTM(3, 5, num_layers=2, batch_first=True), 2, 2),
        (nn.GRU(3, 5, bidirectional=True, batch_first=True), 1, 4),
        (nn.GRU(3, 5, num_layers=3, batch_first=True), 1, 3),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, nn.Module) else str(value),
)
def test_the_states_of_a_recurrent_net_have_their_samples_in_dimension_one(
    model: nn.RNNBase, states: int, examples: int
) -> None:
    layers = model.num_layers * (2 if model.bidirectional else 1)

    def inputs(batch: int) -> tuple[Any, ...]:
        state = tuple(torch.randn(layers, batch, 5) for _ in range(states))
        return torch.randn(batch, 4, 3), state if states == 2 else state[0]

    traced = trace(model, inputs(examples))
    assert traced.dynamic_batch
    assert [spec.batch_dim for spec in traced.inputs] == [0] + [1] * states
    assert "in dimension 1" in traced.notes[0]
    given = inputs(3)
    assert same_values(traced.module(*given), model(*given))


def test_a_dimension_that_the_user_gave_is_not_read_otherwise() -> None:
    model = nn.GRU(3, 5, batch_first=True)
    traced = trace(model, (torch.randn(1, 4, 3), torch.zeros(1, 1, 5)), batch_dims={"hx": 0})
    assert traced.method == "static"
    assert "at batch 2 the model fails with" in traced.notes[0]


def test_a_model_that_does_something_else_with_one_sample_is_traced_at_its_examples_batch() -> None:
    def middle(self: Runs, x: Tensor) -> Tensor:
        return self.linear(x) * (2 if x.shape[0] > 1 else 1)

    for examples in (1, 3):
        traced = trace(Runs(middle), torch.randn(examples, 4))
        assert traced.method == "static"
        assert "at batch 1 the model does something else (at" in traced.notes[0]


def test_code_that_fixes_the_batch_is_named() -> None:
    def middle(self: Runs, x: Tensor) -> Tensor:
        return torch.stack([self.linear(row) for row in x])

    traced = trace(Runs(middle), torch.randn(1, 4))
    assert traced.method == "static"
    assert "the code fixes it (at" in traced.notes[0]
    assert "for row in x" in traced.notes[0]
