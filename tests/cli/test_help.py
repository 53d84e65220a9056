"""Help answers at once, ends in worked examples, and fits the terminal."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
from cli_targets import Run

COMMANDS = [
    "",
    "profile",
    "optimize",
    "worker",
    "front",
    "explain",
    "split",
    "bundle",
    "serve",
    "infer",
    "link",
    "verify",
    "leakage",
    "init",
    "env",
    "cache",
    "cache list",
    "cache clear",
]


@pytest.mark.parametrize("command", COMMANDS)
def test_every_help_ends_in_examples_and_fits_80_columns(run: Run, command: str) -> None:
    shown = run(*command.split(), "--help")
    assert shown.code == 0
    head, _, tail = shown.out.partition("Examples")
    assert "Usage" in head
    assert "collabplan" in tail
    assert max(len(line) for line in shown.out.splitlines()) <= 80


@pytest.mark.parametrize("command", ["", "profile", "optimize", "split", "bundle", "verify", "leakage"])
def test_help_says_that_loading_a_target_runs_it(run: Run, command: str) -> None:
    assert "runs its Python code" in " ".join(run(*command.split(), "--help").out.split()).replace("│ │ ", "")


def test_options_of_optimize_are_grouped(run: Run) -> None:
    shown = run("optimize", "--help").out
    for group in ("Budgets", "Network and devices", "Search", "Fine-tuning", "Audits", "Target", "Output"):
        assert f" {group} " in shown


def test_help_imports_nothing_heavy() -> None:
    code = (
        "import sys\nfrom collabplan.cli.main import main\n"
        "try:\n    main(['optimize', '--help'])\nexcept SystemExit: pass\n"
        "heavy = {'torch', 'numpy', 'optuna', 'sklearn', 'scipy', 'sqlalchemy'} & set(sys.modules)\n"
        "sys.exit(f'imported {heavy}' if heavy else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_version(run: Run) -> None:
    assert run("--version").out.startswith("collabplan 0.")


def test_shell_completion_proposes_options() -> None:
    environment = {
        **os.environ,
        "_COLLABPLAN_COMPLETE": "complete_bash",
        "COMP_WORDS": "collabplan optimize --budg",
        "COMP_CWORD": "2",
    }
    command = [sys.executable, "-c", "from collabplan.cli.main import main; main()"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert "--budget-ms" in done.stdout


def test_interruption_is_one_clean_line() -> None:
    code = (
        "import collabplan.cli.profile as p, collabplan.targets.target as t\n"
        "def stop(*_): raise KeyboardInterrupt\n"
        "t.load_target = stop\n"
        "from collabplan.cli.main import main\nmain(['profile', 'model.py'])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 130
    assert done.stderr.count("\n") == 1
    assert "interrupted" in done.stderr
