"""Tracing: what it accepts, what it leaves alone, and how it refuses."""

from __future__ import annotations

import pytest
import torch
from collabplan.graph import candidate_cuts, same_values, split, trace
from collabplan.records import TraceError
from torch import Tensor, nn


def test_training_flags_and_weights_stay_as_they_were():
    model = nn.Sequential(nn.Linear(3, 3), nn.BatchNorm1d(3), nn.Dropout())
    model[1].eval()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    trace(model, torch.randn(4, 3))
    assert [module.training for module in model] == [True, False, True]
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())


def test_the_batch_is_free_after_an_example_of_one():
    traced = trace(nn.Linear(3, 2), torch.randn(1, 3))
    assert traced.dynamic_batch
    assert traced.module(torch.randn(7, 3)).shape == (7, 2)


def test_a_model_with_a_fixed_batch_is_traced_statically_and_says_so():
    class Fixed(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return torch.relu(x).reshape(2, -1) * 2

    traced = trace(Fixed(), torch.randn(2, 3, 4))
    assert traced.method == "static"
    assert "only batch size 2" in traced.notes[0]
    with pytest.raises(TraceError, match="batch 2 only"):
        traced.module(torch.randn(3, 3, 4))
    for cut in candidate_cuts(traced):
        halves = split(traced, cut)
        x = torch.randn(2, 3, 4)
        assert torch.equal(halves.cloud(*halves.edge(x)), Fixed()(x))


def test_control_flow_on_values_names_the_line_and_the_remedy():
    class Branch(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            if x.sum() > 0:
                return x * 2
            return x

    with pytest.raises(TraceError, match=r"test_tracing\.py:\d+: if x\.sum\(\) > 0.*torch\.where"):
        trace(Branch(), torch.randn(1, 3))


def test_a_model_that_fails_on_its_example_says_where():
    with pytest.raises(TraceError, match=r"fails on the example inputs \(shapes \[\[1, 4\]\]\)"):
        trace(nn.Linear(3, 2), torch.randn(1, 4))


def test_random_numbers_in_eval_mode_are_refused():
    class Noisy(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return nn.functional.dropout(x, 0.5, training=True)

    with pytest.raises(TraceError, match="random numbers"):
        trace(Noisy(), torch.randn(1, 3))


def test_state_that_the_output_reads_is_refused():
    class Counter(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("count", torch.zeros(()))

        def forward(self, x: Tensor) -> Tensor:
            self.count.add_(1)
            return x * self.count

    with pytest.raises(TraceError, match="count"):
        trace(Counter(), torch.randn(1, 3))


def test_constants_among_the_inputs_are_fixed_and_checked():
    class Flagged(nn.Module):
        def forward(self, x: Tensor, double: bool = False) -> Tensor:
            return x * 2 if double else x + 1

    traced = trace(Flagged(), torch.randn(1, 3), {"double": True})
    x = torch.randn(2, 3)
    assert torch.equal(traced.module(x, double=True), x * 2)
    with pytest.raises(TraceError, match="fixed to True"):
        traced.module(x, double=False)


def test_integer_inputs_tied_weights_and_nested_outputs():
    class Tied(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embedding = nn.Embedding(10, 4)
            self.head = nn.Linear(4, 10, bias=False)
            self.head.weight = self.embedding.weight

        def forward(self, tokens: Tensor) -> dict[str, list[Tensor]]:
            hidden = torch.tanh(self.embedding(tokens))
            return {"logits": [self.head(hidden), hidden]}

    model = Tied()
    traced = trace(model, torch.randint(0, 10, (1, 5)))
    assert traced.identity.parameter_count == 40
    tokens = torch.randint(0, 10, (3, 5))
    assert same_values(traced.module(tokens), model(tokens))
    for cut in candidate_cuts(traced):
        halves = split(traced, cut)
        with torch.no_grad():
            assert same_values(halves.cloud(*halves.edge(tokens)), model(tokens))


def test_unknown_input_names_are_refused_with_the_known_ones():
    with pytest.raises(TraceError, match="the model's tensor inputs are input"):
        trace(nn.Linear(3, 2), torch.randn(1, 3), public_inputs=["mask"])


def test_batch_dims_override_the_guess():
    class TimeFirst(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return torch.relu(x) + 1

    traced = trace(TimeFirst(), torch.randn(5, 1, 3), batch_dims={"x": 1})
    assert traced.module(torch.randn(5, 4, 3)).shape == (5, 4, 3)
    cut = candidate_cuts(traced)[1]
    assert cut.crossing[0].layout.batch_dim == 1
    assert cut.crossing[0].sample_shape == (5, 3)


def test_weights_and_structure_have_separate_hashes():
    torch.manual_seed(0)
    first, second = nn.Linear(3, 2), nn.Linear(3, 2)
    a, b = (trace(model, torch.randn(1, 3)).identity for model in (first, second))
    assert a.structure_hash == b.structure_hash
    assert a.weights_hash != b.weights_hash
    c = trace(nn.Sequential(first), torch.randn(1, 3)).identity
    assert c.structure_hash != a.structure_hash
