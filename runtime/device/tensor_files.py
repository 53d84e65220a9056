"""Reads inputs from files and writes outputs to files: safetensors, .npy and JSON. Nothing that is read is executed."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...records import CollabplanError, OutputSpec, TensorSpec, output_key, write_bytes, write_text
from .model_inputs import with_models_layout

if TYPE_CHECKING:
    from torch import Tensor

_FORMS = (
    "give a .safetensors file with tensors by the inputs' names, or a .npy file per input, in order or as NAME=FILE"
)


def read_inputs(files: Sequence[str], specs: Sequence[TensorSpec]) -> dict[str, Tensor]:
    """Read the model's inputs, by name.

    Args:
        files: paths to .safetensors and .npy files, the latter in the inputs' order or as `NAME=FILE`.
        specs: the inputs that the model takes.

    Raises:
        CollabplanError: a file cannot be read, an input is missing, or the model does not take one.
    """
    found: dict[str, Tensor] = {}
    for text in files:
        name, _, rest = text.partition("=")
        known = name in {spec.name for spec in specs} and bool(rest)
        path = Path(rest if known else text)
        if path.suffix == ".npy":
            free = [spec.name for spec in specs if spec.name not in found]
            if not (known or free):
                raise CollabplanError(f"{path} is one input too many; the model takes {_names(specs)}")
            found[name if known else free[0]] = _array(path)
        else:
            found.update(_tensors(path))
    if set(found) != {spec.name for spec in specs}:
        raise CollabplanError(
            f"the data holds {', '.join(found) or 'nothing'}, the model takes {_names(specs)}; {_FORMS}"
        )
    return found


def batches(
    inputs: dict[str, Tensor], specs: Sequence[TensorSpec], size: int, most: int | None
) -> Iterator[dict[str, Tensor]]:
    """Divide inputs into successive requests. The last one may hold fewer samples.

    Args:
        inputs: by name, samples in the first dimension. An input without samples goes into every request.
        specs: the inputs that the model takes.
        size: the samples of one request.
        most: use the first `most` samples alone; None uses all.

    Yields:
        The inputs of one request by name, each in the model's own layout.

    Raises:
        CollabplanError: the inputs disagree about the number of samples.
    """
    counted = _counted(inputs, specs)
    counts = {inputs[spec.name].shape[0] for spec in counted}
    if not counts:
        yield inputs
        return
    if len(counts) > 1:
        raise CollabplanError(f"the inputs disagree about the number of samples: {sorted(counts)}")
    total = min(counts.pop(), most or 2**62)
    for start in range(0, total, size):
        taken = {spec.name: inputs[spec.name][start : start + size][: total - start] for spec in counted}
        moved = {spec.name: with_models_layout(taken[spec.name], spec) for spec in counted}
        yield {spec.name: moved.get(spec.name, inputs[spec.name]) for spec in specs}


def write_outputs(outputs: Sequence[Any], spec: OutputSpec, path: Path) -> None:
    """Write the outputs of all requests: to .json, one document per request, or to .safetensors, samples joined.

    Args:
        outputs: of the requests, in order.
        spec: the outputs in the manifest.
        path: the file; its ending decides the format.

    Raises:
        CollabplanError: the ending is another one, two outputs have the same name, or the file cannot be written.
    """
    if path.suffix == ".json":
        write_text(path, json.dumps([_plain(output) for output in outputs], indent=1) + "\n")
        return
    require_ending(path)
    import torch
    from safetensors.torch import save

    names = list(_paths(spec.structure, ""))
    _require_distinct(names)
    columns = zip(*(_leaves(output, spec.structure) for output in outputs), strict=True)
    joined: dict[str, Tensor] = {}
    for name, tensor, values in zip(names, spec.tensors, columns, strict=True):
        if tensor.number:
            joined[name] = torch.tensor(values)
        elif len(tensor.batch_dims) == 1 and not tensor.free_dims:
            joined[name] = torch.cat(values, dim=tensor.batch_dims[0]).contiguous()
        else:
            joined.update({f"{name}.{number}": value.contiguous() for number, value in enumerate(values)})
    write_bytes(path, save(joined))


def require_ending(path: Path) -> None:
    """Refuse a file name that is neither .json nor .safetensors. Raises CollabplanError."""
    if path.suffix not in (".json", ".safetensors"):
        raise CollabplanError(f"outputs are written as .safetensors or .json, not as {path.name}")


def _counted(inputs: Mapping[str, Tensor], specs: Sequence[TensorSpec]) -> list[TensorSpec]:
    """The inputs that hold samples: those with a batch, or if none has one, those with one dimension more."""
    if any(spec.batch_dims for spec in specs):
        return [spec for spec in specs if spec.batch_dims and inputs[spec.name].ndim > spec.batch_dims[0]]
    return [spec for spec in specs if inputs[spec.name].ndim == len(spec.shape) + 1]


def _require_distinct(names: Sequence[str]) -> None:
    """Refuse outputs whose names are equal as text, such as the keys 1 and "1"."""
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise CollabplanError(
            f"two outputs would both be called {twice!r} in the file; read them from Python (`EdgeClient.infer`)"
        )


def _names(specs: Sequence[TensorSpec]) -> str:
    return ", ".join(f"{spec.name} ({spec.dtype})" for spec in specs)


def _array(path: Path) -> Tensor:
    import numpy as np
    import torch

    try:
        return torch.from_numpy(np.load(path, allow_pickle=False))
    except (OSError, ValueError, TypeError, EOFError) as error:
        raise CollabplanError(f"{path} cannot be read as .npy ({error}); {_FORMS}") from None


def _tensors(path: Path) -> dict[str, Tensor]:
    from safetensors import SafetensorError
    from safetensors.torch import load

    try:
        return load(path.read_bytes())
    except (OSError, SafetensorError) as error:
        raise CollabplanError(f"{path} cannot be read as safetensors ({error}); {_FORMS}") from None


def _plain(value: Any) -> Any:
    """Tensors as nested lists, complex numbers as pairs, and NaN and infinity as text."""
    from torch import Tensor

    if isinstance(value, Tensor):
        return _plain(value.tolist())
    if isinstance(value, dict):
        _require_distinct([str(key) for key in value])
        return {str(key): _plain(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(part) for part in value]
    if isinstance(value, complex):
        return [_plain(value.real), _plain(value.imag)]
    if isinstance(value, float) and (value != value or abs(value) == float("inf")):
        return str(value)
    return value


def _paths(structure: Any, above: str) -> Iterator[str]:
    """A name for each output: its path in the structure, or `output` if it is the only one."""
    if not isinstance(structure, dict):
        return
    ((tag, content),) = structure.items()
    if tag == "output":
        yield above or "output"
    elif tag == "dict":
        for key, child in content:
            name = str(output_key(key))
            yield from _paths(child, f"{above}.{name}" if above else name)
    elif tag in ("list", "tuple"):
        for number, child in enumerate(content):
            yield from _paths(child, f"{above}.{number}" if above else str(number))


def _leaves(value: Any, structure: Any) -> list[Any]:
    if not isinstance(structure, dict):
        return []
    ((tag, content),) = structure.items()
    if tag == "output":
        return [value]
    if tag == "dict":
        return [leaf for key, child in content for leaf in _leaves(value[output_key(key)], child)]
    if tag in ("list", "tuple"):
        return [leaf for part, child in zip(value, content, strict=True) for leaf in _leaves(part, child)]
    return []
