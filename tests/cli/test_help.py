"""Help answers at once, ends in worked examples, and fits the terminal."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest
from collabplan.cli.catalogue import COMMANDS as CATALOGUE
from collabplan.cli.options import unwrapped
from command_line import Run

COMMANDS = [
    "",
    "profile",
    "optimize",
    "worker",
    "front",
    "explain",
    "split",
    "bundle",
    "export",
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


def test_interruption_is_one_clean_line(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("collabplan.workflows.session.load_target", stop)
    ran = run("profile", "model.py")
    assert ran.code == 130
    assert "interrupted" in ran.line


def test_help_of_optimize_fits_on_two_screens(run: Run) -> None:
    shown = run("optimize", "--help").out.rstrip()
    assert len(shown.splitlines()) <= 100
    assert "--draws" not in shown


def test_help_all_shows_the_rare_options_too(run: Run) -> None:
    shown = run("optimize", "--help-all").out
    for rare in ("--draws", "--sampler", "--max-linkage", "--storage", "--joules-per-mb", "--batch-dim"):
        assert rare in shown
    assert max(len(line) for line in shown.splitlines()) <= 80


@pytest.mark.parametrize("name", [name for name in CATALOGUE if name != "cache"])
def test_the_summary_of_a_command_is_the_first_sentence_of_its_help(name: str) -> None:
    about = unwrapped(getattr(import_module(f"collabplan.cli.{name}"), name)).replace("\\[", "[")
    assert about.startswith(CATALOGUE[name].summary)


def test_the_first_page_lists_every_command(run: Run) -> None:
    shown = run("--help").out
    assert all(f"\n  {name} " in shown for name in CATALOGUE)


def test_the_first_page_is_printed_without_typer() -> None:
    code = (
        "import sys\nfrom collabplan.cli.main import main\n"
        "try:\n    main(['--help'])\nexcept SystemExit: pass\n"
        "heavy = {'typer', 'rich', 'pydantic', 'torch'} & set(sys.modules)\n"
        "sys.exit(f'imported {heavy}' if heavy else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_a_configured_value_of_a_rare_option_counts(run: Run, here: Path) -> None:
    (here / "collabplan.toml").write_text('[optimize]\nbudget-ms = 50\nsampler = "best"\n')
    read, failure = run("optimize", "model.py").err.splitlines()
    assert read == f"collabplan: defaults from {here / 'collabplan.toml'}"
    assert "'best' is not one of" in failure
