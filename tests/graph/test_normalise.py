"""The normal graph: nothing superfluous, sizes made explicit, kinds of nodes known."""

from __future__ import annotations

import pytest
import torch
from collabplan.graph import TracedGraph, same_values, trace
from collabplan.records import TraceError
from torch import Tensor, nn


class Tidied(nn.Module):
    """Calls that a normal graph leaves out or replaces."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.linear = nn.Linear(4, 4)

    def forward(self, x: Tensor) -> Tensor:
        y = self.linear(x).detach().contiguous().to(torch.float32)
        filled = torch.zeros_like(y) + torch.full((x.shape[0] * 2, 4), 2.0).view(2, -1, 4)[0]
        return (y.view(-1, 2, 2) + filled.view_as(y.view(-1, 2, 2))).flatten(1)


@pytest.fixture(scope="module")
def tidied() -> TracedGraph:
    return trace(Tidied(), torch.randn(2, 4))


def targets(traced: TracedGraph) -> set[str]:
    return {str(node.target) for node in traced.flat.graph.nodes if node.op == "call_function"}


def test_what_changes_nothing_is_gone(tidied: TracedGraph) -> None:
    assert not {name for name in targets(tidied) if "detach" in name or "contiguous" in name or "_to_copy" in name}


def test_views_are_reshapes_and_likeness_is_by_size(tidied: TracedGraph) -> None:
    found = targets(tidied)
    assert "aten.reshape.default" in found
    assert not {"aten.view.default", "aten.view_as.default", "aten.zeros_like.default"} & found


def test_every_size_comes_from_one_node_that_reads_the_batch(tidied: TracedGraph) -> None:
    sizes = [node for node in tidied.flat.graph.nodes if str(node.target) == "aten.sym_size.int"]
    assert len(sizes) == 1
    assert tidied.kinds[sizes[0].name] == "shape"


def test_tensors_of_a_shape_alone_depend_on_shapes(tidied: TracedGraph) -> None:
    fills = [node.name for node in tidied.flat.graph.nodes if str(node.target) == "aten.full.default"]
    assert fills
    assert {tidied.kinds[name] for name in fills} == {"shape"}


def test_the_normal_graph_computes_what_the_model_computes_at_any_batch(tidied: TracedGraph) -> None:
    for batch in (1, 3):
        x = torch.randn(batch, 4)
        with torch.no_grad():
            assert same_values(tidied.module(x), Tidied()(x))


def test_a_gradient_crosses_a_detach(tidied: TracedGraph) -> None:
    x = torch.randn(2, 4, requires_grad=True)
    (slope,) = torch.autograd.grad(tidied.module(x).sum(), x)
    assert slope.abs().sum() > 0


def test_tied_weights_are_stored_once_and_an_input_that_is_written_is_noted() -> None:
    class Writes(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second = nn.Linear(3, 3, bias=False), nn.Linear(3, 3, bias=False)
            self.second.weight = self.first.weight

        def forward(self, x: Tensor) -> Tensor:
            x.mul_(2)
            return self.second(torch.relu(self.first(x)))

    traced = trace(Writes(), torch.randn(1, 3))
    assert len(dict(traced.flat.named_parameters())) == 1
    assert any("writes into its input 'x'; the halves leave it unchanged" in note for note in traced.notes)


def test_a_counter_that_is_only_written_is_no_state() -> None:
    class Counts(nn.Module):
        def __init__(self, *, returned: bool) -> None:
            super().__init__()
            self.returned = returned
            self.register_buffer("count", torch.zeros(()))

        def forward(self, x: Tensor) -> Tensor:
            self.count.add_(1)
            return x * self.count if self.returned else x * 2

    assert trace(Counts(returned=False), torch.randn(1, 3)).dynamic_batch
    with pytest.raises(TraceError, match=r"state between calls"):
        trace(Counts(returned=True), torch.randn(1, 3))
