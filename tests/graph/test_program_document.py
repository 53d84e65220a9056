"""The document of a graph: numbered values, last uses, and hashes that see structure and weights apart."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from collabplan.graph import TracedGraph, trace
from collabplan.graph.program_document import encode, identify, last_uses, require_format, require_sound, unpack
from collabplan.records import RecordError
from torch import nn


def require_both(document: dict[str, Any]) -> None:
    require_format(document)
    require_sound(document)


def document_of(traced: TracedGraph) -> dict[str, Any]:
    return encode(traced.flat, None)[0]


def test_values_are_numbered_and_nothing_names_the_users_modules(chain: TracedGraph) -> None:
    document = document_of(chain)
    assert document["inputs"] == ["input"]
    assert [node["op"].split(".")[1] for node in document["nodes"]] == ["linear", "relu", "linear"]
    assert document["nodes"][1] == {"op": "aten.relu.default", "args": [{"ref": "n0"}], "kwargs": {}}
    assert document["output"] == {"tuple": [{"ref": "n2"}]}
    require_format(document)
    require_sound(document)


def test_a_value_is_dropped_after_its_last_use(chain: TracedGraph) -> None:
    assert last_uses(document_of(chain)) == [["i0"], ["n0"], ["n1"]]


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda d: d.update(format="other"), r"is not a collabplan\.graph file"),
        (lambda d: d.update(schema_version=7), "schema version 7, expected 1"),
        (lambda d: d["nodes"].reverse(), "which no earlier node makes"),
        (lambda d: d.update(output={"ref": "n9"}), "which no node makes"),
        (lambda d: d["nodes"][0].update(op="aten.empty.default"), "not on the list"),
    ],
)
def test_a_changed_document_is_refused(chain: TracedGraph, change: Any, says: str) -> None:
    document = copy.deepcopy(document_of(chain))
    change(document)
    with pytest.raises(RecordError, match=says):
        require_both(document)


def test_a_tensor_comes_back_in_its_strides() -> None:
    model = nn.Conv2d(2, 4, 3)
    model.weight.data = model.weight.data.to(memory_format=torch.channels_last)
    document, tensors = encode(trace(model, torch.randn(1, 2, 5, 5)).flat, None)
    (spec,) = (spec for spec in document["tensors"] if spec["name"].endswith("weight"))
    stored = {name: tensor.detach().contiguous() for name, tensor in tensors.items()}
    found = unpack(spec, stored)
    assert found.stride() == model.weight.stride()
    assert torch.equal(found, model.weight)
    with pytest.raises(RecordError, match="lacks tensor"):
        unpack(spec, {})


def test_freezing_is_no_other_model_and_another_input_is(chain: TracedGraph) -> None:
    frozen = copy.deepcopy(chain.flat).requires_grad_(False)
    assert identify(frozen, chain.inputs, "Sequential").structure_hash == chain.identity.structure_hash
    assert identify(chain.flat, (), "Sequential").structure_hash != chain.identity.structure_hash
