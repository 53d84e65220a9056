"""The same content has the same hash in another process and under another path."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from collabplan.records import canonical_json, hash_file, hash_json, hash_rows, hash_tensors

SCRIPT = """
import torch
from collabplan.records import hash_json, hash_rows, hash_tensors
x = torch.arange(6, dtype=torch.float32).reshape(2, 3)
print(hash_json({"b": [1, 2.5], "a": None}), hash_tensors({"w": x, "b": x[0].bfloat16()}), *hash_rows(x))
"""
EXPECTED = [
    "e57f5d37865437a82e1108bafb4e5213dfe7e9085f5c253341ebbab30cac5faf",
    "8ca58bbd0b29b7bba38ae2a5dfe36c5f19f2b3bba9b1cb2dafd9f50639d5a1b7",
    "36e8c547cdb01920c48bef3661651a6f",
    "9b5735afd1f10aa8d599479cd736acfc",
]


def test_hashes_are_the_same_in_another_process_under_another_hash_seed(tmp_path: Path) -> None:
    """The literals are of version 0.1: a change makes every profile and plan that exists foreign."""
    environment = {"PYTHONHASHSEED": "77", "PATH": ""}
    output = subprocess.run(
        [sys.executable, "-c", SCRIPT], cwd=tmp_path, env=environment, capture_output=True, text=True, check=True
    ).stdout
    assert output.split() == EXPECTED


def test_key_order_does_not_count_and_nan_is_refused() -> None:
    assert hash_json({"a": 1, "b": 2}) == hash_json({"b": 2, "a": 1})
    with pytest.raises(ValueError, match="JSON"):
        canonical_json({"a": float("nan")})


def test_a_files_hash_is_of_its_bytes(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"same")
    (tmp_path / "b").write_bytes(b"same")
    assert hash_file(tmp_path / "a") == hash_file(tmp_path / "b")


def test_tensors_are_told_apart_by_name_dtype_shape_and_content() -> None:
    x = torch.zeros(4)
    variants = [{"w": x}, {"v": x}, {"w": x.int()}, {"w": x.reshape(2, 2)}, {"w": x + 1}, {}]
    assert len({hash_tensors(variant) for variant in variants}) == len(variants)


def test_strides_do_not_count() -> None:
    x = torch.arange(6.0).reshape(2, 3)
    assert hash_tensors({"w": x.T}) == hash_tensors({"w": x.T.contiguous()})
    assert hash_rows(x.T) == hash_rows(x.T.contiguous())


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16, torch.int64, torch.bool])
def test_rows_are_equal_exactly_where_their_content_is(dtype: torch.dtype) -> None:
    rows = torch.tensor([[0, 1], [1, 1], [0, 1]]).to(dtype)
    first, second, third = hash_rows(rows)
    assert first == third != second


def test_scalars_and_empty_tensors_have_hashes() -> None:
    assert hash_tensors({"s": torch.tensor(1.0), "e": torch.empty(0, 3)})
    assert len(hash_rows(torch.tensor([1, 2, 1]))) == 3
    assert hash_rows(torch.empty(0, 3)) == []


def test_a_column_and_empty_rows_are_hashed_whatever_their_strides() -> None:
    values = torch.arange(5.0)
    column = values.reshape(1, 5).T
    assert column.stride() != (1, 1)
    assert hash_rows(column) == hash_rows(values.reshape(5, 1))
    assert len(set(hash_rows(torch.empty(0, 5).T))) == 1
