"""The wheel is complete: the list of packages is kept by hand, so a floor could be left out."""

import os
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
OUTSIDE = {"bench-env", "benchmarks", "build", "demo", "dist", "docs", "examples", "tests"}
"""Folders at the top that are no part of the package. Hidden ones and *.egg-info are neither."""

IMPORT_ALL = """
import importlib, pathlib, sys
import collabplan
folder = pathlib.Path(sys.argv[1])
assert pathlib.Path(collabplan.__file__).is_relative_to(folder), collabplan.__file__
for file in sorted(folder.glob("collabplan/**/*.py")):
    parts = file.relative_to(folder).with_suffix("").parts
    if parts[-1] != "__main__":
        importlib.import_module(".".join(parts[:-1] if parts[-1] == "__init__" else parts))
"""


def floors() -> list[Path]:
    return [
        path
        for path in ROOT.iterdir()
        if path.is_dir() and path.name not in OUTSIDE and not path.name.startswith(".") and path.suffix != ".egg-info"
    ]


def source_files() -> set[str]:
    """Every Python file of the package, relative to the root."""
    files = {file for floor in floors() for file in floor.rglob("*.py")}
    return {file.relative_to(ROOT).as_posix() for file in files} | {"__init__.py"}


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
    run("-c", IMPORT_ALL, str(installed), cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(installed)})
