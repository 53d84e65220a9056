"""Every form of data comes to the same tensors; what does not fit the model is refused."""

from __future__ import annotations

from typing import Any

import collabplan.targets.user_data as reading
import numpy as np
import pytest
import torch
from collabplan.graph import InputSpec
from collabplan.records import TargetError
from collabplan.targets import Data
from collabplan.targets.user_data import ReadAs, read_data, refuse_overlap
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, IterableDataset, TensorDataset

X = torch.arange(24.0).reshape(8, 3)
Y = torch.arange(8)
ONE = (InputSpec("x", (1, 3), torch.float32, 0, False),)
TWO = (*ONE, InputSpec("mask", (1, 2), torch.int64, 0, True))


class Rows(Dataset[Any]):
    def __len__(self) -> int:
        return len(X)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return X[index], int(Y[index])


class Stream(IterableDataset[Any]):
    def __iter__(self) -> Any:
        return iter(zip(X, Y, strict=True))


@pytest.mark.parametrize(
    "value",
    [
        (X, Y),
        [X, Y],
        (X.numpy(), Y.numpy()),
        ({"x": X}, Y),
        {"x": X, "labels": Y},
        TensorDataset(X, Y),
        Rows(),
        Stream(),
        DataLoader(Rows(), batch_size=3),
        [(X[:5], Y[:5]), (X[5:], Y[5:])],
        list(zip(X, Y, strict=True)),
        [[x.numpy(), int(y)] for x, y in zip(X, Y, strict=True)],
        [{"x": x, "label": int(y)} for x, y in zip(X, Y, strict=True)],
        lambda: [(x, y) for x, y in zip(X, Y, strict=True)],
        lambda: (X, Y),
        lambda: DataLoader(TensorDataset(X, Y), batch_size=4),
    ],
    ids=lambda value: type(value).__name__,
)
def test_every_form_gives_the_same_tensors(value: Any) -> None:
    data = read_data(value, ONE, "validation_data", None).data
    assert torch.equal(data.inputs[0], X)
    assert data.labels is not None
    assert (data.labels == Y).all()


@pytest.mark.parametrize("most", [1, 60, 1000])
def test_batches_that_are_joined_while_reading_are_the_same(most: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "PACKED_BYTES", most)
    mask = torch.arange(16).reshape(8, 2)
    data = read_data([((X[i], mask[i]), i) for i in range(8)], TWO, "validation_data", None).data
    assert torch.equal(data.inputs[0], X)
    assert torch.equal(data.inputs[1], mask)


def test_inputs_without_labels() -> None:
    assert read_data(X, ONE, "attacker_data", None).data.labels is None


def test_a_list_of_samples_may_have_several_inputs() -> None:
    mask = torch.ones(8, 2, dtype=torch.int64)
    for value in ([((X[i], mask[i]), i) for i in range(8)], [(X[i], mask[i], i) for i in range(8)]):
        data = read_data(value, TWO, "validation_data", None).data
        assert [tuple(tensor.shape) for tensor in data.inputs] == [(8, 3), (8, 2)]
        assert (data.labels == Y).all()


def test_several_inputs_by_order_and_by_name() -> None:
    mask = torch.ones(8, 2, dtype=torch.int64)
    for value in (((X, mask), Y), ({"mask": mask, "x": X}, Y), TensorDataset(X, mask, Y)):
        data = read_data(value, TWO, "validation_data", None).data
        assert [tuple(tensor.shape) for tensor in data.inputs] == [(8, 3), (8, 2)]


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ((torch.zeros(0, 3), torch.zeros(0)), "is empty"),
        ([], "is empty"),
        ((X.reshape(8, 1, 3), Y), "samples of shape 1x3 for input 'x', the model takes 3"),
        ((X.long(), Y), "gives int64 for input 'x', the model takes float32"),
        ((X / 0, Y), "NaN or infinity"),
        (zip(X, Y, strict=True), "gives one sample 3 for input 'x' where a batch is needed; give a list"),
        ([(X[0], 1), (X[0][:2], 1)], "samples of shape 2 for input 'x', the model takes 3"),
        ((X, Y[:5]), "disagree about the number"),
        (((X, X), Y), "gives 2 inputs, the model takes 1"),
        (({"y": X}, Y), "lacks the model's input 'x'"),
        (3, "of type int"),
        ("digits", "data digits does not exist"),
        ([(["a"], Y)], "holds a str where a tensor is needed"),
    ],
)
def test_what_is_refused(value: Any, message: str) -> None:
    with pytest.raises(TargetError, match=message):
        read_data(value, ONE, "validation_data", None)


def test_another_floating_dtype_is_converted() -> None:
    assert read_data((X.double(), Y), ONE, "validation_data", None).data.inputs[0].dtype == torch.float32


def test_a_data_set_too_large_for_memory_is_read_in_part_and_that_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "MAX_BYTES", 48)
    loaded = read_data(Rows(), ONE, "validation_data", None)
    assert loaded.data.labels.tolist() == [0, 2, 4, 6]
    assert "4 evenly spaced samples of 8" in loaded.notes[0]
    batches = read_data(DataLoader(Rows(), batch_size=2), ONE, "validation_data", None)
    assert len(batches.data) < 8
    assert "only the first" in batches.notes[0]


def test_twins_are_told() -> None:
    loaded = read_data((np.zeros((4, 3), dtype=np.float32), Y[:4]), ONE, "validation_data", None)
    assert loaded.notes == ("3 samples occur more than once",)


def test_overlap_is_found_by_content_and_not_by_label() -> None:
    sets = {"validation_data": Data((X,), Y), "attacker_data": Data((X[6:].clone(),), None)}
    with pytest.raises(TargetError, match="share 2 samples by content \\(sample 6 of validation_data is sample 0"):
        refuse_overlap(sets)
    refuse_overlap({"validation_data": Data((X,), Y), "attacker_data": Data((X + 1000,), Y)})


class Named(Dataset[Any]):
    """Samples whose labels are text."""

    def __len__(self) -> int:
        return 2

    def __getitem__(self, index: int) -> Any:
        return X[index], ("dog", "cat")[index]


@pytest.mark.parametrize(
    "value", [(X[:2], ["dog", "cat"]), (X[:2], np.array(["dog", "cat"])), Named(), DataLoader(Named(), batch_size=2)]
)
def test_labels_that_are_text_need_the_names_of_the_classes(value: Any) -> None:
    how = ReadAs(class_names=("cat", "cow", "dog"))
    labels = read_data(value, ONE, "validation_data", None, how=how).data.labels
    assert labels is not None
    assert labels.tolist() == [2, 0]
    with pytest.raises(TargetError, match=r"are text \('dog'\).*class_names = \[\.\.\.\] in the target file"):
        read_data(value, ONE, "validation_data", None)


def test_labels_in_a_dict_are_found_by_their_usual_names() -> None:
    for name in ("y", "Label", "class", "targets"):
        labels = read_data({"x": X, name: Y}, ONE, "validation_data", None).data.labels
        assert labels is not None
        assert torch.equal(labels, Y)


def test_what_a_dict_holds_beside_the_inputs_is_told() -> None:
    loaded = read_data({"x": X, "truth": Y}, ONE, "validation_data", None)
    assert loaded.data.labels is None
    assert "not read: truth" in loaded.notes


def test_one_input_by_another_name_cannot_be_confused() -> None:
    data = read_data({"image": X, "label": Y}, ONE, "validation_data", None).data
    assert torch.equal(data.inputs[0], X)


def test_channels_that_come_last_are_told_from_a_wrong_shape() -> None:
    specs = (InputSpec("x", (1, 3, 4, 5), torch.float32, 0, False),)
    with pytest.raises(TargetError, match=r"4x5x3 .* takes 3x4x5 .*channels come first: numpy\.moveaxis"):
        read_data(torch.zeros(2, 4, 5, 3), specs, "validation_data", None)
