"""Inputs are read from the files that a user has, and outputs come back as they were, or with one clear error."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from collabplan.records import CollabplanError, OutputSpec, TensorSpec
from collabplan.runtime.device.tensor_files import batches, read_inputs, write_outputs
from safetensors.torch import load_file, save_file

IDS = TensorSpec(name="ids", dtype="int64", shape=(1, 4), batch_dims=(0,))
TIME_FIRST = TensorSpec(name="x", dtype="float32", shape=(7, 1), batch_dims=(1,))
SPECS = (IDS, TIME_FIRST)


@pytest.fixture
def files(tmp_path: Path) -> Path:
    np.save(tmp_path / "ids.npy", np.arange(20).reshape(5, 4))
    np.save(tmp_path / "x.npy", np.ones((5, 7), dtype=np.float32))
    save_file({"ids": torch.zeros(5, 4, dtype=torch.int64), "x": torch.ones(5, 7)}, tmp_path / "both.safetensors")
    return tmp_path


@pytest.mark.parametrize(
    "given",
    [("ids.npy", "x.npy"), ("x=x.npy", "ids=ids.npy"), ("x=x.npy", "ids.npy"), ("both.safetensors",)],
)
def test_inputs_come_by_name_in_order_or_from_one_file(files: Path, given: tuple[str, ...]) -> None:
    parts = [text.rpartition("=") for text in given]
    found = read_inputs([f"{name}{equals}{files / file}" for name, equals, file in parts], SPECS)
    assert (found["ids"].shape, found["x"].dtype) == ((5, 4), torch.float32)


@pytest.mark.parametrize(
    ("given", "says"),
    [
        (("ids.npy",), "the data holds ids, the model takes"),
        (("ids.npy", "x.npy", "x.npy"), "one input too many"),
        (("absent.npy", "x.npy"), "cannot be read as .npy"),
        (("ids.npy.txt",), "cannot be read as safetensors"),
    ],
)
def test_files_that_are_no_inputs_are_one_clear_error(files: Path, given: tuple[str, ...], says: str) -> None:
    (files / "ids.npy.txt").write_text("no tensors")
    with pytest.raises(CollabplanError, match=says):
        read_inputs([str(files / name) for name in given], SPECS)


def test_a_pickled_array_is_refused(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)
    with pytest.raises(CollabplanError, match=r"cannot be read as \.npy"):
        read_inputs([str(tmp_path / "x.npy")], (IDS,))


def test_requests_are_slices_in_the_models_layout(files: Path) -> None:
    inputs = read_inputs([str(files / "ids.npy"), str(files / "x.npy")], SPECS)
    made = list(batches(inputs, SPECS, 2, 3))
    assert [tuple(each["ids"].shape) for each in made] == [(2, 4), (1, 4)]
    assert [tuple(each["x"].shape) for each in made] == [(7, 2), (7, 1)]
    assert made[1]["ids"].tolist() == [[8, 9, 10, 11]]


def test_inputs_that_disagree_about_the_number_of_samples_are_refused() -> None:
    inputs = {"ids": torch.zeros(5, 4, dtype=torch.int64), "x": torch.ones(6, 7)}
    with pytest.raises(CollabplanError, match=r"disagree about the number of samples: \[5, 6\]"):
        list(batches(inputs, SPECS, 2, None))


def spec(structure: Any, *tensors: TensorSpec) -> OutputSpec:
    return OutputSpec(structure=structure, tensors=tensors)


LOGITS = TensorSpec(name="logits", dtype="float32", shape=(1, 2), batch_dims=(0,))


def test_outputs_are_joined_sample_by_sample_in_safetensors(tmp_path: Path) -> None:
    outputs = [{"logits": torch.zeros(2, 2)}, {"logits": torch.ones(1, 2)}]
    write_outputs(outputs, spec({"dict": [["logits", {"output": 0}]]}, LOGITS), tmp_path / "out.safetensors")
    assert load_file(tmp_path / "out.safetensors")["logits"].tolist() == [[0, 0], [0, 0], [1, 1]]


def test_outputs_are_one_document_per_request_in_json(tmp_path: Path) -> None:
    outputs = [torch.tensor([[1.0, float("nan")]]), torch.tensor([[float("inf"), 2.0]])]
    write_outputs(outputs, spec({"output": 0}, LOGITS), tmp_path / "out.json")
    assert json.loads((tmp_path / "out.json").read_text()) == [[[1.0, "nan"]], [["inf", 2.0]]]


def test_another_ending_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CollabplanError, match=r"written as \.safetensors or \.json"):
        write_outputs([torch.zeros(1, 2)], spec({"output": 0}, LOGITS), tmp_path / "out.pt")


def test_outputs_of_one_name_are_refused(tmp_path: Path) -> None:
    twice = spec({"dict": [[1, {"output": 0}], ["1", {"output": 1}]]}, LOGITS, LOGITS)
    with pytest.raises(CollabplanError, match="two outputs would both be called '1'"):
        write_outputs([{1: torch.zeros(1, 2), "1": torch.zeros(1, 2)}], twice, tmp_path / "out.safetensors")
