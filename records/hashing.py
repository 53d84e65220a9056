"""Content hashes: the same content has the same hash in another process and under another path."""

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
    """JSON with sorted keys and no white space; NaN and infinity are refused."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)


def hash_json(value: Any) -> str:
    """SHA-256 of the canonical JSON of `value`, in hex."""
    return hashlib.sha256(canonical_json(value).encode()).hexdigest()


def hash_file(path: Path) -> str:
    """SHA-256 of a file's bytes, in hex."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def hash_tensors(tensors: Mapping[str, Tensor]) -> str:
    """SHA-256 over names, dtypes, shapes and bytes of tensors, in the order of their names."""
    digest = hashlib.sha256()
    for name in sorted(tensors):
        tensor = tensors[name].detach().cpu().contiguous()
        digest.update(f"{name}|{tensor.dtype}|{tuple(tensor.shape)}|".encode())
        digest.update(tensor.flatten().view(_byte_dtype()).numpy().data)
    return digest.hexdigest()


def hash_rows(tensor: Tensor) -> list[str]:
    """A short content hash of every row (first dimension) of a tensor, to find equal samples."""
    rows = tensor.detach().cpu().contiguous()
    head = f"{rows.dtype}|{tuple(rows.shape[1:])}|".encode()
    flat = rows.reshape(rows.shape[0], math.prod(rows.shape[1:]))
    if flat.stride(-1) != 1:  # a column, or nothing, counts as contiguous whatever its stride
        flat = flat.flatten().reshape(flat.shape)
    bytes_ = flat.view(_byte_dtype()).numpy()
    return [hashlib.sha256(head + row.tobytes()).hexdigest()[:32] for row in bytes_]


def _byte_dtype() -> Any:
    import torch

    return torch.uint8
