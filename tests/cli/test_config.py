"""Configuration from the nearest folder upwards; the command line wins."""

from __future__ import annotations

from pathlib import Path

import pytest
from collabplan.cli.config import Config, find_config
from collabplan.records import CollabplanError
from command_line import Run

COMMANDS = {"optimize": {"budget-ms": "budget_ms", "target": "target", "seed": "seed"}, "profile": {"target": "target"}}


def test_the_nearest_configuration_counts(here: Path) -> None:
    (here / "pyproject.toml").write_text("[tool.collabplan]\nseed = 1\n")
    inner = here / "a" / "b"
    inner.mkdir(parents=True)
    (here / "a" / "pyproject.toml").write_text("[project]\nname = 'no section of ours'\n")
    found = find_config(inner)
    assert found is not None
    assert (found.file, found.values["seed"]) == (here / "pyproject.toml", 1)
    (here / "a" / "collabplan.toml").write_text("seed = 2\n")
    nearer = find_config(inner)
    assert nearer is not None
    assert nearer.values["seed"] == 2


def test_keys_go_to_the_commands_that_have_them_and_tables_to_one(here: Path) -> None:
    (here / "model.py").touch()
    config = Config(here / "collabplan.toml", {"target": "model.py:net", "optimize": {"budget-ms": 50}})
    path = f"{here / 'model.py'}:net"
    assert config.defaults(COMMANDS) == {"optimize": {"target": path, "budget_ms": 50}, "profile": {"target": path}}


@pytest.mark.parametrize("values", [{"budget": 5}, {"optimize": {"budget-m": 5}}, {"profile": {"seed": 5}}])
def test_unknown_keys_are_refused(here: Path, values: dict[str, object]) -> None:
    with pytest.raises(CollabplanError, match="unknown key"):
        Config(here / "collabplan.toml", values).defaults(COMMANDS)


def test_a_configured_budget_counts_and_the_command_line_wins(run: Run, here: Path) -> None:
    (here / "collabplan.toml").write_text('bandwidth = "20"\n[optimize]\nbudget-ms = -1\n')
    assert "--budget-ms -1" in run("optimize").line
    assert "bandwidth '20' has no unit" in run("optimize", "--budget-ms", "50").line
    assert "no profile" in run("optimize", "--budget-ms", "50", "--bandwidth", "20mbps").line


def test_broken_configuration_is_one_line_and_help_still_works(run: Run, here: Path) -> None:
    (here / "collabplan.toml").write_text("bandwidth = ")
    assert "cannot be read" in run("env").line
    assert run("env").code == 2
    (here / "collabplan.toml").write_text("bandwith = '20mbps'")
    assert "did you mean 'bandwidth'?" in run("env").line


def test_a_configured_flag(run: Run, here: Path) -> None:
    (here / "collabplan.toml").write_text("json = true\n")
    assert run("env").document["collabplan"]
