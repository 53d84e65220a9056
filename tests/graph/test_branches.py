"""`torch.cond` does what the refusal of a Python branch promises."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from collabplan.graph import Step, candidate_cuts, cheapest_stepped_cut, find_cut, same_values, split, trace
from collabplan.graph.units import units
from collabplan.records import TraceError
from torch import Tensor, nn

X = torch.randn(2, 4, generator=torch.Generator().manual_seed(0))


class Branching(nn.Module):
    def __init__(self, decide: Callable[..., Any], no: Callable[..., Any] = torch.sigmoid) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.linear = nn.Linear(4, 3)
        self.register_buffer("flag", torch.tensor([True]))
        self.decide, self.no = decide, no

    def forward(self, x: Tensor, t: Tensor | None = None) -> Tensor:
        decided = self.decide(self, x, t)
        return self.linear(torch.cond(decided, lambda y: y.relu() - 1, lambda y: self.no(y) * 2, (x,)))


def require_equal(model: nn.Module, traced: Any, *inputs: Tensor) -> None:
    with torch.no_grad():
        wanted = model(*inputs)
        for cut in candidate_cuts(traced):
            halves = split(traced, cut)
            assert same_values(halves.cloud(*halves.edge(*inputs)), wanted), cut.name


def test_a_branch_on_another_input_keeps_the_batch_free() -> None:
    model = Branching(lambda _, __, t: t > 0)
    traced = trace(model, (X, torch.tensor(1.0)))
    assert traced.dynamic_batch
    assert "both branches of torch.cond (at" in traced.notes[0]
    for value in (1.0, -1.0):
        require_equal(model, traced, X[:1], torch.tensor(value))
        require_equal(model, traced, torch.cat([X, X]), torch.tensor(value))


def test_a_branch_on_a_buffer_of_one_element() -> None:
    model = Branching(lambda self, _, __: self.flag > 0)
    traced = trace(model, X)
    assert traced.dynamic_batch
    require_equal(model, traced, X)


def test_a_branch_inside_a_branch() -> None:
    def inner(y: Tensor) -> Tensor:
        return torch.cond(y.shape[1] > 2, lambda z: z.tanh(), lambda z: z + 1, (y,))

    model = Branching(lambda _, __, t: t > 0, no=inner)
    traced = trace(model, (X, torch.tensor(1.0)))
    require_equal(model, traced, X, torch.tensor(-1.0))


def test_a_branch_on_the_samples_decides_for_the_whole_batch_so_the_batch_is_not_free() -> None:
    model = Branching(lambda _, x, __: x.sum() > 0)
    traced = trace(model, X[:1])
    assert traced.method == "static"
    assert any("torch.cond" in note and "decides once for all samples" in note for note in traced.notes)
    for x in (X[:1], -X[:1], X[1:]):
        require_equal(model, traced, x)


def test_a_branch_on_the_batch_size_is_taken_where_it_is_known() -> None:
    model = Branching(lambda _, x, __: x.shape[0] > 1)
    traced = trace(model, X[:1])
    assert traced.method == "static"
    require_equal(model, traced, X[:1])


def test_the_fastest_cut_of_branches_on_the_samples_leaves_something_to_the_cloud() -> None:
    """The decision cannot cross, so many ways to cut are impossible: none of them is taken for the fastest."""
    traced = trace(Branching(lambda _, x, __: x.sum() > 0), X[:1])
    nodes = [node.name for node in traced.flat.graph.nodes if node.op == "call_function"]
    names = [tensor.node.name for tensor in units(traced).tensors]
    sent = {name: 1.0 + 9.0 * (name == "x") for name in names}
    cut, _ = cheapest_stepped_cut(
        traced, dict.fromkeys(nodes, 0.0), dict.fromkeys(nodes, 1.0), sent, sent, [Step(math.inf, 0.0)]
    )
    assert not cut.edge[:-1].all()
    assert find_cut(traced, cut.id, [crossing.name for crossing in cut.crossing], ()) is not None


def test_other_loops_and_branches_of_torch_get_the_remedy() -> None:
    class Loop(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            from torch._higher_order_ops.while_loop import while_loop

            return while_loop(lambda i, _: i < 3, lambda i, y: (i + 1, y * 0.5), (torch.tensor(0), x))[1]

    with pytest.raises(TraceError, match=r"calls while_loop \(at .*test_branches\.py.*Python loop with a fixed number"):
        trace(Loop(), X)
