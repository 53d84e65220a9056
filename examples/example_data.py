"""Loading code that the examples share: IDX files, the data folder, equal samples dropped by content.

An example's `model.py` puts this file's folder on `sys.path` and imports it. The name is not
`datasets`, which would shadow (or be shadowed by) a well-known package.
"""

from __future__ import annotations

import gzip
import math
import os
import struct
import zlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from collabplan.records import TargetError, hash_rows
from torch import Tensor

IDX_UBYTE = 0x08
"""The element code of unsigned bytes, the only one that the MNIST family uses."""

MNIST_FILES = {
    "train": ("train-images-idx3-ubyte", "train-labels-idx1-ubyte"),
    "test": ("t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"),
}
MNIST_SUBFOLDERS = ("", "mnist", "MNIST/raw")
"""Where the four files lie in a data folder: in it, as ours, or as torchvision keeps them."""


def data_folder(argument: str | Path | None = None) -> Path:
    """The folder that `--data` names, else the one that COLLABPLAN_DATA names.

    Raises:
        TargetError: neither is given, or it is no folder.
    """
    named = argument or os.environ.get("COLLABPLAN_DATA")
    if not named:
        raise TargetError(f"no data folder is given; pass --data FOLDER or set COLLABPLAN_DATA. {where_to_get_mnist()}")
    folder = Path(named).expanduser()
    if not folder.is_dir():
        raise TargetError(f"the data folder {folder} does not exist; check --data or COLLABPLAN_DATA")
    return folder


def where_to_get_mnist() -> str:
    """One sentence on the four files of MNIST and where they are offered."""
    names = ", ".join(name for pair in MNIST_FILES.values() for name in pair)
    return (
        f"MNIST is four IDX files ({names}; .gz or not), offered at https://ossci-datasets.s3.amazonaws.com/mnist/ "
        "and by torchvision.datasets.MNIST(FOLDER, download=True)"
    )


def read_mnist(folder: Path, part: str) -> tuple[Tensor, Tensor]:
    """One part (`train` or `test`) of MNIST, or of a set in its form such as Fashion-MNIST.

    Returns:
        Images `[N, 28, 28]` uint8 and labels `[N]` int64.

    Raises:
        TargetError: a file is absent, damaged, or the two disagree about N.
    """
    images, labels = (read_idx(_find(folder, name)) for name in MNIST_FILES[part])
    if images.shape[0] != labels.shape[0]:
        raise TargetError(f"{folder} holds {images.shape[0]} {part} images but {labels.shape[0]} labels; get both anew")
    return torch.from_numpy(images), torch.from_numpy(labels).long()


def read_idx(path: Path) -> np.ndarray:
    """The array of unsigned bytes in one IDX file, gzipped or not.

    The format: two zero bytes, an element code, the number of dimensions, each dimension as a
    big-endian 32-bit integer, then the elements in C order.

    Raises:
        TargetError: not an IDX file of unsigned bytes, or shorter or longer than its header says.
    """
    try:
        content = path.read_bytes()
        if content[:2] == b"\x1f\x8b":
            content = gzip.decompress(content)
    except (OSError, EOFError, zlib.error) as error:
        raise TargetError(f"{path} cannot be read ({error}); get it anew") from None
    if len(content) < 4 or content[:3] != bytes([0, 0, IDX_UBYTE]):
        raise TargetError(f"{path} is not an IDX file of unsigned bytes (it begins with {content[:4].hex()})")
    header = 4 + 4 * content[3]
    shape = struct.unpack(f">{content[3]}I", content[4:header]) if len(content) >= header else None
    if shape is None or len(content) - header != math.prod(shape):
        raise TargetError(f"{path} holds {len(content)} bytes, which is not what its header says; get it anew")
    return np.frombuffer(content, np.uint8, offset=header).reshape(shape).copy()


def drop_equal(parts: Sequence[tuple[Tensor, Tensor]]) -> list[tuple[Tensor, Tensor]]:
    """The parts without any sample that equals an earlier one, in the same or an earlier part.

    An image that is both in the attacker's data and among the targets would be "reconstructed" by
    looking it up. Takes and returns (inputs `[N, ...]`, labels `[N]`) pairs.
    """
    seen: set[str] = set()
    kept = []
    for inputs, labels in parts:
        fresh = []
        for index, digest in enumerate(hash_rows(inputs)):
            if digest not in seen:
                seen.add(digest)
                fresh.append(index)
        kept.append((inputs[fresh], labels[fresh]))
    return kept


def _find(folder: Path, name: str) -> Path:
    for subfolder in MNIST_SUBFOLDERS:
        for suffix in ("", ".gz"):
            path = folder / subfolder / f"{name}{suffix}"
            if path.is_file():
                return path
    raise TargetError(f"{folder} holds no {name}[.gz], nor does {folder}/mnist. {where_to_get_mnist()}")
