"""What is kept in `.collabplan`: ignored by git, found again, cleared on request."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from cli_targets import Run
from collabplan.cli.cache import clear, entries
from collabplan.cli.workspace import Workspace
from collabplan.records import CollabplanError
from filelock import FileLock


def test_the_folder_ignores_itself_in_git(here: Path) -> None:
    Workspace.here().prepare()
    (here / ".collabplan" / "study.db").touch()
    subprocess.run(["git", "init", "-q"], check=True)
    status = subprocess.run(["git", "status", "--porcelain"], capture_output=True, text=True, check=True)
    assert status.stdout == ""


def test_a_file_in_its_place_is_told(here: Path) -> None:
    (here / ".collabplan").touch()
    with pytest.raises(CollabplanError, match="is a file"):
        Workspace.here().prepare()


def filled(here: Path) -> Path:
    folder = Workspace(here / ".collabplan").prepare()
    (folder / "activations").mkdir()
    (folder / "activations" / "x.safetensors").write_bytes(b"0" * 100)
    (folder / "profiles").mkdir()
    for name in ("study.db", "study.db-journal", "last-profile", "lock"):
        (folder / name).touch()
    return folder


def test_clear_drops_caches_and_with_all_everything(here: Path) -> None:
    folder = filled(here)
    assert [row["name"] for row in clear(folder, everything=False)] == ["activations"]
    assert {row["name"] for row in entries(folder)} == {
        "profiles",
        "study.db",
        "study.db-journal",
        "last-profile",
        "lock",
    }
    clear(folder, everything=True)
    assert entries(folder) == []


def test_nothing_is_cleared_under_a_running_optimize(here: Path) -> None:
    folder = filled(here)
    with FileLock(folder / "lock"), pytest.raises(CollabplanError, match="another"):
        clear(folder, everything=True)
    assert (folder / "study.db").exists()


def test_list_and_clear_on_the_terminal(run: Run, here: Path) -> None:
    assert "empty or absent" in run("cache", "list").out
    filled(here)
    assert {row["name"] for row in run("cache", "list", "--json").document["entries"]} >= {"activations", "study.db"}
    assert "activations" in run("cache", "list").out
    assert run("cache", "clear", "--json").document["removed"] == ["activations"]


def test_env_says_what_a_bug_report_needs(run: Run) -> None:
    facts = run("env", "--json").document
    assert {"collabplan", "python", "platform", "torch", "cuda", "cores", "optuna"} <= set(facts)
    assert "torch" in run("env").out
