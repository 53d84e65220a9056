"""Converts tables of named columns, such as those of Hugging Face's `datasets`, to torch Datasets.

They are recognised by what they do (rows are mappings, `column_names` lists the columns) and not by their class, so the
library need not be installed.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch.utils.data import Dataset, IterableDataset

from ..records import TargetError

if TYPE_CHECKING:
    from ..graph import InputSpec

LABEL_NAMES = ("labels", "label", "targets", "target", "y", "class", "classes", "category")
"""How labels are named, the usual ones first."""


def label_name(names: Iterable[Any], specs: Sequence[InputSpec]) -> Any:
    """Which of some names is that of the labels, in whatever case; None if none is. An input of the model is none."""
    inputs = {spec.name for spec in specs}
    found = [name for name in names if str(name).lower() in LABEL_NAMES and name not in inputs]
    return min(found, key=lambda name: LABEL_NAMES.index(str(name).lower()), default=None)


def as_dataset(value: Any, specs: Sequence[InputSpec], name: str) -> Any:
    """A table as a Dataset of (inputs by name, label). Any other value is returned unchanged.

    Args:
        value: what the target binds to `name`.
        specs: the model's tensor inputs.
        name: of the data set, for messages.

    Raises:
        TargetError: the value holds several tables (a DatasetDict), or lacks a column for an input.
    """
    if isinstance(value, Mapping) and value and all(_has_columns(part) for part in value.values()):
        splits = ", ".join(map(str, value))
        raise TargetError(f"{name} holds several data sets ({splits}); give one: {name} = data[{next(iter(value))!r}]")
    if not _has_columns(value):
        return value
    if hasattr(value, "__len__") and hasattr(value, "__getitem__"):
        return _Rows(value, specs, name)
    return _Stream(value, specs, name)


def _has_columns(value: Any) -> bool:
    return hasattr(value, "column_names") and isinstance(value, Iterable)


class _Rows(Dataset[Any]):
    def __init__(self, rows: Any, specs: Sequence[InputSpec], name: str) -> None:
        self.rows, self.specs, self.name = rows, specs, name

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> Any:
        return _sample(self.rows[index], self.specs, self.name)


class _Stream(IterableDataset[Any]):
    def __init__(self, rows: Any, specs: Sequence[InputSpec], name: str) -> None:
        self.rows, self.specs, self.name = rows, specs, name

    def __iter__(self) -> Iterator[Any]:
        return (_sample(row, self.specs, self.name) for row in self.rows)


def _sample(row: Mapping[str, Any], specs: Sequence[InputSpec], name: str) -> Any:
    """The inputs of a row by name, with its label if it has one: (inputs, label), or inputs alone."""
    label = label_name(row, specs)
    others = [key for key in row if key != label]
    columns = {spec.name: spec.name for spec in specs if spec.name in row}
    if not columns and len(specs) == len(others) == 1:
        columns = {specs[0].name: others[0]}  # one input and one column cannot be confused
    missing = [spec.name for spec in specs if spec.name not in columns]
    if missing:
        raise TargetError(
            f"{name} has rows with the columns {', '.join(row)}, the model's input {missing[0]!r} is none of them; "
            f"rename one: data.rename_column({others[0]!r}, {missing[0]!r})"
        )
    inputs = {key: _value(row[column], column, name) for key, column in columns.items()}
    return inputs if label is None else (inputs, row[label])


def _value(value: Any, column: str, name: str) -> Any:
    if isinstance(value, str):
        raise TargetError(f"{name} has text in the column {column!r}; tokenize it first, as in training: data.map(...)")
    return torch.as_tensor(value) if isinstance(value, list) else value
