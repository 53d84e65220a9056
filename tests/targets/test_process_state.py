"""What a target file does to the process stays its own, and what loading it raises says what to do."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from collabplan.records import TargetError
from collabplan.targets.target import load_target

Write = Callable[..., Path]


def test_a_folder_that_the_target_changes_to_is_its_own(target: Write, here: Path) -> None:
    (here / "inner").mkdir()
    (here / "inner" / "size.txt").write_text("6")
    moves = """
import os
os.chdir("inner")
def example_inputs():
    return torch.zeros(1, int(open("size.txt").read()))
"""
    loaded = load_target(str(target(moves).name))
    assert Path.cwd() == here
    assert loaded.example.summary() == "float32 1x6"


def test_defaults_of_torch_that_the_target_sets_are_its_own(target: Write) -> None:
    sets = """
torch.set_default_dtype(torch.float64)
torch.set_grad_enabled(False)
import warnings
warnings.simplefilter("error")
Net.forward = lambda self, x: self.head(self.stem(x)) * torch.ones(3)
example_inputs = (torch.zeros(1, 6),)
"""
    before = list(warnings.filters)
    loaded = load_target(str(target(sets)))
    assert torch.get_default_dtype() is torch.float32
    assert torch.is_grad_enabled()
    assert list(warnings.filters) == before
    traced = loaded.trace()
    assert traced.module(torch.zeros(1, 6, dtype=torch.float64)).dtype is torch.float64
    dtypes = {getattr(node.meta.get("val"), "dtype", None) for node in traced.flat.graph.nodes}
    assert torch.float32 not in dtypes


def test_a_command_line_of_the_targets_own_is_empty(target: Write) -> None:
    parses = """
import argparse
parser = argparse.ArgumentParser()
parser.add_argument("--width", type=int, default=8)
assert parser.parse_args().width == 8
"""
    given = list(sys.argv)
    load_target(str(target(parses)))
    assert sys.argv == given


@pytest.mark.parametrize(
    ("source", "remedy"),
    [
        (
            "import argparse\np = argparse.ArgumentParser()\np.add_argument('data')\np.parse_args()",
            "give every argument",
        ),
        ("import sys\nsys.exit('no data')", "must not exit"),
        ("exit()", "must not exit"),
        ("raise RuntimeError('operator torchvision::nms does not exist')", "install the two together"),
        ("import no_such_library.models", "if no_such_library is a file of yours, put it beside the target file"),
        ("weights = open('weights.bin').read()", "it lies beside the target file: write Path(__file__).parent"),
        ("weights = open('absent.bin').read()", "it was looked for in"),
        ("import torch\ntorch.load(__file__)", "finds no checkpoint"),
        ("import torch\ntorch.save(torch.nn.Linear(2, 2), 'm.pt')\ntorch.load('m.pt')", "weights_only=False"),
        ("import torch\ntorch.zeros(1, device='cuda')", "--device cuda"),
        ("from .net import Net", "give it by its module's name"),
    ],
)
def test_an_error_of_the_target_says_its_line_and_what_to_do(
    here: Path, source: str, remedy: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    (here / "folder").mkdir()
    (here / "folder" / "weights.bin").write_text("1")
    (here / "folder" / "odd.py").write_text(source + "\n")
    with pytest.raises(TargetError, match=r"\(odd\.py, line \d+: ") as refused:
        load_target("folder/odd.py")
    assert remedy in str(refused.value)


def test_a_file_of_a_package_is_loaded_by_the_name_that_its_refusal_gives(here: Path, target: Write) -> None:
    (here / "pkg_of_target" / "sub").mkdir(parents=True)
    for folder in ("pkg_of_target", "pkg_of_target/sub"):
        (here / folder / "__init__.py").write_text("")
    target(name="pkg_of_target/net.py")
    (here / "pkg_of_target" / "sub" / "main.py").write_text("from ..net import example_inputs, model\n")
    with pytest.raises(TargetError, match=r"collabplan profile pkg_of_target\.sub\.main$"):
        load_target("pkg_of_target/sub/main.py")
    assert load_target("pkg_of_target.sub.main").example.summary() == "float32 1x6"


def test_what_stands_under_the_main_guard_is_told_to_move(target: Write) -> None:
    guarded = "\ndel example_inputs\nif __name__ == '__main__':\n    example_inputs = torch.zeros(1, 6)\n"
    with pytest.raises(TargetError, match="under if __name__ == '__main__' does not run here"):
        load_target(str(target(guarded)))


@pytest.mark.parametrize("name", ["model.ipynb", "model.toml"])
def test_a_file_that_is_no_python_is_not_taken_for_a_module(here: Path, name: str) -> None:
    (here / name).write_text("{}")
    with pytest.raises(TargetError, match=r"is no Python file; give path\.py"):
        load_target(name)


def test_a_file_in_another_encoding_says_so(here: Path) -> None:
    (here / "wide.py").write_bytes("x = 1\n".encode("utf-16"))
    with pytest.raises(TargetError, match="save the file as UTF-8"):
        load_target("wide.py")
