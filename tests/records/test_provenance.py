"""How a record was made: git state, versions, and a command line without passwords."""

import subprocess
import sys
from pathlib import Path

from collabplan.records import collect_provenance, processor_name
from collabplan.records.provenance import git_state


def commit(folder: Path) -> str:
    """A checkout with one commit; its revision."""
    for command in (
        ["init", "-q"],
        ["add", "."],
        ["-c", "user.name=n", "-c", "user.email=e", "commit", "-q", "-m", "m"],
    ):
        subprocess.run(["git", "-C", str(folder), *command], check=True, capture_output=True, timeout=20)
    done = subprocess.run(
        ["git", "-C", str(folder), "rev-parse", "HEAD"], check=True, capture_output=True, text=True, timeout=20
    )
    return done.stdout.strip()


def test_the_git_state_of_the_models_folder_is_recorded(tmp_path: Path) -> None:
    (tmp_path / "model.py").write_text("model = 1\n")
    revision = commit(tmp_path)
    made = collect_provenance(target_file=tmp_path / "model.py", command=())
    assert (made.git_revision, made.git_dirty) == (revision, False)
    (tmp_path / "model.py").write_text("model = 2\n")
    assert git_state(tmp_path) == (revision, True)


def test_outside_a_checkout_there_is_no_git_state(tmp_path: Path) -> None:
    assert git_state(tmp_path / "absent") == (None, None)


def test_the_command_is_that_of_this_process_unless_given() -> None:
    assert collect_provenance().command == tuple(sys.argv)
    assert collect_provenance(command=("collabplan",), seed=3).seed == 3


def test_a_command_line_keeps_no_password() -> None:
    storage = "postgresql+psycopg://me:topsecret@db:5432/plans"
    other = "--storage=postgresql://db/plans?user=me&password=topsecret&sslmode=require"
    command = collect_provenance(command=("collabplan", "--storage", storage, other)).command
    assert "topsecret" not in " ".join(command)
    assert command[2] == "postgresql+psycopg://me:***@db:5432/plans"
    assert command[3].endswith("password=***&sslmode=require")


def test_the_processor_has_a_name() -> None:
    assert processor_name()
