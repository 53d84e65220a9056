"""The loader of IDX files reads what people have and refuses the rest with one line."""

import gzip
import struct
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from collabplan.records import TargetError

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
