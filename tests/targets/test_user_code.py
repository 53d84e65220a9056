"""The user's code runs seeded and apart, and a failure is one line with the user's own place in it."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import pytest
import torch
from collabplan.records import CollabplanError, TargetError
from collabplan.targets.user_code import TargetSpec, call, guarded, load_module, main_block, shorten, user_line


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "model.py"
    path.write_text("def fails():\n    raise ValueError('no checkpoint')\n\nvalue = 3\n")
    return path


@pytest.mark.parametrize(
    ("text", "file", "module", "attribute"),
    [
        ("model.py", "model.py", None, None),
        ("a/model.py:Net", "a/model.py", None, "Net"),
        ("package.module:net.inner", None, "package.module", "net.inner"),
        ("C:model.py", "C:model.py", None, None),
    ],
)
def test_a_target_is_a_file_or_a_module_and_an_attribute(
    text: str, file: str | None, module: str | None, attribute: str | None
) -> None:
    found = TargetSpec.parse(text)
    assert (found.file, found.module, found.attribute) == (None if file is None else Path(file), module, attribute)


@pytest.mark.parametrize("text", ["", "weights/", "a b", "1module"])
def test_another_form_is_refused_with_those_that_work(text: str) -> None:
    with pytest.raises(
        TargetError, match=r"is not of the form path\.py, path\.py:attr, package\.module:attr or timm:NAME"
    ):
        TargetSpec.parse(text)


def test_a_file_is_loaded_with_its_own_folder_on_the_path(file: Path) -> None:
    (file.parent / "beside_the_target.py").write_text("answer = 42\n")
    file.write_text("from beside_the_target import answer\n")
    module, found = load_module(TargetSpec.parse(str(file)))
    assert (module.answer, found) == (42, file.resolve())


def test_a_failure_names_the_users_line(file: Path) -> None:
    module, _ = load_module(TargetSpec.parse(str(file)))
    with pytest.raises(TargetError, match=r"`model` raised ValueError: no checkpoint \(model.py, line 2: raise"):
        call(module.fails, "`model`", file.resolve())


def test_a_target_that_exits_is_an_error_and_an_error_of_ours_stays_itself(file: Path) -> None:
    with pytest.raises(TargetError, match="a target file must not exit"), guarded("it raised", file):
        raise SystemExit(3)
    with pytest.raises(CollabplanError, match=r"^ours$"), guarded("it raised", file):
        raise CollabplanError("ours")


def test_a_package_that_only_collabplan_imports_is_named_with_its_extra(file: Path) -> None:
    with pytest.raises(CollabplanError, match=r"needs scipy, .*collabplan\[plan\]"), guarded("it raised", file):
        raise ModuleNotFoundError("No module named 'scipy'", name="scipy.sparse")


def test_a_package_that_the_target_imports_stays_its_own_error(file: Path) -> None:
    file.write_text("import not_installed_anywhere\n")
    with pytest.raises(TargetError, match=r"No module named 'not_installed_anywhere' \(model\.py, line 1"):
        load_module(TargetSpec.parse(str(file)))


def test_generators_are_seeded_within_and_as_before_after(file: Path) -> None:
    random.seed(5)
    np.random.seed(5)
    torch.manual_seed(5)
    draws = []
    for _ in range(2):
        with guarded("it raised", file):
            draws.append((random.random(), float(np.random.rand()), float(torch.rand(1))))
    assert draws[0] == draws[1]
    after = (random.random(), float(np.random.rand()), float(torch.rand(1)))
    random.seed(5)
    np.random.seed(5)
    torch.manual_seed(5)
    assert after == (random.random(), float(np.random.rand()), float(torch.rand(1)))


def test_prints_of_the_target_do_not_reach_stdout(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with guarded("it raised", file):
        print("loading weights")
    found = capsys.readouterr()
    assert (found.out, found.err) == ("", "loading weights\n")


def test_code_under_main_is_pointed_out(file: Path) -> None:
    assert main_block(file) == ""
    file.write_text("if __name__ == '__main__':\n    model = 3\n")
    assert "does not run here" in main_block(file)


def test_an_error_outside_the_users_files_has_no_line(file: Path) -> None:
    with pytest.raises(ValueError, match="elsewhere") as caught:
        raise ValueError("elsewhere")
    assert user_line(caught.value, file.resolve()) is None


def test_a_long_text_is_cut_to_one_line() -> None:
    assert shorten("a\n  b") == "a b"
    assert shorten("x" * 400, 10) == "x" * 9 + "…"
