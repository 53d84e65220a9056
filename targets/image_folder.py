"""A folder of pictures as a Dataset: `class/file.jpg`, or flat beside a table of labels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor
from torch.utils.data import Dataset

from ..records import TargetError
from ..records.extras import optional_imports
from .images import pil_pixels
from .label_names import NamedLabels, numbered

SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm", ".pgm")
_PARTS = ("train", "training", "val", "valid", "validation", "test", "testing", "eval")
"""Folders that hold the parts of a data set and no classes."""


@dataclass(frozen=True, eq=False)
class Pictures(Dataset[Any]):
    """Pictures that are read when they are asked for.

    Attributes:
        files: of the pictures.
        labels: one for each; None if there are none.
    """

    files: Sequence[Path]
    labels: Tensor | None

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> Any:
        pixels = read_picture(self.files[index])
        return (pixels,) if self.labels is None else (pixels, self.labels[index])


def read_picture(file: Path) -> Tensor:
    """The pixels of a file, upright as its camera says: uint8 `[H, W, C]`.

    Raises:
        TargetError: the file is no picture, or is damaged.
        CollabplanError: Pillow is not installed.
    """
    with optional_imports():
        from PIL import Image, ImageOps

    try:
        with Image.open(file) as image:
            upright: Any = ImageOps.exif_transpose(image)
            return pil_pixels(upright)
    except TargetError as error:
        raise TargetError(f"{file}: {error}") from None
    except Exception as error:  # Pillow raises what its decoders raise: OSError, SyntaxError, ValueError, struct.error
        what = " ".join(str(error).split()) or type(error).__name__
        raise TargetError(f"{file} cannot be read as a picture ({what}); replace or remove it") from error


def read_folder(folder: Path, class_names: Sequence[str], beside: str = "") -> tuple[Pictures, list[str]]:
    """The pictures in the folders of their classes, and a note that says which class has which number.

    Args:
        folder: holds one folder for each class.
        class_names: the classes in the order of the model's outputs; empty: the order of the folders' names.
        beside: which tables lie there that name no picture, for messages.

    Raises:
        TargetError: there are no pictures, a class has none, or the folder holds the parts of a data set.
    """
    inner = sorted(each for each in folder.iterdir() if each.is_dir() and not each.name.startswith("."))
    if not inner:
        raise TargetError(_no_labels(folder, beside))
    if all(each.name.lower() in _PARTS for each in inner):
        first = next((each for each in inner if each.name.lower().startswith(("val", "test"))), inner[0])
        raise TargetError(
            f"{folder} holds the parts of a data set ({', '.join(each.name for each in inner)}); give one: {first}"
        )
    found = {each.name: pictures_in(each) for each in inner}
    empty = [name for name, files in found.items() if not files]
    if empty:
        raise TargetError(
            f"the class folder {folder / empty[0]} holds no picture ({', '.join(SUFFIXES[:3])}, ...); put some there, "
            "or remove the folder"
        )
    made = numbered([name for name, files in found.items() for _ in files], class_names, f"the folders of {folder}")
    return Pictures([file for files in found.values() for file in files], made.labels), list(made.notes)


def read_listed(
    folder: Path, named: Mapping[str, str | None], table: Path, class_names: Sequence[str], columns: str
) -> Any:
    """The pictures that a table names, and notes.

    Args:
        folder: where relative names start.
        named: label by picture; None where the table has no labels.
        table: the file, for messages.
        class_names: as of `read_folder`.
        columns: of the table, for messages.

    Raises:
        TargetError: a picture that the table names is not there, or has no label where others have one.
    """
    files = [folder / name for name in named]
    missing = [file for file in files if not file.is_file()]
    if missing:
        raise TargetError(
            f"{table} names {missing[0].name}, which is not in {missing[0].parent} ({len(missing)} of {len(files)} "
            "pictures are missing); correct the table, or put the pictures there"
        )
    unnamed = len({file.resolve() for file in pictures_in(folder)} - {file.resolve() for file in files})
    notes = [f"{unnamed} pictures that {table.name} does not name were left out"] if unnamed else []
    labels = list(named.values())
    if all(label is None for label in labels):
        return Pictures(files, None), [*notes, f"no labels: {table.name} has the columns {columns}, none is `label`"]
    made: NamedLabels = numbered([label or "" for label in labels], class_names, str(table))
    return Pictures(files, made.labels), [*made.notes, *notes]


def pictures_in(folder: Path) -> list[Path]:
    """The pictures below a folder, by name."""
    return sorted(
        file for file in folder.rglob("*") if file.suffix.lower() in SUFFIXES and not file.name.startswith(".")
    )


def _no_labels(folder: Path, beside: str) -> str:
    if not pictures_in(folder):
        return f"{folder} holds no picture; give a folder with one folder of pictures for each class"
    if beside:
        return (
            f"{folder} holds pictures, and no table that names them ({beside}); call the column of their names `file`, "
            "with endings (1.jpg), and the column of labels `label`"
        )
    return (
        f"{folder} holds pictures without labels; sort them into one folder for each class, or put labels.csv beside "
        "them, with the columns file and label"
    )
