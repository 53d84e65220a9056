"""Common errors of target files come with what to do about them; other errors come without."""

from __future__ import annotations

import pickle
import re
import sys
from pathlib import Path

import pytest
from collabplan.targets.hints import hint


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (ModuleNotFoundError("No module named 'own.sub'", name="own.sub"), f"own is a file of yours.*{sys.executable}"),
        (SyntaxError("source code string cannot contain null bytes"), "save the file as UTF-8 text"),
        (AssertionError("Torch not compiled with CUDA enabled"), "map_location='cpu'"),
        (ImportError("undefined symbol: _ZN3c10"), "compiled for another torch"),
        (RuntimeError("operator torchvision::nms does not exist"), "torchvision does not fit torch"),
        (SystemExit(2), "must not exit"),
    ],
)  # fmt: skip
def test_a_common_error_has_its_advice(error: BaseException, says: str) -> None:
    assert re.search(says, hint(error, None))


@pytest.mark.parametrize("error", [ValueError("shapes differ"), KeyError("x"), pickle.UnpicklingError("odd")])
def test_another_error_has_none(error: BaseException) -> None:
    assert hint(error, None) == ""


def test_a_missing_file_that_lies_beside_the_target_is_found(tmp_path: Path) -> None:
    (tmp_path / "weights.pt").touch()
    error = FileNotFoundError(2, "No such file", "weights.pt")
    assert "Path(__file__).parent / 'weights.pt'" in hint(error, tmp_path / "model.py")
    assert f"looked for in {Path.cwd()}" in hint(FileNotFoundError(2, "No such file", "w.pt"), tmp_path / "model.py")


def test_a_file_within_a_package_is_to_be_given_by_its_modules_name(tmp_path: Path) -> None:
    package = tmp_path / "package" / "inner"
    package.mkdir(parents=True)
    for folder in (package, package.parent):
        (folder / "__init__.py").touch()
    error = ImportError("attempted relative import with no known parent package")
    assert "collabplan profile package.inner.model" in hint(error, package / "model.py")
