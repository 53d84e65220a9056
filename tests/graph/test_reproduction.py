"""A trace is compared with its model on the example, on other numbers, and on one sample."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from collabplan.graph import TracedGraph
from collabplan.graph.reproduction import ModelCall, doubt, other_calls
from collabplan.graph.traced_graph import FixedBatchError
from collabplan.records import TraceError
from torch import Tensor, nn


class Scaled(nn.Module):
    """`factor` times the chain of this floor's tests."""

    def __init__(self, traced: TracedGraph, factor: float) -> None:
        super().__init__()
        self.chain, self.factor = traced.module, factor

    def forward(self, input: Tensor) -> Tensor:
        return self.factor * self.chain(input)


def call(model: nn.Module, x: Tensor) -> ModelCall:
    with torch.no_grad():
        return ModelCall((x,), {}, model(x))


def test_another_call_has_other_numbers_where_the_example_is_constant(chain: TracedGraph) -> None:
    with torch.no_grad():
        (other,) = other_calls(chain, chain.module, [torch.zeros(1, 3)])
        assert not torch.equal(other.args[0], torch.zeros(1, 3))
        assert torch.equal(other.of(chain), other.expected)
        assert list(other_calls(chain, chain.module, [torch.randn(1, 3)])) == []


def test_another_call_has_one_sample_where_the_example_has_more(chain: TracedGraph) -> None:
    with torch.no_grad():
        (other,) = other_calls(chain, chain.module, [torch.randn(4, 3)])
    assert other.args[0].shape == (1, 3)


def test_equal_bits_leave_no_doubt_and_rounding_is_noted(chain: TracedGraph) -> None:
    x = torch.randn(2, 3)
    for factor, note in ((1.0, ""), (1 + 1e-5, "the graph equals the model up to rounding, not bit for bit")):
        model = Scaled(chain, factor)
        given = call(model, x)
        with torch.no_grad():
            assert doubt(chain, model, given, given.of(chain)) == note


def test_another_output_may_be_the_batchs_fault_or_the_traces(chain: TracedGraph) -> None:
    model = Scaled(chain, 2.0)
    given = call(model, torch.randn(2, 3))
    with torch.no_grad():
        with pytest.raises(FixedBatchError, match="at batch 2 the model does something else"):
            doubt(chain, model, given, given.of(chain))
        with pytest.raises(TraceError, match="does not reproduce the model"):
            doubt(replace(chain, method="static"), model, given, given.of(chain))


def test_a_model_that_differs_from_call_to_call_is_named_as_such(chain: TracedGraph) -> None:
    class Counting(Scaled):
        def forward(self, input: Tensor) -> Tensor:
            self.factor += 1
            return super().forward(input)

    model = Counting(chain, 1.0)
    given = call(model, torch.randn(2, 3))
    with pytest.raises(TraceError, match="gives another output each time"), torch.no_grad():
        doubt(chain, model, given, given.of(chain))
