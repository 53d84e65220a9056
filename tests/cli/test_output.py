"""What a command says of its progress where there is no terminal."""

from __future__ import annotations

import itertools
import time

import pytest
from collabplan.cli.output import Output


def test_without_a_terminal_a_counted_step_says_once_a_minute_how_far_it_is(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    clock = itertools.count(0, 20)
    monkeypatch.setattr(time, "monotonic", lambda: float(next(clock)))
    with Output().progress("searching", counted=True) as advance:
        for done in range(1, 10):
            advance(done, 10, f"layer{done}")
    assert capsys.readouterr().err.splitlines() == [
        "searching: 30 % after 1 min, about 2 min left (layer3)",
        "searching: 60 % after 2 min, about 1 min left (layer6)",
        "searching: 90 % after 3 min, about 1 min left (layer9)",
    ]


@pytest.mark.parametrize("counted", [True, False])
def test_without_a_terminal_a_step_that_advances_nothing_says_that_it_still_runs(
    counted: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("collabplan.cli.output.LINE_S", 0.05)
    with Output().progress("attacking", counted=counted) as advance:
        advance(0, 2, "shadow-other")
        time.sleep(0.3)
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "attacking: after 1 min" + " (shadow-other)" * counted
    assert len(lines) >= 2


def test_without_a_terminal_a_sentence_is_one_line_unless_columns_says_how_wide_lines_are(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    sentence = "a sentence " * 20
    monkeypatch.delenv("COLUMNS", raising=False)
    Output().say(sentence)
    assert capsys.readouterr().out.splitlines() == [sentence]
    monkeypatch.setenv("COLUMNS", "80")
    Output().say(sentence)
    assert max(map(len, capsys.readouterr().out.splitlines())) <= 80


def test_a_short_step_says_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    with Output().progress("searching", counted=True) as advance:
        advance(1, 2, "[bold]layer\x1b[31m")
    assert capsys.readouterr().err == ""
