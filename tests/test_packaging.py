"""The wheel is complete, and what it imports is declared: both lists are kept by hand."""

import ast
import os
import re
import shutil
import subprocess
import sys
import tomllib
from functools import cache
from importlib import import_module
from pathlib import Path

import pytest
from collabplan.records.extras import EXTRAS
from forked import Forked

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
OUTSIDE = {"bench-env", "benchmarks", "build", "demo", "dist", "docs", "examples", "site", "tests"}
"""Folders at the top that are no part of the package. Hidden ones and *.egg-info are neither."""


def import_all(folder: Path, away: Path) -> None:
    """Import every module below `folder`, in a process where nothing of ours was imported, started in `away`."""
    os.chdir(away)
    for name in [name for name in sys.modules if name.partition(".")[0] == "collabplan"]:
        del sys.modules[name]
    sys.meta_path[:] = [finder for finder in sys.meta_path if "collabplan" not in repr(finder).lower()]
    elsewhere = {ROOT, ROOT.parent, away}
    sys.path[:] = [str(folder), *(place for place in sys.path if place and Path(place).resolve() not in elsewhere)]
    import collabplan

    assert Path(collabplan.__file__).is_relative_to(folder), collabplan.__file__
    for file in sorted(folder.glob("collabplan/**/*.py")):
        parts = file.relative_to(folder).with_suffix("").parts
        if parts[-1] != "__main__":
            module = import_module(".".join(parts[:-1] if parts[-1] == "__init__" else parts))
            assert Path(module.__file__ or "").is_relative_to(folder), module.__file__
    print("all of them")


def floors() -> list[Path]:
    return [
        path
        for path in ROOT.iterdir()
        if path.is_dir() and path.name not in OUTSIDE and not path.name.startswith(".") and path.suffix != ".egg-info"
    ]


def source_files() -> set[str]:
    """Every Python file of the package, relative to the root."""
    files = {file for floor in floors() for file in floor.rglob("*.py")}
    return {file.relative_to(ROOT).as_posix() for file in files} | {"__init__.py", "__main__.py"}


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that holds nothing but our wheel, installed without dependencies."""
    work = tmp_path_factory.mktemp("wheel")
    left_out = shutil.ignore_patterns(".*", "*.egg-info", "__pycache__", *OUTSIDE)
    shutil.copytree(ROOT, work / "source", ignore=left_out)
    run("-m", "build", "--wheel", "--no-isolation", "--outdir", str(work / "dist"), str(work / "source"))
    (wheel,) = (work / "dist").glob("*.whl")
    run("-m", "pip", "install", "--quiet", "--no-deps", "--no-index", "--target", str(work / "site"), str(wheel))
    return work / "site"


def run(*arguments: str, **options: object) -> None:
    done = subprocess.run([sys.executable, *arguments], capture_output=True, text=True, check=False, **options)  # type: ignore[call-overload]
    assert done.returncode == 0, done.stdout + done.stderr


def names(requirements: list[str]) -> set[str]:
    """`torch>=2.8` -> `torch`."""
    return {re.split(r"[^\w-]", line)[0] for line in requirements}


@cache
def imported_packages() -> dict[str, str]:
    """The third-party packages that the code imports, each with a file that does."""
    found: dict[str, str] = {}
    for file in source_files():
        for node in ast.walk(ast.parse((ROOT / file).read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                modules = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom) and not node.level and node.module:
                modules = [node.module]
            else:
                continue
            found |= {module.partition(".")[0]: file for module in modules}
    return {name: file for name, file in found.items() if name not in sys.stdlib_module_names}


def test_every_imported_package_is_a_dependency_or_comes_with_an_extra() -> None:
    imported = imported_packages()
    undeclared = set(imported) - names(PROJECT["dependencies"]) - set(EXTRAS)
    assert not undeclared, {name: imported[name] for name in undeclared}


def test_every_package_of_the_default_and_of_a_machines_extra_is_imported() -> None:
    used = set(imported_packages())
    assert names(PROJECT["dependencies"]) <= used
    packages = {package for module, (package, _) in EXTRAS.items() if module in used}
    for extra in ("plan", "device", "server"):
        assert names(PROJECT["optional-dependencies"][extra]) - {"collabplan"} <= packages


def test_the_table_of_dependencies_names_every_extra() -> None:
    table = (ROOT / "docs" / "design.md").read_text(encoding="utf-8")
    for extra, packages in PROJECT["optional-dependencies"].items():
        (row,) = re.findall(rf"^\| `collabplan\[{extra}\]` \|.*$", table, re.M)
        if extra not in ("dev", "docs"):
            assert all(name in row for name in names(packages) - {"collabplan"})
    (row,) = re.findall(r"^\| `collabplan` \|.*$", table, re.M)
    assert all(name in row for name in names(PROJECT["dependencies"]))


def test_the_list_of_packages_is_that_of_the_folders() -> None:
    listed = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"]
    folders = {Path(file).parent for file in source_files()}
    assert sorted(listed) == sorted(".".join(("collabplan", *folder.parts)) for folder in folders)


def test_every_folder_with_code_is_a_package() -> None:
    files = source_files()
    assert {str(Path(file).parent / "__init__.py") for file in files} <= files


def test_the_wheel_holds_every_file(installed: Path) -> None:
    held = {file.relative_to(installed / "collabplan").as_posix() for file in installed.glob("collabplan/**/*.py")}
    assert held == source_files()
    data = {"py.typed", "records/schemas/profile.schema.json", "records/schemas/plan.schema.json"}
    assert all((installed / "collabplan" / name).is_file() for name in data)


def test_the_wheel_adds_one_name_to_site_packages(installed: Path) -> None:
    names = {path.name for path in installed.iterdir() if path.suffix != ".dist-info"}
    assert names - {"bin"} == {"collabplan"}, "a top-level `cli` or `tests` would collide with other projects"


def test_every_module_imports_from_the_wheel_alone(installed: Path, tmp_path: Path) -> None:
    with Forked(import_all, installed, tmp_path) as child:
        assert child.output() == ["all of them"]
