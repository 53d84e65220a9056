"""The loader of IDX files reads what people have and refuses the rest with one line."""

import gzip
import io
import pickle
import struct
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from collabplan.records import TargetError
from PIL import Image

sys.path.append(str(Path(__file__).resolve().parents[2] / "examples"))

import example_data

IMAGES = np.arange(24, dtype=np.uint8).reshape(2, 3, 4)


def idx(array: np.ndarray) -> bytes:
    return struct.pack(f">BBBB{array.ndim}I", 0, 0, 8, array.ndim, *array.shape) + array.tobytes()


@pytest.mark.parametrize("packed", [False, True], ids=["plain", "gzip"])
def test_an_idx_file_is_read(tmp_path: Path, packed: bool) -> None:
    content = idx(IMAGES)
    (tmp_path / "file").write_bytes(gzip.compress(content) if packed else content)
    np.testing.assert_array_equal(example_data.read_idx(tmp_path / "file"), IMAGES)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\0\0",
        b"PNG....",
        idx(IMAGES)[:9],
        idx(IMAGES)[:-1],
        idx(IMAGES) + b"x",
        gzip.compress(idx(IMAGES))[:-9],
        gzip.compress(idx(IMAGES))[:12] + b"damaged" * 9,
    ],
    ids=["empty", "two bytes", "foreign", "header cut", "short", "long", "gzip cut", "gzip damaged"],
)
def test_a_damaged_or_foreign_file_is_named(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "file").write_bytes(content)
    with pytest.raises(TargetError, match=str(tmp_path / "file")):
        example_data.read_idx(tmp_path / "file")


@pytest.mark.parametrize("layout", example_data.MNIST_SUBFOLDERS)
def test_mnist_is_found_however_it_was_fetched(tmp_path: Path, layout: str) -> None:
    folder = tmp_path / layout
    folder.mkdir(parents=True, exist_ok=True)
    images, labels = example_data.MNIST_FILES["test"]
    (folder / images).write_bytes(idx(IMAGES))
    (folder / f"{labels}.gz").write_bytes(gzip.compress(idx(np.array([7, 1], np.uint8))))
    read_images, read_labels = example_data.read_mnist(tmp_path, "test")
    assert torch.equal(read_images, torch.from_numpy(IMAGES))
    assert read_labels.tolist() == [7, 1]


def test_images_and_labels_must_agree(tmp_path: Path) -> None:
    images, labels = example_data.MNIST_FILES["train"]
    (tmp_path / images).write_bytes(idx(IMAGES))
    (tmp_path / labels).write_bytes(idx(np.zeros(3, np.uint8)))
    with pytest.raises(TargetError, match="2 train images but 3 labels"):
        example_data.read_mnist(tmp_path, "train")


def test_absent_data_says_where_to_get_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("COLLABPLAN_DATA", raising=False)
    with pytest.raises(TargetError, match=r"--data.*COLLABPLAN_DATA.*https://"):
        example_data.data_folder()
    with pytest.raises(TargetError, match=r"t10k-images.*https://"):
        example_data.read_mnist(tmp_path, "test")
    with pytest.raises(TargetError, match="does not exist"):
        example_data.data_folder(tmp_path / "absent")


def test_equal_samples_are_dropped_within_and_across_parts() -> None:
    first = (torch.tensor([[1.0], [2.0], [1.0]]), torch.tensor([1, 2, 3]))
    second = (torch.tensor([[2.0], [4.0]]), torch.tensor([4, 5]))
    (kept, labels), (others, other_labels) = example_data.drop_equal([first, second])
    assert (kept.flatten().tolist(), labels.tolist()) == ([1.0, 2.0], [1, 2])
    assert (others.flatten().tolist(), other_labels.tolist()) == ([4.0], [5])


CIFAR = np.random.default_rng(0).integers(0, 256, (20, 3, 32, 32)).astype(np.uint8)
LABELS = np.arange(20) % 10


def write_cifar(folder: Path, form: str) -> None:
    names = [*example_data.CIFAR_BATCHES["train"], *example_data.CIFAR_BATCHES["test"]]
    rows = CIFAR.reshape(20, -1)
    place = folder / f"cifar-10-batches-{form}"
    place.mkdir()
    for name in names:
        if form == "bin":
            (place / f"{name}.bin").write_bytes(np.column_stack([LABELS, rows]).astype(np.uint8).tobytes())
        else:
            (place / name).write_bytes(pickle.dumps({b"data": rows, b"labels": LABELS.tolist()}, protocol=3))


@pytest.mark.parametrize("form", ["py", "bin"])
def test_cifar10_is_read_however_it_was_fetched(tmp_path: Path, form: str) -> None:
    write_cifar(tmp_path, form)
    images, labels = example_data.read_cifar10(tmp_path, "test")
    assert torch.equal(images, torch.from_numpy(CIFAR))
    assert labels.tolist() == LABELS.tolist()
    assert len(example_data.read_cifar10(tmp_path, "train")[0]) == 100


def test_cifar10_as_a_zip_of_folders_is_read(tmp_path: Path) -> None:
    content = io.BytesIO()
    Image.new("RGB", (32, 32), "red").save(content, "JPEG")
    with zipfile.ZipFile(tmp_path / example_data.CIFAR_ZIP, "w") as archive:
        archive.writestr("test/ship/0.jpg", content.getvalue())
    images, labels = example_data.read_cifar10(tmp_path, "test")
    assert images.shape == (1, 3, 32, 32)
    assert labels.tolist() == [8]


class Trap:
    """A pickle that runs a command when it is loaded."""

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return eval, ("1/0",)


def test_a_pickle_that_names_more_than_arrays_is_refused_and_runs_nothing(tmp_path: Path) -> None:
    write_cifar(tmp_path, "py")
    (tmp_path / "cifar-10-batches-py" / "test_batch").write_bytes(pickle.dumps(Trap()))
    with pytest.raises(TargetError, match="eval"):
        example_data.read_cifar10(tmp_path, "test")


def test_absent_cifar10_says_where_to_get_it(tmp_path: Path) -> None:
    with pytest.raises(TargetError, match=r"cs\.toronto\.edu"):
        example_data.read_cifar10(tmp_path, "test")
