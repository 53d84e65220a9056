"""Sizes that depend on the batch are computed from one node; sizes that depend on values are not."""

from __future__ import annotations

import pytest
import torch
from collabplan.graph.batch_sizes import BatchSizes
from collabplan.records import TraceError
from torch import Tensor, fx
from torch.export import Dim, export


class Sized(torch.nn.Module):
    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        return x.repeat(3, 1), torch.cat([x, x[:1]]), x.reshape(-1)[::1], x.nonzero()


@pytest.fixture(scope="module")
def values() -> list[Tensor]:
    """The input `[batch, 4]`, and tensors of `3 * batch`, `batch + 1`, `4 * batch` and an unknown number of rows."""
    program = export(Sized(), (torch.randn(2, 4),), dynamic_shapes=({0: Dim("batch")},))
    (x,) = (node for node in program.graph.nodes if node.op == "placeholder")
    return [x.meta["val"], *(node.meta["val"] for node in program.graph.output_node().args[0])]


@pytest.fixture
def sizes(values: list[Tensor]) -> BatchSizes:
    graph = fx.Graph()
    made = graph.placeholder("x")
    made.meta["val"] = values[0]
    found = BatchSizes(graph)
    found.read_from(made, 0)
    return found


def evaluated(node: fx.Node | int, batch: int) -> int:
    if not isinstance(node, fx.Node):
        return node
    if node.target is torch.ops.aten.sym_size.int:
        return batch
    return node.target(*(evaluated(arg, batch) for arg in node.args))  # type: ignore[arg-type]


def test_sizes_follow_the_batch(sizes: BatchSizes, values: list[Tensor]) -> None:
    for value, expected in zip(values[:4], (5, 15, 6, 20), strict=True):
        assert evaluated(sizes.dimension(value.shape[0]), batch=5) == expected


def test_a_plain_size_is_a_number_and_each_other_is_made_once(sizes: BatchSizes, values: list[Tensor]) -> None:
    assert sizes.size(values[0].shape[1]) == 4
    assert sizes.size(values[1].shape[0]) is sizes.size(values[1].shape[0])


def test_a_size_that_depends_on_values_is_refused(sizes: BatchSizes, values: list[Tensor]) -> None:
    assert sizes.size(values[4].shape[0]) is None
    with pytest.raises(TraceError, match="depends on tensor values; make it depend on shapes alone"):
        sizes.dimension(values[4].shape[0])


def test_without_a_batch_there_is_no_symbol(values: list[Tensor]) -> None:
    graph = fx.Graph()
    made = graph.placeholder("x")
    made.meta["val"] = torch.zeros(2, 4)
    found = BatchSizes(graph)
    found.read_from(made, None)
    found.read_from(made, 0)
    assert found.symbol is None
    assert found.size(values[0].shape[0]) is None
