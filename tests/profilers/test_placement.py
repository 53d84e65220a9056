"""Other devices, dtypes and batch sizes: always a copy, and nothing of the old place is left in it."""

import pytest
import torch
from collabplan.graph import TracedGraph, candidate_cuts, split, trace
from collabplan.profilers.cut_records import rebase
from collabplan.profilers.placement import native_dtype, place
from collabplan.records import CollabplanError
from torch import nn

CPU, META = torch.device("cpu"), torch.device("meta")


@pytest.mark.parametrize("batch", [1, 2, 5])
def test_the_examples_are_repeated_to_the_batch(residual: TracedGraph, batch: int) -> None:
    placed = place(residual, CPU, "float32", batch)
    (image,) = placed.example_inputs
    assert image.shape == (batch, 3, 16, 16)
    assert all(torch.equal(sample, residual.example_inputs[0][0]) for sample in image)
    assert placed.flat is residual.flat


def test_graph_constants_follow_to_another_device(transformer: TracedGraph) -> None:
    placed = place(transformer, META, "float32", 2)
    (logits,) = placed.flat(*placed.example_inputs)  # a constant left on the CPU would be refused here
    assert logits.device.type == "meta"
    assert logits.shape == (2, 6, 20)
    assert {parameter.device.type for parameter in transformer.flat.parameters()} == {"cpu"}
    for cut in rebase(candidate_cuts(transformer), placed):
        halves = split(placed, cut)
        crossing = halves.edge.graph_module(*placed.example_inputs)
        (logits,) = halves.cloud.graph_module(*crossing)
        assert logits.device.type == "meta"


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float64"])
def test_everything_floating_is_converted(transformer: TracedGraph, dtype: str) -> None:
    placed = place(transformer, CPU, dtype, 1)
    with torch.inference_mode():
        (logits,) = placed.flat(*placed.example_inputs)
        (expected,) = transformer.flat(*transformer.example_inputs)
    assert logits.dtype == getattr(torch, dtype)
    assert torch.allclose(logits.float(), expected, atol=0.1)
    assert native_dtype(transformer) == torch.float32
    assert placed.example_inputs[0].dtype == torch.int64


def test_node_names_survive_a_copy(transformer: TracedGraph) -> None:
    placed = place(transformer, CPU, "float64", 1)
    assert [node.name for node in placed.flat.graph.nodes] == [node.name for node in transformer.flat.graph.nodes]


def test_an_unknown_dtype_is_refused(residual: TracedGraph) -> None:
    with pytest.raises(CollabplanError, match="unknown dtype 'int8'; give one of float32"):
        place(residual, CPU, "int8", 1)


def test_float64_on_an_apple_gpu_is_refused(residual: TracedGraph) -> None:
    with pytest.raises(CollabplanError, match="no float64"):
        place(residual, torch.device("mps"), "float64", 1)


def test_a_batch_below_one_is_refused(residual: TracedGraph) -> None:
    with pytest.raises(CollabplanError, match="batch 0 is not possible"):
        place(residual, CPU, "float32", 0)


def test_a_static_trace_is_refused_at_another_batch() -> None:
    traced = trace(nn.Linear(3, 2), torch.ones(2, 3), batch_dims={"input": None})
    assert not traced.dynamic_batch
    place(traced, CPU, "float32", traced.traced_batch)
    with pytest.raises(CollabplanError, match="batch 7 was asked for"):
        place(traced, CPU, "float32", 7)
