"""Names that users recognise."""

from __future__ import annotations

import pytest
import torch
from collabplan.graph import TracedGraph, trace
from collabplan.graph.naming import dtype_name, module_path, operation_of, place_of, plain_path, tensor_names
from torch import Tensor, fx, nn


def node(traced: TracedGraph, name: str) -> fx.Node:
    return next(each for each in traced.flat.graph.nodes if each.name == name)


def test_an_operator_is_named_without_its_library_and_a_part_by_its_number(skip: TracedGraph) -> None:
    assert operation_of(node(skip, "linear")) == "linear"
    assert operation_of(node(skip, "getitem_1")) == "chunk.1"


def test_a_place_is_module_and_operator(chain: TracedGraph, skip: TracedGraph) -> None:
    assert place_of(node(chain, "linear")) == "0 (linear)"
    assert place_of(node(skip, "add")) == "add"
    assert place_of(node(skip, "getitem_1")) == "chunk"


def test_a_repeated_call_has_the_path_of_its_module() -> None:
    assert plain_path("blocks.relu@1") == "blocks.relu"

    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.relu, self.linear = nn.ReLU(), nn.Linear(3, 3)

        def forward(self, x: Tensor) -> Tensor:
            return self.relu(self.linear(self.relu(x)))

    traced = trace(Twice(), torch.randn(1, 3))
    relus = [each for each in traced.flat.graph.nodes if each.name.startswith("relu")]
    assert [module_path(each) for each in relus] == ["relu", "relu"]


def test_a_name_that_occurs_again_gets_a_number() -> None:
    class Twice(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return torch.relu(torch.relu(x) - 1)

    traced = trace(Twice(), torch.randn(1, 3))
    relus = [each for each in traced.flat.graph.nodes if each.name.startswith("relu")]
    assert tensor_names(traced.flat.graph, relus) == ["relu", "relu#2"]


def test_the_outermost_module_that_a_tensor_ends_gives_its_name() -> None:
    inner = nn.Sequential(nn.Linear(3, 3), nn.ReLU())

    class Block(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body = inner

        def forward(self, x: Tensor) -> Tensor:
            return self.body(x).flatten(1)

    traced = trace(nn.Sequential(Block(), nn.Linear(3, 2)), torch.randn(1, 3))
    calls = [each for each in traced.flat.graph.nodes if each.op == "call_function"]
    names = tensor_names(traced.flat.graph, calls)
    assert names[:2] == ["0.body.0", "0"], "the block ends with a free view of the activation"


@pytest.mark.parametrize(("dtype", "name"), [(torch.float32, "float32"), (torch.bool, "bool"), (None, "None")])
def test_a_dtype_is_named_without_torch(dtype: torch.dtype | None, name: str) -> None:
    assert dtype_name(dtype) == name
