"""Loading code that the examples share: IDX files, CIFAR-10, the data folder, equal samples, weights, modules.

An example's `model.py` puts this file's folder on `sys.path` and imports it. The name is not
`datasets`, which would shadow (or be shadowed by) a well-known package.
"""

from __future__ import annotations

import gzip
import importlib.util
import io
import math
import os
import pickle
import struct
import zipfile
import zlib
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from types import ModuleType

import numpy as np
import torch
from collabplan.records import TargetError, hash_rows
from PIL import Image
from safetensors.torch import load_file
from torch import Tensor, nn

IDX_UBYTE = 0x08
"""Element code of unsigned bytes, the only type in the MNIST family."""

MNIST_FILES = {
    "train": ("train-images-idx3-ubyte", "train-labels-idx1-ubyte"),
    "test": ("t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"),
}
MNIST_SUBFOLDERS = ("", "mnist", "MNIST/raw")
"""Where the four files lie in a data folder: at the top, in `mnist`, or where torchvision puts them."""

CIFAR_CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
CIFAR_BATCHES = {"train": tuple(f"data_batch_{number}" for number in range(1, 6)), "test": ("test_batch",)}
CIFAR_ZIP = "cifar10-jpeg.zip"
CIFAR_ATTACKER_COUNT = 10_000
"""How many of the 50,000 training images belong to the attacker; the model is never trained on them."""

ARRAY_PARTS = {
    ("numpy.core.multiarray", "_reconstruct"): np.zeros(0).__reduce__()[0],
    ("numpy._core.multiarray", "_reconstruct"): np.zeros(0).__reduce__()[0],
    ("numpy", "ndarray"): np.ndarray,
    ("numpy", "dtype"): np.dtype,
}
"""All names in the published batches. Others are never looked up, so a malicious pickle runs nothing."""


def load_example(name: str) -> ModuleType:
    """The module of the `model.py` in the folder `name`."""
    spec = importlib.util.spec_from_file_location(name, Path(__file__).resolve().parent / name / "model.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def data_folder(argument: str | Path | None = None) -> Path:
    """The folder of `--data`, else that of COLLABPLAN_DATA.

    Raises:
        TargetError: neither is given, or the folder does not exist.
    """
    named = argument or os.environ.get("COLLABPLAN_DATA")
    if not named:
        raise TargetError(f"no data folder is given; pass --data FOLDER or set COLLABPLAN_DATA. {where_to_get()}")
    folder = Path(named).expanduser()
    if not folder.is_dir():
        raise TargetError(f"the data folder {folder} does not exist; check --data or COLLABPLAN_DATA")
    return folder


def where_to_get() -> str:
    """One sentence per data set on where to get it."""
    return f"{where_to_get_mnist()}. {where_to_get_cifar10()}"


def where_to_get_cifar10() -> str:
    """One sentence on the accepted forms of CIFAR-10 and where to get them."""
    return (
        f"CIFAR-10 is a folder cifar-10-batches-py or cifar-10-batches-bin, offered at "
        "https://www.cs.toronto.edu/~kriz/cifar.html and by torchvision.datasets.CIFAR10(FOLDER, download=True), or "
        f"{CIFAR_ZIP} with train/CLASS/*.jpg and test/CLASS/*.jpg"
    )


def where_to_get_mnist() -> str:
    """One sentence on the four files of MNIST and where to get them."""
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
        raise TargetError(
            f"{folder} holds {images.shape[0]} {part} images but {labels.shape[0]} labels; get both again"
        )
    return torch.from_numpy(images), torch.from_numpy(labels).long()


def read_cifar10(folder: Path, part: str) -> tuple[Tensor, Tensor]:
    """One part (`train` or `test`) of CIFAR-10, in whichever of its forms `folder` holds.

    Returns:
        Images `[N, 3, 32, 32]` uint8 and labels `[N]` int64.

    Raises:
        TargetError: the folder holds no CIFAR-10, or a file is damaged.
    """
    python, binary, archive = folder / "cifar-10-batches-py", folder / "cifar-10-batches-bin", folder / CIFAR_ZIP
    try:
        if python.is_dir():
            pairs = [_python_batch(python / name) for name in CIFAR_BATCHES[part]]
        elif binary.is_dir():
            pairs = [_binary_batch(binary / f"{name}.bin") for name in CIFAR_BATCHES[part]]
        elif archive.is_file():
            pairs = [_zipped_images(archive, part)]
        else:
            raise TargetError(f"{folder} holds no CIFAR-10. {where_to_get_cifar10()}")
        images = np.concatenate([images for images, _ in pairs]).reshape(-1, 3, 32, 32)
    except (OSError, ValueError, KeyError, EOFError, pickle.UnpicklingError, zipfile.BadZipFile) as error:
        raise TargetError(f"CIFAR-10 in {folder} cannot be read ({error}); get it again") from None
    labels = np.concatenate([labels for _, labels in pairs])
    if len(images) != len(labels) or len(images) == 0:
        raise TargetError(
            f"CIFAR-10 in {folder} has {len(images)} {part} images but {len(labels)} labels; get it again"
        )
    return torch.from_numpy(images), torch.from_numpy(labels).long()


def trained(network: nn.Module, weights: Path) -> nn.Module:
    """The network with the weights from a file, which may hold them in half precision, in eval mode.

    Raises:
        TargetError: the file does not exist.
    """
    if not weights.is_file():
        command = f"python examples/train_cifar10.py {weights.parent.name} --data FOLDER"
        raise TargetError(f"{weights} does not exist; make it with `{command}`")
    network.load_state_dict({name: value.float() for name, value in load_file(weights).items()})
    return network.eval()


@cache
def scaled_cifar10_parts(folder: Path) -> dict[str, tuple[Tensor, Tensor]]:
    """`cifar10_parts` with images in [-1, 1]."""
    return {name: (images.float() / 127.5 - 1, labels) for name, (images, labels) in cifar10_parts(folder).items()}


@cache
def cifar10_parts(folder: Path) -> dict[str, tuple[Tensor, Tensor]]:
    """Validation (CIFAR-10's test images), attacker and training data: `[N, 3, 32, 32]` uint8, labels `[N]`.

    The order is random but fixed, so the first images are a sample of all.
    """
    test, rest = read_cifar10(folder, "test"), read_cifar10(folder, "train")
    generator = torch.Generator().manual_seed(0)
    shuffled = torch.randperm(len(test[0]), generator=generator)
    order = torch.randperm(len(rest[0]), generator=generator)
    kept = [(test[0][shuffled], test[1][shuffled])]
    kept += [(rest[0][rows], rest[1][rows]) for rows in (order[:CIFAR_ATTACKER_COUNT], order[CIFAR_ATTACKER_COUNT:])]
    return dict(zip(("validation", "attacker", "train"), drop_equal(kept), strict=True))


class _ArraysOnly(pickle.Unpickler):
    """Reads a dictionary of arrays. It refuses a pickle that names anything else."""

    def find_class(self, module: str, name: str) -> object:
        if (module, name) not in ARRAY_PARTS:
            raise pickle.UnpicklingError(f"it names {module}.{name}, which no array needs")
        return ARRAY_PARTS[module, name]


def _python_batch(path: Path) -> tuple[np.ndarray, np.ndarray]:
    with path.open("rb") as file:
        batch = _ArraysOnly(file, encoding="bytes").load()
    return np.asarray(batch[b"data"], np.uint8), np.asarray(batch[b"labels"], np.int64)


def _binary_batch(path: Path) -> tuple[np.ndarray, np.ndarray]:
    records = np.fromfile(path, np.uint8).reshape(-1, 1 + 3 * 32 * 32)
    return records[:, 1:], records[:, 0].astype(np.int64)


def _zipped_images(path: Path, part: str) -> tuple[np.ndarray, np.ndarray]:
    with zipfile.ZipFile(path) as archive:
        names = sorted(n for n in archive.namelist() if n.startswith(f"{part}/") and n.endswith(".jpg"))
        images = [_decoded(archive.read(name)) for name in names]
    labels = np.array([CIFAR_CLASSES.index(name.split("/")[1]) for name in names], np.int64)
    return np.stack(images).transpose(0, 3, 1, 2), labels


def _decoded(content: bytes) -> np.ndarray:
    image = Image.open(io.BytesIO(content), formats=["JPEG"])
    return np.asarray(image if image.mode == "RGB" else image.convert("RGB"))


def read_idx(path: Path) -> np.ndarray:
    """The array of unsigned bytes in one IDX file, gzipped or not.

    The format: two zero bytes, an element code, the number of dimensions, each dimension as a
    big-endian 32-bit integer, then the elements in C order.

    Raises:
        TargetError: not an IDX file of unsigned bytes, or its length differs from its header.
    """
    try:
        content = path.read_bytes()
        if content[:2] == b"\x1f\x8b":
            content = gzip.decompress(content)
    except (OSError, EOFError, zlib.error) as error:
        raise TargetError(f"{path} cannot be read ({error}); get it again") from None
    if len(content) < 4 or content[:3] != bytes([0, 0, IDX_UBYTE]):
        raise TargetError(f"{path} is not an IDX file of unsigned bytes (it begins with {content[:4].hex()})")
    header = 4 + 4 * content[3]
    shape = struct.unpack(f">{content[3]}I", content[4:header]) if len(content) >= header else None
    if shape is None or len(content) - header != math.prod(shape):
        raise TargetError(f"{path} holds {len(content)} bytes, which is not what its header says; get it again")
    return np.frombuffer(content, np.uint8, offset=header).reshape(shape).copy()


def drop_equal(parts: Sequence[tuple[Tensor, Tensor]]) -> list[tuple[Tensor, Tensor]]:
    """The parts without samples that equal an earlier one, in the same or an earlier part.

    If attacker and targets shared a sample, the attacker could "reconstruct" it by looking it up.

    Args:
        parts: pairs of inputs `[N, ...]` and labels `[N]`.
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
