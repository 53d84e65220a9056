"""Data at a path: pictures in folders, arrays by name, tables. Each fault names the file and the next step."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest
import torch
from collabplan.graph import InputSpec
from collabplan.records import CollabplanError, TargetError
from collabplan.targets.user_data import LoadedData, ReadAs, read_data
from PIL import Image
from safetensors.torch import save_file

PICTURE = (InputSpec("x", (1, 3, 4, 4), torch.float32, 0, False),)
ROW = (InputSpec("x", (1, 3), torch.float32, 0, False),)
X = torch.arange(24.0).reshape(8, 3)
Y = torch.arange(8)


def read(path: Path, specs: tuple[InputSpec, ...] = PICTURE, *classes: str) -> LoadedData:
    return read_data(path, specs, "validation_data", None, how=ReadAs(class_names=classes))


def picture(file: Path, colour: int, size: tuple[int, int] = (4, 4)) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, (colour, 0, 0)).save(file)


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    for index, name in enumerate(("dog", "cat")):
        for number in range(3):
            picture(folder / name / f"{number}.png", 100 * index + number, (4 + number, 4))
    return folder


def test_a_folder_of_classes(photos: Path) -> None:
    loaded = read(photos)
    assert loaded.data.inputs[0].shape == (6, 3, 4, 4)
    assert loaded.data.labels.tolist() == [0, 0, 0, 1, 1, 1]
    assert loaded.data.inputs[0][0, 0, 0, 0] == pytest.approx(100 / 255)
    said = " ".join(loaded.notes)
    assert "alphabetical order: cat 0, dog 1" in said
    assert "resized to 4x4" in said
    assert loaded.from_path
    assert loaded.scaling is not None


def test_the_order_of_classes_may_be_declared(photos: Path) -> None:
    assert read(photos, PICTURE, "dog", "bird", "cat").data.labels.tolist() == [2, 2, 2, 0, 0, 0]
    with pytest.raises(TargetError, match=r"the class 'dog' is not in class_names \(cat\); list it"):
        read(photos, PICTURE, "cat")


def test_a_first_look_reads_few_pictures_of_every_class(photos: Path) -> None:
    loaded = read_data(photos, PICTURE, "validation_data", None, 4)
    assert not loaded.whole
    assert set(loaded.data.labels.tolist()) == {0, 1}


def test_a_relative_path_starts_at_the_target_file(photos: Path) -> None:
    assert len(read_data("photos", PICTURE, "validation_data", photos.parent / "model.py").data) == 6


def test_a_flat_folder_with_a_table(photos: Path) -> None:
    flat = photos / "dog"
    (flat / "labels.csv").write_text("file,label\n2.png,b\n0.png,a\n")
    loaded = read(flat)
    assert loaded.data.labels.tolist() == [1, 0]
    assert loaded.data.inputs[0][:, 0, 0, 0].tolist() == pytest.approx([2 / 255, 0.0])


@pytest.mark.parametrize("kind", ["npz", "safetensors", "csv", "tsv"])
def test_arrays_and_tables(tmp_path: Path, kind: str) -> None:
    file = tmp_path / f"data.{kind}"
    if kind == "npz":
        np.savez(file, features=X.numpy(), y=Y.numpy())
    elif kind == "safetensors":
        save_file({"x": X, "labels": Y}, file)
    else:
        mark = "," if kind == "csv" else "\t"
        rows = [[*row, int(label)] for row, label in zip(X.tolist(), Y, strict=True)]
        lines = [mark.join(map(str, row)) for row in [["a", "b", "c", "label"], *rows]]
        file.write_text("\n".join(lines))
    data = read(file, ROW).data
    assert torch.equal(data.inputs[0], X)
    assert data.labels is not None
    assert torch.equal(data.labels, Y)


def test_arrays_of_8_bit_pictures_scale_themselves(tmp_path: Path) -> None:
    np.savez(tmp_path / "p.npz", images=np.full((5, 9, 4, 3), 255, dtype=np.uint8), y=np.arange(5))
    loaded = read(tmp_path / "p.npz")
    assert torch.equal(loaded.data.inputs[0], torch.ones(5, 3, 4, 4))


def test_parquet_is_read_where_pyarrow_is_installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "data.parquet"
    file.write_bytes(b"")
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(CollabplanError, match=r"pip install 'collabplan\[parquet\]'"):
        read(file, ROW)
    columns = {"a": [1.0, 2.0], "b": [0.0, 1.0], "c": [5.0, 5.0], "label": [1, 0]}
    fake = ModuleType("pyarrow")
    fake.parquet = SimpleNamespace(  # type: ignore[attr-defined]
        read_table=lambda path: SimpleNamespace(to_pydict=lambda: columns)  # noqa: ARG005
    )
    monkeypatch.setitem(sys.modules, "pyarrow", fake)
    assert read(file, ROW).data.labels.tolist() == [1, 0]


def test_nothing_is_unpickled(tmp_path: Path) -> None:
    np.savez(tmp_path / "o.npz", x=np.array([{"a": 1}], dtype=object))
    with pytest.raises(TargetError, match="Python objects"):
        read(tmp_path / "o.npz", ROW)
    torch.save({"x": X}, tmp_path / "data.pt")
    with pytest.raises(TargetError, match=r"data\.pt is a pickle.*numpy\.savez"):
        read(tmp_path / "data.pt", ROW)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda p: (p / "cat" / "1.png").write_bytes(b"no picture"), r"cat/1\.png cannot be read.*replace or remove"),
        (lambda p: (p / "cow").mkdir(), r"photos/cow holds no picture.*remove the folder"),
        (lambda p: p.rename(p.parent / "elsewhere"), r"photos does not exist; give a folder of pictures"),
        (lambda p: (p / "x.csv").write_text("file,label\nno.png,1\n"), r"x\.csv names no\.png, which is not in"),
        (lambda p: (p / "x.csv").write_text("file,label\na.png\n"), r"x\.csv, row 2: 1 values under 2 column"),
        (
            lambda p: (p / "x.csv").write_text("file,label\ncat/1.png,1\ncat/1.png,0\n"),
            r"x\.csv names cat/1\.png more than once",
        ),
    ],
)
def test_a_fault_of_a_folder_names_the_file(photos: Path, make, message: str) -> None:
    make(photos)
    with pytest.raises(TargetError, match=message):
        read(photos)


def test_a_truncated_jpeg_is_named(tmp_path: Path) -> None:
    picture(tmp_path / "d" / "a" / "1.jpg", 3, (64, 64))
    file = tmp_path / "d" / "a" / "1.jpg"
    file.write_bytes(file.read_bytes()[:-200])
    with pytest.raises(TargetError, match=r"1\.jpg cannot be read as a picture"):
        read(tmp_path / "d")


def test_parts_of_a_data_set_are_no_classes(photos: Path) -> None:
    photos.rename(photos.parent / "val")
    (photos.parent / "train").mkdir()
    with pytest.raises(TargetError, match=r"parts of a data set \(train, val\); give one: .*val"):
        read(photos.parent)


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("d.csv", "a,b,label\n1,2,0\n", r"has 2 columns of features \(a, b\), the model takes 3"),
        ("d.csv", "a,b,c\n1,2,0\n", "none of labels; name the column of labels `label`"),
        ("d.csv", "a,b,c,label\n1,oops,3,0\n", r"row 2, column b: 'oops' is no number"),
        ("d.csv", "", "holds no row"),
        ("d.csv", "a;b;c;label\n1;2;3;0\n", "separated by semicolons; save it with commas"),
        ("d.csv", "a,b,b,c,label\n1,2,3,4,0\n", "several columns named 'b'"),
        ("d.csv", "1,2,3,0\n4,5,6,1\n", "numbers in its first line, which names the columns"),
        ("d.csv", ",a,b,c,label\n0,1,2,3,0\n", r"\(one without a name, a, b, c\).*`label` holds the labels"),
        ("d.csv", "a,b,c,kind\n1,2,3,0\n", "if one holds the labels, name it `label`"),
        ("d.zip", "", "is an archive; unpack it"),
        ("d.jpg", "", "single picture; give the folder"),
        ("d.xyz", "", r"not read \(\.xyz\)"),
        ("d.npz", "no zip", "cannot be read"),
        ("d.safetensors", "no tensors", "cannot be read"),
    ],
)
def test_a_fault_of_a_file_names_it(tmp_path: Path, name: str, text: str, message: str) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(TargetError, match=message) as caught:
        read(tmp_path / name, ROW)
    assert name in str(caught.value)


@pytest.mark.parametrize("absent", ["", "NA", "nan", "null"])
def test_a_label_that_is_missing_is_no_class(tmp_path: Path, photos: Path, absent: str) -> None:
    rows = "\n".join(f"1,2,{number},{label}" for number, label in enumerate(["0", "1", absent, "2"]))
    (tmp_path / "d.csv").write_text(f"a,b,c,label\n{rows}\n")
    with pytest.raises(TargetError, match=r"d\.csv: 1 of 4 samples have no label \(the first is sample 2, '"):
        read(tmp_path / "d.csv", ROW)
    (photos / "dog" / "labels.csv").write_text(f"file,label\n0.png,1\n1.png,{absent}\n")
    with pytest.raises(TargetError, match=r"labels\.csv: 1 of 2 samples have no label"):
        read(photos / "dog")


def test_text_labels_of_an_archive_become_numbers(tmp_path: Path) -> None:
    file = tmp_path / "d.npz"
    np.savez(file, x=X.numpy(), y=np.array(["dog", "cat"] * 4))
    loaded = read(file, ROW)
    assert loaded.data.labels.tolist() == [1, 0] * 4
    assert "alphabetical order: cat 0, dog 1" in loaded.notes[0]
    assert read(file, ROW, "dog", "cat").data.labels.tolist() == [0, 1] * 4


def test_arrays_that_are_not_read_are_named(tmp_path: Path) -> None:
    np.savez(tmp_path / "d.npz", x=X.numpy(), truth=Y.numpy())
    assert "not read: truth; labels are named y" in read(tmp_path / "d.npz", ROW).notes


def test_an_input_that_is_named_like_labels_is_an_input(tmp_path: Path) -> None:
    specs = tuple(InputSpec(name, (1, 3), torch.float32, 0, False) for name in ("x", "y"))
    np.savez(tmp_path / "d.npz", x=X.numpy(), y=-X.numpy(), label=Y.numpy())
    data = read(tmp_path / "d.npz", specs).data
    assert torch.equal(data.inputs[1], -X)
    assert data.labels.tolist() == Y.tolist()


def test_what_a_table_leaves_out_is_told(photos: Path) -> None:
    flat = photos / "dog"
    (flat / "labels.csv").write_text("file,colour\n0.png,red\n1.png,blue\n")
    loaded = read(flat)
    assert loaded.data.labels is None
    assert "1 pictures that labels.csv does not name were left out" in loaded.notes
    assert any("columns file, colour, none is `label`" in note for note in loaded.notes)


def test_a_table_that_names_no_picture_is_named_with_its_columns(photos: Path) -> None:
    flat = photos / "dog"
    (flat / "train.csv").write_text("id,breed\n0,a\n1,b\n")
    with pytest.raises(TargetError, match=r"train\.csv has the columns id, breed.*`file`, with endings"):
        read(flat)
    (photos / "about.csv").write_text("a;b\n1;2\n")
    assert len(read(photos).data) == 6


def test_of_two_tables_neither_is_taken_in_silence(photos: Path) -> None:
    for name in ("a.csv", "b.csv"):
        (photos / "dog" / name).write_text("file,label\n0.png,1\n1.png,0\n")
    with pytest.raises(TargetError, match=r"several tables that name pictures \(a\.csv, b\.csv\); give the one"):
        read(photos / "dog")
    assert len(read(photos / "dog" / "b.csv").data) == 2
