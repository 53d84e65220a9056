"""`optimize --preset`: on the command line and in the configuration; an option that is given overrides it."""

from __future__ import annotations

from pathlib import Path

import pytest
from collabplan.records import CollabplanError
from collabplan.workflows import optimize as searching
from collabplan.workflows.options import OptimizeOptions
from command_line import Ran, Run


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[OptimizeOptions]:
    """What searches were asked for; none is run."""
    found: list[OptimizeOptions] = []

    def search(target: object, inputs: object, options: OptimizeOptions, *_: object) -> None:  # noqa: ARG001
        found.append(options)
        raise CollabplanError("stopped")

    monkeypatch.setattr(searching, "search_plan", search)
    return found


def shown(options: OptimizeOptions) -> tuple[bool, int | None, str]:
    return options.audit.audit, options.search.trials, options.search.time_limit


@pytest.mark.usefixtures("here")
def test_one_word_is_enough_and_single_options_override_it(run: Run, asked: list[OptimizeOptions]) -> None:
    def optimize(*words: str) -> Ran:
        return run("optimize", "model.py", "--budget-ms", "50", *words)

    assert "preset look: --no-audit --trials 30 --draws 5 --time-limit 90s" in optimize("--preset", "look").out
    optimize("--preset", "look", "--trials", "5", "--audit")
    assert "preset" not in optimize().out
    optimize("--preset", "signoff")
    assert [shown(each) for each in asked] == [
        (False, 30, "90s"), (True, 5, "90s"), (True, None, "15m"), (True, None, "none"),
    ]  # fmt: skip
    assert "look" in optimize("--preset", "fast").err


def test_a_configuration_sets_the_preset_and_what_overrides_it(
    here: Path, run: Run, asked: list[OptimizeOptions]
) -> None:
    (here / "collabplan.toml").write_text('[optimize]\nbudget-ms = 50\npreset = "look"\ntrials = 5\n')
    run("optimize", "model.py")
    run("optimize", "model.py", "--preset", "signoff", "--time-limit", "2h")
    assert [shown(each) for each in asked] == [(False, 5, "90s"), (True, 5, "2h")]


@pytest.mark.usefixtures("here", "asked")
def test_a_budget_that_only_attacks_can_check_is_refused(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    ran = run("optimize", "model.py", "--budget-ms", "50", "--preset", "look", "--max-linkage", "0.5")
    assert "leave out --no-audit or --preset look" in ran.err
