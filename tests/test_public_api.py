"""The public API is lazy: each floor is imported while the packages that it must not need are blocked."""

import configparser
import inspect
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest
from collabplan import FLOORS
from collabplan.records.extras import EXTRAS

ROOT = Path(__file__).resolve().parents[1]
PUBLIC = (
    "records",
    "graph",
    "profilers",
    "targets",
    "defenses",
    "estimators",
    "attacks",
    "planner",
    "runtime",
    "report",
    "workflows",
)
"""Floors with a public API."""

PLANNING = tuple(module for module, (_, extra) in EXTRAS.items() if extra == "plan")
SERVER = tuple(module for module, (_, extra) in EXTRAS.items() if extra == "server")
HEAVY = ("torch", "networkx", *PLANNING)

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
from collabplan.runtime import ClientTls, EdgeClient, ReleasePolicy, open_edge, open_cloud
from collabplan.defenses import Defense, Fresh, Keyed, ProjectionMatrices
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


ABSENT = """
import collabplan.planner
from collabplan.records import CollabplanError
try:
    collabplan.planner.open_store
except CollabplanError as error:
    print(error)
"""


@pytest.mark.parametrize("floor", FLOORS)
def test_a_floor_is_imported_without_torch_and_what_planning_needs(floor: str) -> None:
    run_blocked(f"import collabplan.{floor} as floor; dir(floor)", HEAVY)


@pytest.mark.parametrize(
    ("code", "blocked"),
    [
        pytest.param("import collabplan; collabplan.__version__; dir(collabplan)", HEAVY, id="the package"),
        pytest.param(READ_RECORDS, HEAVY, id="reading records"),
        pytest.param(EDGE, (*PLANNING, *SERVER), id="a device"),
    ],
)
def test_a_use_gets_along_without(code: str, blocked: tuple[str, ...]) -> None:
    run_blocked(code, blocked)


def test_help_is_printed_without_torch() -> None:
    assert "optimize" in run_blocked(HELP, HEAVY)


def test_a_name_whose_extra_is_absent_says_which_extra() -> None:
    assert "pip install 'collabplan[plan]'" in run_blocked(ABSENT, PLANNING)


@pytest.mark.parametrize("floor", PUBLIC)
def test_every_public_name_is_there_and_has_a_docstring_and_a_page(floor: str) -> None:
    api = import_module(f"collabplan.{floor}")
    assert sorted(api.__all__, key=str.lower) == sorted(set(api.__all__), key=str.lower)
    for name in api.__all__:
        value = getattr(api, name)
        assert name in dir(api)
        if inspect.isclass(value) or inspect.isfunction(value):
            assert inspect.getdoc(value), f"{floor}.{name} has no docstring"
    page = (ROOT / "docs" / "api" / f"{floor}.md").read_text(encoding="utf-8")
    assert f"::: collabplan.{floor}\n" in page


@pytest.mark.parametrize("floor", FLOORS)
def test_a_name_that_a_floor_lacks_is_an_attribute_error(floor: str) -> None:
    assert not hasattr(import_module(f"collabplan.{floor}"), "nonsense")


def test_the_contract_of_layers_names_every_floor() -> None:
    contracts = configparser.ConfigParser()
    contracts.read(ROOT / ".importlinter")
    layers = contracts["importlinter:contract:floors"]["layers"].replace("|", " ").split()
    assert sorted(layers) == sorted(FLOORS)
