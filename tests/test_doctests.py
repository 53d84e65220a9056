"""Every example in a docstring runs and shows what it says."""

import ast
import doctest
import importlib
from pathlib import Path

import collabplan
import pytest

ROOT = Path(collabplan.__file__).parent
OUTSIDE = {"bench-env", "benchmarks", "build", "demo", "dist", "docs", "examples", "tests"}


def with_examples() -> list[str]:
    """The modules of the package that have an example in a docstring."""
    found = []
    for file in sorted(ROOT.rglob("*.py")):
        parts = file.relative_to(ROOT).with_suffix("").parts
        if parts[0] in OUTSIDE or any(part.startswith(".") for part in parts):
            continue
        nodes = ast.walk(ast.parse(file.read_text()))
        documented = (ast.Module, ast.ClassDef, ast.FunctionDef)
        if any(isinstance(node, documented) and ">>> " in (ast.get_docstring(node) or "") for node in nodes):
            found.append(".".join(("collabplan", *parts)).removesuffix(".__init__"))
    return found


@pytest.mark.parametrize("name", with_examples())
def test_examples_show_what_happens(name: str) -> None:
    module = importlib.import_module(name)
    result = doctest.testmod(module, optionflags=doctest.ELLIPSIS)
    assert result.attempted > 0, "the example is not in a docstring that doctest finds"
    assert result.failed == 0


def test_public_functions_of_these_floors_have_an_example() -> None:
    lacking = [
        f"{floor}.{name}"
        for floor in ("graph", "profilers")
        for name in getattr(collabplan, floor).__all__
        if callable(found := getattr(getattr(collabplan, floor), name))
        and not isinstance(found, type)
        and hasattr(found, "__code__")
        and ">>>" not in (found.__doc__ or "")
    ]
    assert lacking == []
