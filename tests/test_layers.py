"""No module imports itself by way of others: imports inside functions and under TYPE_CHECKING count too."""

from __future__ import annotations

import ast
import graphlib
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import pytest
from collabplan import FLOORS

ROOT = Path(__file__).resolve().parents[1]
MODULES = {
    ".".join(("collabplan", *file.relative_to(ROOT).with_suffix("").parts)).removesuffix(".__init__"): file
    for floor in FLOORS
    for file in (ROOT / floor).rglob("*.py")
}


def imported(module: str) -> Iterator[str]:
    """The modules of ours that `module` names in an import; a public name stands for the module that defines it."""
    file = MODULES[module]
    package = module if file.name == "__init__.py" else module.rpartition(".")[0]
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if not isinstance(node, ast.ImportFrom) or not node.level:
            continue
        parts = package.split(".")
        base = ".".join([*parts[: len(parts) - node.level + 1], *filter(None, [node.module])])
        for alias in node.names:
            yield from defining(base, alias.name)


def defining(base: str, name: str) -> Iterator[str]:
    """Where `from base import name` finds the name."""
    if f"{base}.{name}" in MODULES:
        yield f"{base}.{name}"
    elif base in MODULES and MODULES[base].name == "__init__.py":
        homes = getattr(import_module(base), "_HOMES", {})
        yield f"{base}.{homes[name]}" if name in homes else base
    elif base in MODULES:
        yield base


def test_no_module_imports_itself_by_way_of_others() -> None:
    # A floor's `__init__.py` imports its modules; they import one another, never the floor.
    graph = {module: set(imported(module)) for module, file in MODULES.items() if file.name != "__init__.py"}
    try:
        graphlib.TopologicalSorter(graph).prepare()
    except graphlib.CycleError as error:
        pytest.fail("a circle of imports: " + " <- ".join(error.args[1]))


def test_only_the_command_line_and_its_tests_import_it() -> None:
    tops = [top for top in ROOT.iterdir() if top.name not in ("cli", ".venv", "build", "bench-env", "demo")]
    outside = [
        file
        for top in tops
        for file in ([top] if top.suffix == ".py" else top.rglob("*.py"))
        if file.relative_to(ROOT).parts[:2] != ("tests", "cli")
    ]
    assert len(outside) > 100
    importing = {str(file.relative_to(ROOT)) for file in outside if "collabplan.cli" in imports_of(file)}
    assert importing == {"__main__.py", "benchmarks/kill_child.py"}, "`python -m collabplan`, and a benchmark of it"


def imports_of(file: Path) -> set[str]:
    """The packages of ours that `file` names in an import."""
    found = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {".".join(alias.name.split(".")[:2]) for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names = [node.module or "", *(f"{node.module}.{alias.name}" for alias in node.names)]
            found |= {".".join(name.split(".")[:2]) for name in names}
            found |= {"collabplan.cli" for name in names if node.level and name.split(".")[0] == "cli"}
            found |= {"collabplan.cli" for alias in node.names if node.level and alias.name == "cli"}
    return found
