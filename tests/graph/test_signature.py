"""Inputs and outputs as records, for those who run a model without having it."""

from __future__ import annotations

import torch
from collabplan.graph import TracedGraph, input_specs, output_spec, trace
from collabplan.graph.program_document import encode
from torch import Tensor, nn


def test_inputs_have_names_dtypes_and_batch_dimensions(skip: TracedGraph) -> None:
    x, mask = input_specs(skip)
    assert (x.name, x.dtype, x.shape, x.batch_dims, x.public) == ("x", "float32", (1, 4), (0,), False)
    assert (mask.name, mask.public, mask.shape_at(5)) == ("mask", True, (5, 1))


def test_outputs_are_numbered_in_the_models_own_nesting() -> None:
    class Nested(nn.Module):
        def forward(self, x: Tensor) -> dict[str, object]:
            return {"twice": torch.cat([x, x]), "parts": [x.sum(1), x.shape[0]], "nothing": None}

    traced = trace(Nested(), torch.randn(2, 3))
    document, _ = encode(traced.flat, traced.module.output_structure)  # type: ignore[arg-type]
    spec = output_spec(traced, document)
    assert spec.structure == {
        "dict": [["twice", {"output": 0}], ["parts", {"list": [{"output": 1}, {"output": 2}]}], ["nothing", None]]
    }
    twice, total, count = spec.tensors
    assert (twice.shape, twice.batch_dims, twice.shape_at(4)) == ((2, 3), (0,), (8, 3))
    assert total.shape_at(4) == (4,)
    assert (count.number, count.dtype) == (True, "int64")


def test_outputs_of_a_fixed_batch_have_their_whole_shape() -> None:
    traced = trace(nn.Linear(3, 2), torch.randn(4, 3), batch_dims={"input": None})
    document, _ = encode(traced.flat, traced.module.output_structure)  # type: ignore[arg-type]
    (tensor,) = output_spec(traced, document).tensors
    assert (tensor.shape, tensor.batch_dims, tensor.free_dims) == ((4, 2), (), ())
