"""Brings a target's data into one form: tensors, batch first, in the order of the model's inputs.

Accepted are `(inputs, labels)`, one tensor, a dict by input name, a torch Dataset, a DataLoader or any iterable of
batches, a path (see `data_paths`), or a function that returns one of these. Inputs may be numpy arrays. 8-bit pictures,
Pillow's too, are scaled, resized and cropped to the model's input.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset, IterableDataset, TensorDataset

from ..records import TargetError
from .data import Data, InputScaling
from .data_paths import FORMS, read_path
from .example_inputs import shape_text
from .images import FittedImages, Preprocessing, fit_images, is_pil_image, pil_pixels, takes_images
from .label_names import numbered
from .table_rows import as_dataset, label_name
from .user_code import guarded

if TYPE_CHECKING:
    from ..graph import InputSpec

MAX_BYTES = 2_000_000_000
"""The most bytes that are read from a Dataset or an iterable. The rest is left out, with a note."""

PACKED_BYTES = 1 << 26
"""Small batches are joined once they have so many bytes."""


@dataclass(frozen=True, eq=False)
class LoadedData:
    """Data as it was read.

    Attributes:
        data: the samples.
        notes: what the user should know about them.
        whole: False if samples were left out because only a few were asked for.
        scaling: of the pictures among them, which were scaled here; None if there are none.
        from_path: they were read from a file or a folder.
    """

    data: Data
    notes: tuple[str, ...] = ()
    whole: bool = True
    scaling: InputScaling | None = None
    from_path: bool = False


@dataclass(frozen=True, slots=True)
class ReadAs:
    """What a target says of its data.

    Attributes:
        evaluates: the target has a metric of its own, for messages.
        pictures: how pictures become inputs.
        class_names: of labels that are text, in the order of the model's outputs.
    """

    evaluates: bool = False
    pictures: Preprocessing = field(default_factory=Preprocessing)
    class_names: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class _Batch:
    """Inputs as they were given (one, several, or by name) and labels, all with a batch dimension."""

    inputs: Any
    labels: Any


def read_data(
    value: Any,
    specs: Sequence[InputSpec],
    name: str,
    file: Path | None,
    most: int | None = None,
    how: ReadAs | None = None,
) -> LoadedData:
    """Read one data set of a target.

    Args:
        value: what the target file binds to `name`.
        specs: the model's tensor inputs, in order: shapes and dtypes must agree with them.
        name: `validation_data`, for messages.
        file: the target's file, whose line is named when the user's code raises.
        most: read this many samples of a Dataset or an iterable; None reads all.
        how: what the target says of its data.

    Raises:
        TargetError: the value is empty or not data, has another shape or dtype than the model's input, holds NaN, or
            the user's code raised.
    """
    how = how or ReadAs()
    notes: tuple[str, ...] = ()
    with guarded(f"{name} raised", file):
        if callable(value) and not isinstance(value, Dataset | Iterable | Mapping):
            value = value()
        from_path = isinstance(value, str | Path)
        if isinstance(value, str | Path):
            path = (Path() if file is None else file.parent) / Path(value).expanduser()
            found = read_path(path, specs, how.class_names)
            value, notes, name = found.value, found.notes, f"{name} ({value})"
        value = as_dataset(value, specs, name)
        if _lists_samples(value, specs, name):
            value = _Listed(value)
        read = _read_columns(value, specs, name, most, how)
    if not read.columns[0] or sum(column.shape[0] for column in read.columns[0]) == 0:
        raise TargetError(f"{name} is empty; at least one sample is needed")
    data = _assemble(read.columns, read.labels, name)
    twins = 0 if most is not None else len(data) - len(set(data.sample_hashes()))
    if twins:
        read.notes.append(f"{twins} samples occur more than once")
    return LoadedData(
        data, (*notes, *read.notes), read.whole, how.pictures.scaling if read.pictures else None, from_path
    )


@dataclass(slots=True)
class _Read:
    """Batches of each input, batches of labels, what is to be noted, and whether pictures were among the inputs."""

    columns: list[list[Tensor]]
    labels: list[Tensor]
    notes: list[str]
    whole: bool
    pictures: bool = False
    packed: int = 0
    loose_bytes: int = 0

    def pack(self) -> None:
        """Join the last small batches once they are many: single samples would leave their memory in pieces."""
        self.loose_bytes += sum(column[-1].nbytes for column in self.columns)
        if self.loose_bytes < PACKED_BYTES:
            return
        for column in self.columns:
            column[self.packed :] = _alike(column[self.packed :])
        self.packed, self.loose_bytes = len(self.columns[0]), 0

    def note(self, text: str) -> None:
        """Note it once."""
        if text not in self.notes:
            self.notes.append(text)


def _read_columns(value: Any, specs: Sequence[InputSpec], name: str, most: int | None, how: ReadAs) -> _Read:
    """Read batch after batch, until enough samples or bytes are read."""
    batches, notes = _batches(value, specs, name, most)
    read = _Read([[] for _ in specs], [], notes, most is None or not _is_sampled(value) or len(value) <= most)
    bytes_read = 0
    for batch in batches:
        if most is not None and sum(map(len, read.columns[0])) >= most:
            read.whole = False
            break
        given = _ordered(batch.inputs, specs, name)
        inputs = [
            _fit_picture(tensor, spec, name, how, read) if _is_picture(tensor, spec) else _fit(tensor, spec, name)
            for tensor, spec in zip(given, specs, strict=True)
        ]
        if not read.columns[0]:
            read.notes += _rounded(given, specs)
        for column, tensor in zip(read.columns, inputs, strict=True):
            column.append(tensor)
        if isinstance(batch.inputs, Mapping) and len(batch.inputs) > len(specs):
            known = {spec.name for spec in specs}
            read.note(f"not read: {', '.join(str(key) for key in batch.inputs if key not in known)}")
        if batch.labels is not None:
            read.labels.append(_labels(batch.labels, len(inputs[0]), name, how))
        bytes_read += sum(tensor.nbytes for tensor in inputs)
        read.pack()
        if bytes_read > MAX_BYTES and len(read.columns[0]) > 1:
            read.notes.append(f"only the first {bytes_read / 1e9:.1f} GB were read")
            break
    return read


def _alike(batches: list[Tensor]) -> list[Tensor]:
    """The batches as one, or as they are where they do not fit together."""
    same = len({(tuple(batch.shape[1:]), batch.dtype) for batch in batches}) == 1
    return [torch.cat(batches)] if same else batches


def _joined(batches: list[Tensor]) -> Tensor:
    """All batches as one. Each is forgotten as soon as it is copied, so that the memory holds the data about once."""
    first = batches[0]
    if any(batch.shape[1:] != first.shape[1:] or batch.dtype != first.dtype for batch in batches):
        return torch.cat(batches)  # says what does not fit
    made = torch.empty(sum(map(len, batches)), *first.shape[1:], dtype=first.dtype)
    del first
    end = len(made)
    while batches:
        batch = batches.pop()
        made[end - len(batch) : end] = batch
        end -= len(batch)
    return made


def refuse_overlap(sets: Mapping[str, Data]) -> None:
    """Refuse data sets that share a sample, by content.

    An attacker who owns the images that the attack is tested on measures nothing, and neither does a model that is
    tested on its training data.

    Raises:
        TargetError: names the two sets and one shared sample of each.
    """
    hashes = {name: data.sample_hashes() for name, data in sets.items()}
    for first, second in combinations(hashes, 2):
        shared = set(hashes[first]) & set(hashes[second])
        if shared:
            here = next(i for i, h in enumerate(hashes[first]) if h in shared)
            there = hashes[second].index(hashes[first][here])
            raise TargetError(
                f"{first} and {second} share {len(shared)} samples by content (sample {here} of {first} is sample "
                f"{there} of {second}); divide the data so that no sample is in two sets"
            )


class _Listed(Dataset[Any]):
    """A list of samples."""

    def __init__(self, items: list[Any]) -> None:
        self.items = items

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, index: int) -> Any:
        return self.items[index]


def _lists_samples(value: Any, specs: Sequence[InputSpec], name: str) -> bool:
    """Whether a list holds single samples and not batches: its first inputs have the shape of a sample."""
    if not isinstance(value, list) or not value or not isinstance(value[0], tuple | list | Mapping):
        return False
    try:
        given = _ordered(_divide(value[0], specs, name).inputs, specs, name)
    except TargetError:
        return False  # reading it as batches reports the fault
    return all(
        tuple(tensor.shape) == sample_shape(spec) or _is_picture(tensor.unsqueeze(0), spec)
        for tensor, spec in zip(given, specs, strict=True)
    )


def sample_shape(spec: InputSpec) -> tuple[int, ...]:
    """The shape of one sample of an input."""
    assert spec.shape is not None
    return tuple(size for dim, size in enumerate(spec.shape) if dim != spec.batch_dim)


def _is_sampled(value: Any) -> bool:
    """Whether it is a Dataset of single samples."""
    return isinstance(value, Dataset) and not isinstance(value, IterableDataset | TensorDataset)


def _is_picture(tensor: Tensor, spec: InputSpec) -> bool:
    """Whether a batch of an input holds pictures: 8-bit pixels for an input that can be one."""
    return tensor.dtype == torch.uint8 and tensor.ndim in (3, 4) and takes_images(spec)


def _fit_picture(tensor: Tensor, spec: InputSpec, name: str, how: ReadAs, read: _Read) -> Tensor:
    """A batch of pictures as the model reads them, with notes on what was done to them."""
    made: FittedImages = fit_images(tensor, spec, how.pictures, name)
    read.pictures = True
    read.note(f"8-bit pictures scaled {how.pictures.source}")
    if made.resized:
        size = shape_text(sample_shape(spec)[1:])
        read.note(f"pictures of another size resized to {size}, the shorter side first, and cut at the centre")
    return made.inputs


def _batches(value: Any, specs: Sequence[InputSpec], name: str, most: int | None) -> tuple[Iterator[_Batch], list[str]]:
    """The batches of any accepted form, and notes on what was left out."""
    if isinstance(value, TensorDataset):
        return iter([_divide(value.tensors, specs, name)]), []
    if _is_sampled(value):
        return _from_dataset(value, specs, name, most)
    if isinstance(value, IterableDataset):
        return (_with_batch_dimension(_divide(item, specs, name)) for item in value), []
    whole = isinstance(value, Tensor | np.ndarray | Mapping | tuple)
    if whole or (
        isinstance(value, list) and len(value) == 2 and all(isinstance(v, Tensor | np.ndarray) for v in value)
    ):
        return iter([_divide(value, specs, name)]), []
    if isinstance(value, Iterable) and not isinstance(value, str | bytes):
        return (_divide(item, specs, name) for item in value), []
    raise TargetError(
        f"{name} is of type {type(value).__name__}; give (inputs, labels), a Dataset, a DataLoader, a path to {FORMS}, "
        "or a function that returns one of these"
    )


def _from_dataset(
    dataset: Dataset[Any], specs: Sequence[InputSpec], name: str, most: int | None
) -> tuple[Iterator[_Batch], list[str]]:
    """The samples of a map-style Dataset, or evenly spaced ones if it is too large for memory."""
    total = len(dataset)  # type: ignore[arg-type]
    if total == 0:
        return iter([]), []
    bytes_each = max(sum(math.prod(sample_shape(spec)) * spec.dtype.itemsize for spec in specs if spec.dtype), 1)
    count = min(total, max(MAX_BYTES // bytes_each, 1))
    count = count if most is None else min(count, most)
    notes = [] if count in (total, most) else [f"{count:,} evenly spaced samples of {total:,} were read (2 GB)"]
    indices = [position * total // count for position in range(count)]
    return (_with_batch_dimension(_divide(dataset[index], specs, name)) for index in indices), notes


def _divide(item: Any, specs: Sequence[InputSpec], name: str) -> _Batch:
    """Inputs and labels of one item: `x`, `(x, y)`, `(x1, x2, y)`, or a dict with a label key."""
    if isinstance(item, Mapping):
        key = label_name(item, specs)
        return _Batch({k: v for k, v in item.items() if k != key}, None if key is None else item[key])
    if isinstance(item, tuple | list):
        if len(item) == 2:
            return _Batch(item[0], item[1])
        if len(item) > 2:
            return _Batch(tuple(item[:-1]), item[-1])
        if len(item) == 1:
            return _Batch(item[0], None)
        raise TargetError(f"{name} holds an empty tuple; give (inputs, labels)")
    return _Batch(item, None)


def _with_batch_dimension(sample: _Batch) -> _Batch:
    """A single sample as a batch of one."""

    def lift(value: Any) -> Any:
        if isinstance(value, Mapping):
            return {key: lift(part) for key, part in value.items()}
        if isinstance(value, tuple | list):
            return tuple(lift(part) for part in value)
        return _tensor(value, "a sample").unsqueeze(0)

    if isinstance(sample.labels, str):
        return _Batch(lift(sample.inputs), [sample.labels])
    several = isinstance(sample.labels, tuple | Mapping)
    labels = sample.labels if several or sample.labels is None else _tensor(sample.labels, "a label").unsqueeze(0)
    return _Batch(lift(sample.inputs), labels)


def _parts(inputs: Any) -> list[Any]:
    if isinstance(inputs, Mapping):
        return list(inputs.values())
    return list(inputs) if isinstance(inputs, tuple | list) else [inputs]


def _ordered(inputs: Any, specs: Sequence[InputSpec], name: str) -> list[Tensor]:
    """The input tensors in the order of the model's inputs."""
    if isinstance(inputs, Mapping):
        if len(specs) == len(inputs) == 1 and label_name(inputs, ()) is None:
            return [_tensor(next(iter(inputs.values())), name)]  # one input and one name cannot be confused
        missing = [spec.name for spec in specs if spec.name not in inputs]
        if missing:
            raise TargetError(f"{name} lacks the model's input {missing[0]!r}; it has {', '.join(map(str, inputs))}")
        return [_tensor(inputs[spec.name], name) for spec in specs]
    parts = _parts(inputs)
    if len(parts) != len(specs):
        wanted = ", ".join(spec.name for spec in specs)
        several = len(parts) > len(specs)
        raise TargetError(
            f"{name} gives {len(parts)} inputs, the model takes {len(specs)} ({wanted})"
            f"{'; the last of a tuple alone is taken for labels: give these as one tensor' if several else ''}"
        )
    return [_tensor(part, name) for part in parts]


def _fit(tensor: Tensor, spec: InputSpec, name: str) -> Tensor:
    """The tensor in the model's dtype. Raises TargetError if its samples have another shape."""
    assert spec.dtype is not None
    wanted = sample_shape(spec)
    if tuple(tensor.shape) == wanted:
        raise TargetError(
            f"{name} gives one sample {shape_text(wanted)} for input {spec.name!r} where a batch is needed; give a "
            "list or a Dataset of (input, label), or stack the samples: torch.stack([x for x, _ in samples])"
        )
    if tensor.ndim == 0:
        raise TargetError(f"{name} gives a scalar for input {spec.name!r}; a batch dimension comes first")
    if tuple(tensor.shape[1:]) != wanted:
        last = len(wanted) > 1 and tuple(tensor.shape[1:]) == (*wanted[1:], wanted[0])
        hint = "channels come first: numpy.moveaxis(x, -1, 1)" if last else _order(spec)
        raise TargetError(
            f"{name} has samples of shape {shape_text(tensor.shape[1:])} for input {spec.name!r}, the model takes "
            f"{shape_text(wanted)} (from the example inputs); {hint}"
        )
    if tensor.dtype != spec.dtype:
        if tensor.is_floating_point() != spec.dtype.is_floating_point or tensor.dtype == torch.bool:
            raise TargetError(
                f"{name} gives {_dtype(tensor.dtype)} for input {spec.name!r}, the model takes {_dtype(spec.dtype)}; "
                "convert it (and scale it as in training)"
            )
        fitted = tensor.to(spec.dtype)
        if fitted.is_floating_point() and not torch.equal(torch.isfinite(fitted), torch.isfinite(tensor)):
            raise TargetError(
                f"{name} has values up to {float(tensor.abs().max()):.3g} for input {spec.name!r}, more than the "
                f"{_dtype(spec.dtype)} that the model takes can hold; scale them as in training"
            )
        return fitted
    return tensor


def _order(spec: InputSpec) -> str:
    """A reminder of how data is laid out, and of the model's own batch dimension."""
    if spec.batch_dim == 0:
        return "a batch dimension comes first (another one that counts samples in the model: batch_dim)"
    if spec.batch_dim is None:
        return "in data, samples come first, though the model takes one at a time"
    return f"in data, samples come first, though the model has them in dimension {spec.batch_dim}: they are moved there"


def _rounded(given: Sequence[Tensor], specs: Sequence[InputSpec]) -> list[str]:
    """Notes on inputs that half precision rounds."""
    return [
        f"{_dtype(tensor.dtype)} rounded to {_dtype(spec.dtype)}, which the model takes as {spec.name!r}"
        for tensor, spec in zip(given, specs, strict=True)
        if spec.dtype in (torch.float16, torch.bfloat16) and tensor.dtype != spec.dtype
    ]


def _assemble(columns: Sequence[list[Tensor]], labels: Sequence[Tensor], name: str) -> Data:
    try:
        inputs = tuple(_joined(column) for column in columns)
        data = Data(inputs, torch.cat(list(labels)) if labels else None)
        data.require_finite()
    except (TargetError, RuntimeError) as error:
        raise TargetError(f"{name}: {error}") from error
    return data


def _labels(value: Any, count: int, name: str, how: ReadAs) -> Tensor:
    """The labels of `count` samples as one tensor. Several labels per sample are its columns."""
    texts = _texts(value)
    if texts and how.class_names:
        return numbered(texts, how.class_names, f"the labels of {name}").labels
    if texts:
        raise TargetError(
            f"the labels of {name} are text ({texts[0]!r}); say which number each stands for: class_names = [...] in "
            "the target file, in the order of the model's outputs"
        )
    if isinstance(value, Mapping) or (isinstance(value, tuple | list) and len(value) != count):
        then = "which `evaluate` receives unchanged (labels[:, 0] are the classes)"
        if not how.evaluates:
            then = (
                "and define the metric: "
                "def evaluate(outputs, labels): return (outputs[0].argmax(1) == labels[:, 0]).float()"
            )
        raise TargetError(
            f"the labels of {name} are a {type(value).__name__} of {len(value)} for {count} samples; give one tensor "
            f"with a row for each sample, torch.stack([classes, values], dim=1) for example, {then}"
        )
    return _tensor(value, f"the labels of {name}")


def _texts(value: Any) -> list[str]:
    """Labels as text, one for each sample; empty if they are none."""
    listed = value.tolist() if isinstance(value, np.ndarray) and value.ndim == 1 else value
    if not isinstance(listed, list | tuple) or not all(isinstance(each, str) for each in listed):
        return []
    return list(listed)


def _tensor(value: Any, what: str) -> Tensor:
    """`value` as a detached CPU tensor."""
    if isinstance(value, Tensor):
        return (value if value.layout is torch.strided else value.to_dense()).detach().cpu()
    if is_pil_image(value):
        return pil_pixels(value)
    try:
        return torch.as_tensor(np.asarray(value) if not isinstance(value, list) else value)
    except (TypeError, ValueError, RuntimeError):
        raise TargetError(f"{what} {_no_tensor(value)}") from None


def _no_tensor(value: Any) -> str:
    """Why a value cannot become a tensor, and what to write instead."""
    if isinstance(value, list) and len({len(row) for row in value if isinstance(row, list)}) > 1:
        return "holds rows of several lengths; pad them to one"
    first = value
    while isinstance(first, list | tuple | np.ndarray) and len(first):
        first = first[0]
    if isinstance(first, str):
        return (
            f"holds a str where a tensor is needed ({str(first)!r}); text is tokenized, and classes are numbered, in "
            "the target file"
        )
    return f"holds a {type(first).__name__} where a tensor is needed; convert it in the target file"


def _dtype(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")
