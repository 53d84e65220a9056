"""Reads the data that a path names: a folder of pictures, arrays by name, or a table. Nothing is unpickled."""

from __future__ import annotations

import csv
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from ..records import TargetError
from ..records.extras import optional_imports
from .example_inputs import shape_text
from .image_folder import SUFFIXES, read_folder, read_listed
from .label_names import numbered
from .table_rows import label_name

if TYPE_CHECKING:
    from ..graph import InputSpec

FORMS = "a folder of pictures (class/file.jpg), .npz, .npy, .safetensors, .csv or .parquet"
FILE_NAMES = ("file", "filename", "file_name", "image", "path", "filepath", "image_path", "img")
_PICKLES = (".pt", ".pth", ".pkl", ".pickle", ".bin", ".joblib")


class _HeaderError(TargetError):
    """The first line of a table names no columns."""


@dataclass(frozen=True, eq=False)
class FromPath:
    """What a path holds, in a form that `read_data` takes, and what the user should know of it."""

    value: Any
    notes: tuple[str, ...] = ()


def read_path(path: Path, specs: Sequence[InputSpec], class_names: Sequence[str] = ()) -> FromPath:
    """Read the data at a path.

    Args:
        path: a folder or a file.
        specs: the model's tensor inputs.
        class_names: of labels that are text, in the order of the model's outputs.

    Raises:
        TargetError: it is absent, damaged, a pickle, or of a form that is not read. The message names the file.
        CollabplanError: a package that reads it is not installed.
    """
    kind = path.suffix.lower()
    if path.is_dir():
        return _folder(path, specs, class_names)
    if not path.exists():
        raise TargetError(f"data {path} does not exist; give {FORMS}")
    if kind in (".npz", ".npy"):
        return _arrays(_numpy(path), path, specs, class_names)
    if kind == ".safetensors":
        return _arrays(_safetensors(path), path, specs, class_names)
    if kind in (".csv", ".tsv", ".parquet"):
        return _table(_columns(path), path, specs, class_names)
    raise TargetError(_refusal(path, kind))


def _refusal(path: Path, kind: str) -> str:
    if kind in _PICKLES:
        return (
            f"data {path} is a pickle, which runs code when it is opened; save arrays instead: "
            "numpy.savez('data.npz', x=inputs, y=labels), or read it in the target file"
        )
    if kind in (".zip", ".tar", ".gz", ".tgz", ".7z"):
        return f"data {path} is an archive; unpack it and give the folder"
    if kind in SUFFIXES:
        return f"data {path} is a single picture; give the folder that holds one folder of pictures for each class"
    return f"data {path} is of a form that is not read ({kind or 'no ending'}); give {FORMS}"


def _folder(folder: Path, specs: Sequence[InputSpec], class_names: Sequence[str]) -> FromPath:
    if len(specs) != 1:
        raise TargetError(
            f"data {folder} is a folder of pictures, the model takes {len(specs)} inputs "
            f"({', '.join(spec.name for spec in specs)}); give .npz with an array for each"
        )
    tables = {}
    for table in sorted(folder.glob("*.csv")):
        try:
            tables[table] = _columns(table)
        except _HeaderError:
            if not any(each.is_dir() for each in folder.iterdir()):
                raise  # beside folders of classes, a table may be about anything
    naming = [table for table, columns in tables.items() if _file_column(columns) is not None]
    if len(naming) > 1:
        raise TargetError(
            f"{folder} holds several tables that name pictures ({', '.join(each.name for each in naming)}); give the "
            f"one that counts: {naming[0]}"
        )
    if naming:
        return _table(tables[naming[0]], naming[0], specs, class_names)
    beside = [f"{table.name} has the columns {_listed(columns)}" for table, columns in tables.items()]
    return FromPath(*_noted(read_folder(folder, class_names, "; ".join(beside))))


def _noted(pair: tuple[Any, Sequence[str]]) -> tuple[Any, tuple[str, ...]]:
    return pair[0], tuple(pair[1])


def _numpy(path: Path) -> dict[str, Any]:
    try:
        loaded = np.load(path, allow_pickle=False)
        if isinstance(loaded, np.ndarray):
            return {"inputs": loaded}
        with loaded:
            return {name: loaded[name] for name in loaded.files}
    except Exception as error:  # numpy and zipfile raise what they meet
        text = " ".join(str(error).split())
        if path.suffix.lower() == ".npz" and not zipfile.is_zipfile(path):
            raise TargetError(f"{path} cannot be read (it is no archive of arrays); save it again") from error
        if "allow_pickle" in text or "pickled" in text:
            raise TargetError(
                f"{path} holds Python objects (pictures of several sizes?), which are not unpickled; save numbers of "
                "one shape, or give a folder of pictures"
            ) from error
        raise TargetError(f"{path} cannot be read ({text or type(error).__name__}); save it again") from error


def _safetensors(path: Path) -> dict[str, Any]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return dict(load_file(path))
    except (SafetensorError, OSError, ValueError) as error:
        raise TargetError(f"{path} cannot be read ({error}); save it again") from error


def _arrays(arrays: Mapping[str, Any], path: Path, specs: Sequence[InputSpec], class_names: Sequence[str]) -> FromPath:
    """Arrays by name: inputs by the model's names, or the only one; labels by a usual name."""
    label = label_name(arrays, specs)
    others = [name for name in arrays if name != label]
    names = [spec.name for spec in specs]
    if len(specs) == len(others) == 1:
        inputs: Any = arrays[others[0]]
    elif all(name in others for name in names):
        inputs = {name: arrays[name] for name in names}
    else:
        raise TargetError(
            f"{path} holds the arrays {', '.join(arrays) or '(none)'}; name them after the model's inputs "
            f"({', '.join(names)}), and labels y"
        )
    unread = [name for name in others if len(others) > 1 and name not in names]
    notes = [f"not read: {', '.join(unread)}; labels are named y"] if unread and label is None else []
    notes += [f"not read: {', '.join(unread)}"] if unread and label is not None else []
    if label is None:
        return FromPath(inputs, tuple(notes))
    labels = arrays[label]
    if isinstance(labels, np.ndarray) and labels.dtype.kind in "US" and labels.ndim == 1:
        made = numbered(list(labels.astype(str)), class_names, f"{path}, {label}")
        return FromPath((inputs, made.labels), (*notes, *made.notes))
    return FromPath((inputs, labels), tuple(notes))


def _columns(path: Path) -> dict[str, list[Any]]:
    """A table's columns by name."""
    if path.suffix.lower() == ".parquet":
        with optional_imports():
            from pyarrow import parquet

        try:
            return dict(parquet.read_table(path).to_pydict())
        except (OSError, ValueError) as error:
            raise TargetError(f"{path} cannot be read ({' '.join(str(error).split())}); save it again") from error
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            first, *rows = list(csv.reader(file, delimiter="\t" if path.suffix.lower() == ".tsv" else ",")) or [[]]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise TargetError(f"{path} cannot be read as a table ({error}); save it as UTF-8 with commas") from error
    rows = [row for row in rows if row]
    _require_header(first, path)
    wrong = next((number for number, row in enumerate(rows, start=2) if len(row) != len(first)), None)
    if wrong is not None:
        raise TargetError(f"{path}, row {wrong}: {len(rows[wrong - 2])} values under {len(first)} column names")
    if not rows:
        raise TargetError(f"{path} holds no row; the first line names the columns, each other line is a sample")
    return {name.strip(): [row[position].strip() for row in rows] for position, name in enumerate(first)}


def _require_header(first: Sequence[str], path: Path) -> None:
    """Refuse a first line that names no columns, or two columns alike."""
    if len(first) == 1 and (";" in first[0] or "\t" in first[0]):
        mark = "semicolons" if ";" in first[0] else "tabs"
        raise _HeaderError(f"{path} is separated by {mark}; save it with commas, and with points in numbers")
    twice = next((name for name in first if [each.strip() for each in first].count(name.strip()) > 1), None)
    if twice is not None:
        raise _HeaderError(f"{path} has several columns named {twice.strip()!r}; give each a name of its own")
    if first and all(_is_number(name) for name in first):
        raise _HeaderError(f"{path} has numbers in its first line, which names the columns; put such a line before it")


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _table(
    columns: Mapping[str, list[Any]], path: Path, specs: Sequence[InputSpec], class_names: Sequence[str]
) -> FromPath:
    """Names of pictures with labels, or columns of numbers."""
    label = label_name(columns, specs)
    file = _file_column(columns)
    values = None if label is None else columns[label]
    if file is not None:
        named = list(columns[file])
        twice = next((name for name in named if named.count(name) > 1), None) if len(set(named)) < len(named) else None
        if twice is not None:
            raise TargetError(f"{path} names {twice} more than once; keep one row for each picture")
        pairs = dict(zip(named, values or [None] * len(named), strict=True))
        return FromPath(*_noted(read_listed(path.parent, pairs, path, class_names, _listed(columns))))
    features = {name: values for name, values in columns.items() if name != label}
    inputs = _features(features, path, specs, label)
    if values is None:
        raise TargetError(
            f"{path} has the columns {_listed(columns)} and none of labels; name the column of labels `label`"
        )
    made = numbered(["" if value is None else str(value) for value in values], class_names, str(path))
    return FromPath((inputs, made.labels), made.notes)


def _file_column(columns: Mapping[str, list[Any]]) -> str | None:
    """The column that names pictures; None if there is none."""
    for name, values in columns.items():
        texts = [value for value in values if isinstance(value, str)]
        if name.lower() in FILE_NAMES and texts and Path(texts[0]).suffix.lower() in SUFFIXES:
            return name
    return None


def _features(columns: Mapping[str, list[Any]], path: Path, specs: Sequence[InputSpec], label: str | None) -> Any:
    """Columns of numbers, in their order, as the one input of the model: `[N, features]`."""
    (spec,) = specs if len(specs) == 1 else (None,)
    if spec is None or spec.shape is None or len(spec.shape) != 2:
        raise TargetError(
            f"{path} is a table of numbers; a model whose one input is a row of features can read it. For pictures "
            "name their column `file`, for several inputs give .npz"
        )
    wanted = next(size for dim, size in enumerate(spec.shape) if dim != spec.batch_dim)
    if len(columns) != wanted:
        beside = f"; `{label}` holds the labels" if label else "; if one holds the labels, name it `label`"
        raise TargetError(
            f"{path} has {len(columns)} columns of features ({_listed(columns)}), the model takes {wanted} "
            f"({shape_text(spec.shape)}); keep those of training, in their order{beside}"
        )
    try:
        rows = np.array([[float(value) for value in values] for values in columns.values()]).T
    except (TypeError, ValueError):
        name, row, value = _no_number(columns)
        raise TargetError(f"{path}, row {row}, column {name}: {value!r} is no number; fill or remove it") from None
    return torch.tensor(rows, dtype=spec.dtype)


def _no_number(columns: Mapping[str, list[Any]]) -> tuple[str, int, Any]:
    """The first value that is no number, with its column and row (the first line has the names)."""
    for name, values in columns.items():
        for row, value in enumerate(values, start=2):
            try:
                float(value)
            except (TypeError, ValueError):
                return name, row, value
    raise AssertionError("every value is a number")


def _listed(columns: Mapping[str, Any]) -> str:
    names = [name or "one without a name" for name in columns]
    return ", ".join(names[:6]) + (f" and {len(names) - 6} more" if len(names) > 6 else "")
