"""Content hashes, which depend neither on the process nor on the path."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor


def canonical_json(value: Any) -> str:
    """JSON with sorted keys and no white space.

    Args:
        value: anything that JSON holds.

    Raises:
        ValueError: it holds NaN or infinity.

    Examples:
        >>> canonical_json({"b": [1, 2.5], "a": None})
        '{"a":null,"b":[1,2.5]}'
    """
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)


def hash_json(value: Any) -> str:
    """SHA-256 of the canonical JSON of `value`, in hex.

    Args:
        value: anything that JSON holds.

    Raises:
        ValueError: it holds NaN or infinity.

    Examples:
        >>> hash_json({"a": 1, "b": 2}) == hash_json({"b": 2, "a": 1})
        True
    """
    return hashlib.sha256(canonical_json(value).encode()).hexdigest()


def hash_file(path: Path) -> str:
    """SHA-256 of a file's bytes, in hex.

    Args:
        path: the file.

    Raises:
        OSError: it cannot be read.

    Examples:
        >>> hash_file(Path(__file__)) == hashlib.sha256(Path(__file__).read_bytes()).hexdigest()
        True
    """
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def hash_tensors(tensors: Mapping[str, Tensor]) -> str:
    """SHA-256 over the names, dtypes, shapes and bytes of tensors, in the order of their names.

    Args:
        tensors: of any dtype and shape, on any device. Strides do not matter.

    Examples:
        >>> import torch
        >>> hash_tensors({"w": torch.ones(2)}) == hash_tensors({"w": torch.ones(2, 1)})
        False
    """
    digest = hashlib.sha256()
    for name in sorted(tensors):
        tensor = tensors[name].detach().cpu().contiguous()
        digest.update(f"{name}|{tensor.dtype}|{tuple(tensor.shape)}|".encode())
        digest.update(tensor.flatten().view(_byte_dtype()).numpy().data)
    return digest.hexdigest()


def hash_rows(tensor: Tensor) -> list[str]:
    """A short content hash of every row of a tensor, to find equal samples.

    Args:
        tensor: `[rows, ...]`.

    Examples:
        >>> import torch
        >>> first, second, third = hash_rows(torch.tensor([1, 2, 1]))
        >>> first == third, first == second
        (True, False)
    """
    rows = tensor.detach().cpu().contiguous()
    head = f"{rows.dtype}|{tuple(rows.shape[1:])}|".encode()
    flat = rows.reshape(rows.shape[0], math.prod(rows.shape[1:]))
    if flat.stride(-1) != 1:  # torch calls a column or an empty tensor contiguous, whatever its stride
        flat = flat.flatten().reshape(flat.shape)
    bytes_ = flat.view(_byte_dtype()).numpy()
    return [hashlib.sha256(head + row.tobytes()).hexdigest()[:32] for row in bytes_]


def _byte_dtype() -> Any:
    import torch

    return torch.uint8
