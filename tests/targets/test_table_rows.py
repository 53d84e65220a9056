"""Rows by column name, as Hugging Face's data sets give them, come to the same tensors, or say what is missing."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from collabplan.graph import InputSpec
from collabplan.records import TargetError
from collabplan.targets.user_data import read_data
from PIL import Image

ONE = (InputSpec("x", (1, 3), torch.float32, 0, False),)
TOKENS = (
    InputSpec("input_ids", (1, 4), torch.int64, 0, False),
    InputSpec("attention_mask", (1, 4), torch.int64, 0, True),
)


class Stream:
    """Rows one after the other, as `load_dataset(..., streaming=True)`."""

    column_names = None

    def __init__(self, rows: list[dict[str, Any]]) -> None:
        self.rows = rows

    def __iter__(self) -> Iterator[dict[str, Any]]:
        return iter(self.rows)


class Table(Stream):
    """Rows by number, as `datasets.Dataset`."""

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> dict[str, Any]:
        return self.rows[index]


PICTURES = [{"image": [float(index), 1.0, 2.0], "label": index % 2} for index in range(4)]


@pytest.mark.parametrize(
    "value",
    [
        Table(PICTURES),
        Stream(PICTURES),
        lambda: Table(PICTURES),
        Table([{**row, "x": np.array(row["image"])} for row in PICTURES]),
    ],
    ids=["table", "stream", "function", "by name"],
)
def test_rows_become_tensors(value: Any) -> None:
    data = read_data(value, ONE, "validation_data", None).data
    assert data.inputs[0].tolist() == [row["image"] for row in PICTURES]
    assert data.labels is not None
    assert data.labels.tolist() == [0, 1, 0, 1]


def test_columns_are_taken_by_the_names_of_the_inputs() -> None:
    rows = [{"idx": 7, "attention_mask": [1, 1, 1, 0], "input_ids": [5, 6, 7, i], "labels": i} for i in range(3)]
    data = read_data(Table(rows), TOKENS, "validation_data", None).data
    assert data.inputs[0][:, 3].tolist() == [0, 1, 2]
    assert data.inputs[1][0].tolist() == [1, 1, 1, 0]


@pytest.mark.parametrize(
    ("value", "remedy"),
    [
        ({"train": Table(PICTURES), "test": Table(PICTURES)}, r"several data sets \(train, test\); give one"),
        (Table([{"image": Image.new("RGB", (2, 2)), "label": 1}]), "samples of shape 2x2x3 for input 'x'"),
        (Table([{"text": "a cat", "label": 1}]), "text in the column 'text'; tokenize it"),
        (Table([{"a": [1.0], "b": [2.0], "label": 1}]), r"columns a, b, label.*rename_column\('a', 'x'\)"),
        (Table([{"x": [1.0, 2.0, 3.0], "label": "cat"}]), r"text \('cat'\).*class_names = "),
        ((torch.zeros(2, 3), ["cat", "dog"]), r"text \('cat'\).*class_names = "),
        ((torch.zeros(2, 3), np.array(["cat", "dog"])), r"text \('cat'\).*class_names = "),
        ((torch.zeros(2, 3), [[1, 2], [3]]), "several lengths; pad them"),
    ],
)
def test_what_makes_no_tensor_says_the_line_that_does(value: Any, remedy: str) -> None:
    with pytest.raises(TargetError, match=remedy):
        read_data(value, ONE, "validation_data", None)


def test_pictures_in_a_column_become_what_the_model_reads() -> None:
    spec = (InputSpec("x", (1, 3, 4, 4), torch.float32, 0, False),)
    rows = [{"img": Image.new("RGB", (9, 6), (255, 0, index)), "label": index} for index in range(3)]
    loaded = read_data(Table(rows), spec, "validation_data", None)
    assert loaded.data.inputs[0].shape == (3, 3, 4, 4)
    assert loaded.data.inputs[0][2, :, 0, 0].tolist() == pytest.approx([1.0, 0.0, 2 / 255])
    assert any("resized to 4x4" in note for note in loaded.notes)
