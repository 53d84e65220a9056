"""Faces are lazy: who needs little loads little. Each is imported with what it must not need blocked."""

import subprocess
import sys

import pytest

FLOORS = ("records", "graph", "profilers", "estimators", "planner", "runtime", "cli")
HEAVY = ("torch", "optuna", "sklearn", "scipy", "networkx", "matplotlib", "torchmetrics")

READ_RECORDS = """
import collabplan.records as records
for name in records.__all__:
    getattr(records, name)
try:
    records.load(records.Plan, "absent.json")
except records.RecordError:
    pass
"""

EDGE = """
from pathlib import Path
from collabplan.runtime import open_edge, open_cloud
from collabplan.estimators import Fresh, Keyed
from collabplan.records import RecordError
for opened in (open_edge, open_cloud):
    try:
        opened(Path("absent"))
    except RecordError:
        pass
"""

HELP = """
import sys
sys.argv = ["collabplan", "--help"]
from collabplan.cli.main import main
try:
    main()
except SystemExit as stop:
    assert not stop.code, stop.code
"""


def run_blocked(code: str, blocked: tuple[str, ...]) -> str:
    """Run `code` in a new process where importing any of `blocked` raises. Returns its output."""
    prologue = f"import sys; sys.modules.update(dict.fromkeys({blocked!r}))\n"
    done = subprocess.run([sys.executable, "-c", prologue + code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.parametrize(
    ("code", "blocked"),
    [
        pytest.param("import collabplan; collabplan.__version__; dir(collabplan)", HEAVY, id="collabplan"),
        pytest.param(READ_RECORDS, HEAVY, id="records"),
        pytest.param("import collabplan.graph", HEAVY, id="graph"),
        pytest.param("import collabplan.profilers", HEAVY, id="profilers"),
        pytest.param("import collabplan.estimators", HEAVY, id="estimators"),
        pytest.param("import collabplan.planner", HEAVY, id="planner"),
        pytest.param("import collabplan.runtime", HEAVY, id="runtime"),
        pytest.param(EDGE, tuple(name for name in HEAVY if name != "torch"), id="a device"),
        pytest.param("import collabplan.cli", HEAVY, id="cli"),
    ],
)
def test_a_face_is_imported_without(code: str, blocked: tuple[str, ...]) -> None:
    run_blocked(code, blocked)


def test_help_is_printed_without_torch() -> None:
    assert "optimize" in run_blocked(HELP, HEAVY)


@pytest.mark.parametrize("floor", FLOORS)
def test_a_face_has_every_name_that_it_promises(floor: str) -> None:
    check = "assert all(getattr(face, n) is not None and n in dir(face) for n in face.__all__) and face.__all__"
    run_blocked(f"from collabplan import {floor} as face\n{check}", ())


def test_a_name_that_a_face_lacks_is_an_attribute_error() -> None:
    for floor in FLOORS:
        run_blocked(f"import collabplan.{floor} as f; assert not hasattr(f, 'nonsense')", ())
