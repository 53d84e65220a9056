"""What is kept in `.collabplan`: ignored by git, found again, cleared on request."""

from __future__ import annotations

import json
import os
import re
import stat
import subprocess
from pathlib import Path

import pytest
from collabplan.attacks.ridge import KernelRidge
from collabplan.records import CollabplanError
from collabplan.workflows.cache import clear, entries
from collabplan.workflows.workspace import Workspace
from command_line import PROFILE, SEARCH, Run, ran_in
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


def test_what_a_killed_process_was_writing_there_is_cleared(here: Path) -> None:
    (here / ".collabplan" / "audits").mkdir(parents=True)
    (here / ".collabplan" / "audits" / ".a.safetensors.abcd_123.tmp").touch()
    Workspace.here().prepare()
    assert [path.name for path in (here / ".collabplan").rglob("*") if path.is_file()] == [".gitignore"]


def test_a_profile_whose_maker_was_killed_before_it_was_the_last_is_found(run: Run, here: Path) -> None:
    ran_in(here, PROFILE)
    last, other = here / ".collabplan" / "last-profile", here / ".collabplan" / "profiles" / "other.json"
    known = last.read_text()
    other.write_text("{}")
    for left in (None, "profiles/other.json\n", "profiles/gone.json\n"):
        last.unlink() if left is None else last.write_text(left)
        ran = run("optimize", "model.py", *SEARCH)
        assert ran.code == 0, ran.err
        assert "profiling it now" not in ran.out
        assert last.read_text() == known


@pytest.mark.skipif(os.name == "nt", reason="Windows has no mode bits")
def test_the_folder_is_its_users_alone(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (here / ".collabplan").mkdir(mode=0o755)
    Workspace.here().prepare()
    assert stat.S_IMODE((here / ".collabplan").stat().st_mode) == 0o700
    owner = (here / ".collabplan").stat().st_uid
    if owner == 0:
        os.chown(here / ".collabplan", 1234, -1)
    else:
        monkeypatch.setattr(os, "geteuid", lambda: owner + 1)
    with pytest.raises(CollabplanError, match="belongs to another user"):
        Workspace.here().prepare()


@pytest.mark.skipif(os.name == "nt", reason="Windows has no mode bits")
@pytest.mark.parametrize("command", [("cache", "list"), ("cache", "clear"), ("optimize", "--budget-ms", "5")])
def test_every_command_that_looks_into_it_closes_it(run: Run, here: Path, command: tuple[str, ...]) -> None:
    (here / ".collabplan").mkdir()
    (here / ".collabplan").chmod(0o755)
    run(*command)
    assert stat.S_IMODE((here / ".collabplan").stat().st_mode) == 0o700


def filled(here: Path) -> Workspace:
    workspace = Workspace(here / ".collabplan")
    folder = workspace.prepare()
    (folder / "activations").mkdir()
    (folder / "activations" / "x.safetensors").write_bytes(b"0" * 100)
    (folder / "profiles").mkdir()
    for name in ("study.db", "study.db-journal", "last-profile", "lock"):
        (folder / name).touch()
    return workspace


def test_clear_drops_caches_and_with_all_everything(here: Path) -> None:
    workspace = filled(here)
    assert [entry.name for entry in clear(workspace)] == ["activations"]
    assert {entry.name for entry in entries(workspace)} == {
        "profiles",
        "study.db",
        "study.db-journal",
        "last-profile",
        "lock",
    }
    clear(workspace, everything=True)
    assert entries(workspace) == []


def test_nothing_is_cleared_under_a_running_optimize(here: Path) -> None:
    workspace = filled(here)
    with FileLock(workspace.folder / "lock"), pytest.raises(CollabplanError, match="another"):
        clear(workspace, everything=True)
    assert (workspace.folder / "study.db").exists()


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


def kept(folder: Path, name: str, **document: object) -> Path:
    """A finished result that says by which revisions it was made, or does not."""
    file = folder / "audits" / name
    file.parent.mkdir(exist_ok=True)
    file.write_text(json.dumps(document))
    return file


def test_outdated_results_are_listed_and_cleared_alone(here: Path, run: Run) -> None:
    folder = filled(here).folder
    current = kept(folder, "current.json", revisions={"attack:kernel": KernelRidge.revision}, figures={})
    older = kept(folder, "older.json", revisions={"attack:kernel": 0}, figures={})
    silent = kept(folder, "silent.json", figures={})
    gone = kept(folder, "gone.json", revisions={"attack:removed": 1}, figures={})
    rows = {row["name"]: row for row in run("cache", "list", "--json").document["entries"]}
    assert rows["audits"]["outdated"] == 3
    assert re.search(r"^audits +[\d.<]+ +3 ", run("cache", "list").out, re.M)
    assert run("cache", "clear", "--outdated", "--json").document["removed"] == ["activations", "audits"]
    assert [file.exists() for file in (current, older, silent, gone)] == [True, False, False, False]
    assert (folder / "study.db").exists()
    assert run("cache", "clear", "--outdated", "--json").document["removed"] == []
    assert "exclude one another" in run("cache", "clear", "--outdated", "--all").line


def test_a_raised_revision_makes_a_kept_result_outdated(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    workspace = filled(here)
    kept(workspace.folder, "kernel.json", revisions={"attack:kernel": KernelRidge.revision}, figures={})
    assert {entry.name: entry.outdated for entry in entries(workspace)}["audits"] == 0
    monkeypatch.setattr(KernelRidge, "revision", KernelRidge.revision + 1)
    assert {entry.name: entry.outdated for entry in entries(workspace)}["audits"] == 1


def test_results_of_a_stage_that_a_target_brings_are_left_alone(here: Path) -> None:
    workspace = filled(here)
    kept(workspace.folder, "mine.json", revisions={"stage:mine": 3, "source:mine": 17}, figures={})
    assert {entry.name: entry.outdated for entry in entries(workspace)}["audits"] == 0
