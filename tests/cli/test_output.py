"""What a command says of its progress where there is no terminal."""

from __future__ import annotations

import io
import itertools
import re
import time

import pytest
from collabplan.cli.output import Output
from rich.console import Console


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


@pytest.fixture
def terminal() -> Output:
    """An output whose streams are one terminal of 80 columns."""
    output, screen = Output(), io.StringIO()
    output.results = type(output.results)(file=screen, force_terminal=True, width=80, highlight=False)
    output.stderr = Console(file=screen, force_terminal=True, width=80, highlight=False)
    return output


def screen_of(output: Output) -> str:
    """What was written to the terminal, colours left out."""
    assert isinstance(output.stderr.file, io.StringIO)
    return re.sub(r"\x1b\[[\d;]*m", "", output.stderr.file.getvalue())


def test_on_a_terminal_a_bar_shows_the_time_elapsed_also_while_one_part_takes_minutes(terminal: Output) -> None:
    with terminal.progress("attacking", counted=True) as advance:
        advance(0, 1, "layer3.1.add: shadow-other")
        time.sleep(2.5)
    lines = re.findall(r"attacking .*", screen_of(terminal))
    assert any("0:00:01" in line for line in lines)
    assert any("0:00:02" in line for line in lines)
    assert all("layer3.1.add: shadow-other" in line and "left" not in line for line in lines)


def test_a_long_name_leaves_the_bar_and_the_times_their_room(terminal: Output, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("collabplan.cli.output.PATIENCE_S", 0.0)
    with terminal.progress("certifying", counted=True) as advance:
        advance(1, 3, "encoder.layers.11.attention + encoder.layers.11 (seed 2): shadow-other, 10 releases")
    (line,) = set(re.findall(r"certifying .*", screen_of(terminal)))
    assert "33%" in line
    assert "0:00:00" in line
    assert line.rstrip().endswith("10 releases"), "which attack, of a name that is cut in its middle"


def test_on_a_terminal_nothing_is_drawn_while_something_is_timed(
    terminal: Output, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("collabplan.cli.output.BEAT_S", 0.02)
    with terminal.progress("profiling", counted=True, timed=True) as advance:
        advance(1, 2, "nodes")
        time.sleep(0.2)
        assert screen_of(terminal) == ""


def test_on_a_terminal_a_bar_makes_room_for_what_is_said(terminal: Output, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("collabplan.cli.output.BEAT_S", 0.02)
    with terminal.progress("attacking", counted=True) as advance:
        advance(1, 2, "layer1: ridge")
        time.sleep(0.2)
        terminal.say("layer1: white-box index 0.9")
        time.sleep(0.2)
    before, _, after = screen_of(terminal).partition("layer1: white-box index 0.9\n")
    assert before.endswith("\x1b[1A\x1b[2K"), "the bar's line is cleared"
    assert "attacking" in after, "and the bar comes back below"


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
