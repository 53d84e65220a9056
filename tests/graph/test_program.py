"""Program files: what is loaded executes nothing, and damage is refused in one line."""

from __future__ import annotations

import json

import pytest
import torch
from collabplan.graph import candidate_cuts, load_program, save_program, split, trace
from collabplan.records import RecordError
from torch import nn


@pytest.fixture
def saved(tmp_path):
    model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU(), nn.Flatten(), nn.Linear(8, 2))
    traced = trace(model, torch.randn(1, 1, 4, 4))
    save_program(split(traced, candidate_cuts(traced)[0]).cloud, tmp_path)
    return tmp_path


def edit(folder, change):
    document = json.loads((folder / "graph.json").read_text())
    change(document)
    (folder / "graph.json").write_text(json.dumps(document))


def refused(folder, match):
    with pytest.raises(RecordError, match=match) as caught:
        load_program(folder)
    assert "\n" not in str(caught.value)


def test_operators_outside_the_list_are_refused(saved):
    for name in ("aten.from_file.default", "python.eval", "os.system", "aten.relu_.default", 7, "aten.add_.Tensor"):
        edit(saved, lambda document, name=name: document["nodes"][0].update(op=name))
        refused(saved, "not on the list")


@pytest.mark.parametrize(("tag", "value"), [("layout", "sparse_coo"), ("dtype", "qint8"), ("dtype", "nn")])
def test_tensors_that_are_not_dense_and_plain_are_refused(saved, tag, value):
    edit(saved, lambda document: document["nodes"][0]["kwargs"].update({tag: {tag: value}}))
    refused(saved, f"'{value}' is not a {tag}")


@pytest.mark.parametrize("value", [-7, 10**9, {"ref": "i0"}, {"layout": "strided"}, [1]])
def test_a_number_in_the_place_of_a_dtype_is_refused(saved, value):
    called = {"op": "aten.ones_like.default", "args": [{"ref": "i0"}], "kwargs": {"dtype": value}}
    edit(saved, lambda document: document["nodes"].append(called))
    refused(saved, r"takes a dtype as dtype")


def test_truncated_and_foreign_files_are_refused(saved):
    text = (saved / "graph.json").read_text()
    (saved / "graph.json").write_text(text[: len(text) // 2])
    refused(saved, "damaged")
    (saved / "graph.json").write_text("{}")
    refused(saved, "not a collabplan.graph file")
    (saved / "graph.json").unlink()
    refused(saved, r"lacks graph\.json")


def test_truncated_weights_are_refused(saved):
    data = (saved / "weights.safetensors").read_bytes()
    (saved / "weights.safetensors").write_bytes(data[:-20])
    refused(saved, "damaged")


def test_a_reference_to_nothing_is_refused(saved):
    edit(saved, lambda document: document["nodes"][0]["args"].__setitem__(0, {"ref": "n99"}))
    refused(saved, "no earlier node makes")


def test_other_weights_than_the_graph_names_are_refused(saved):
    edit(saved, lambda document: document["tensors"][0].update(shape=[1, 2]))
    refused(saved, "the graph says")


def test_the_wrong_number_of_inputs_is_refused(saved):
    with pytest.raises(RecordError, match="takes 1 tensors"):
        load_program(saved)(torch.zeros(1), torch.zeros(1))


def test_channels_last_weights_keep_their_strides(tmp_path):
    model = nn.Conv2d(4, 4, 3).to(memory_format=torch.channels_last)
    traced = trace(model, torch.randn(1, 4, 6, 6))
    save_program(split(traced, candidate_cuts(traced)[0]).cloud, tmp_path)
    program = load_program(tmp_path)
    assert any(parameter.stride() == model.weight.stride() for parameter in program.parameters())
