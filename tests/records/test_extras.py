"""An absent package is one line that names the extra which installs it."""

import tomllib
from pathlib import Path

import pytest
from collabplan.records.extras import EXTRAS, missing_package

PYPROJECT = Path(__file__).resolve().parents[2] / "pyproject.toml"


def test_the_line_names_the_package_and_its_extra() -> None:
    error = missing_package(ModuleNotFoundError(name="grpc_health.v1"))
    assert str(error) == (
        "this needs grpcio-health-checking, which is not installed; run: pip install 'collabplan[server]'"
    )


@pytest.mark.parametrize("name", [None, "numpy", "my_own_module", "optuna_dashboard"])
def test_a_module_that_no_extra_brings_is_not_claimed(name: str | None) -> None:
    assert missing_package(ModuleNotFoundError(name=name)) is None


@pytest.mark.parametrize("module", EXTRAS)
def test_each_extra_really_lists_its_package(module: str) -> None:
    package, extra = EXTRAS[module]
    listed = tomllib.loads(PYPROJECT.read_text())["project"]["optional-dependencies"][extra]
    assert any(line.startswith((f"{package}>=", f"{package}[")) for line in listed)
