"""What a terminal cannot show, and what a file or a number should not hold, is one line or is shown otherwise."""

from __future__ import annotations

import io
import json
import sys
from pathlib import Path
from typing import Any

import pytest
from bundle_plans import SkipNet, crossing, images, make
from collabplan.cli.main import main
from collabplan.records import Plan, save
from command_line import Run

HOSTILE = "\x1b[2J\x1b]0;title\x07größer \u202eab"


@pytest.fixture
def plan(here: Path) -> Plan:
    """A plan in plan.json whose texts are not for terminals."""
    made = make(SkipNet(), images, crossing("relu", "conv2d_1")).plan
    hostile = made.chosen.model_copy(update={"cut_name": HOSTILE})
    written = made.model_copy(update={"headline": HOSTILE, "cut_name": HOSTILE, "chosen": hostile, "front": (hostile,)})
    save(written, here / "plan.json")
    return written


@pytest.mark.usefixtures("plan")
@pytest.mark.parametrize("command", ["front", "explain"])
def test_an_ascii_terminal_shows_what_it_can(monkeypatch: pytest.MonkeyPatch, command: str) -> None:
    for as_json in ((), ("--json",)):
        streams = [io.TextIOWrapper(io.BytesIO(), encoding="ascii", write_through=True) for _ in range(2)]
        monkeypatch.setattr(sys, "stdout", streams[0])
        monkeypatch.setattr(sys, "stderr", streams[1])
        with pytest.raises(SystemExit) as stop:
            main((command, "plan.json", *as_json))
        out, err = (stream.buffer.getvalue().decode("ascii") for stream in streams)
        assert stop.value.code == 0, err
        if as_json and command == "front":
            assert json.loads(out)["rows"][0]["cut_name"] == HOSTILE


@pytest.mark.usefixtures("plan")
@pytest.mark.parametrize("command", ["front", "explain"])
def test_escapes_in_a_plan_do_not_reach_the_terminal(run: Run, command: str) -> None:
    ran = run(command, "plan.json")
    assert ran.code == 0, ran.err
    assert "?" in ran.out
    assert all(letter.isprintable() or letter == "\n" for letter in ran.out + ran.err)


@pytest.mark.parametrize("file", ["/etc/hostname", "../other.safetensors", "..", "a/b", "a\x1b[2J"])
def test_a_plan_that_names_a_file_elsewhere_is_refused(run: Run, here: Path, plan: Plan, file: str) -> None:
    document: dict[str, Any] = json.loads(plan.model_dump_json())
    document["tuned_weights"] = {"file": file, "sha256": "0" * 64}
    (here / "plan.json").write_text(json.dumps(document))
    for command in (("verify",), ("front",), ("bundle", "-o", "made")):
        ran = run(*command, "plan.json")
        assert ran.code == 2
        assert "is not the name of a file beside the plan" in ran.line
        assert ran.line.isprintable()


@pytest.mark.parametrize("value", ["inf", "nan", "-inf", "1e400"])
@pytest.mark.parametrize(
    ("command", "option"),
    [
        (("infer", "bundle", "--data", "x.npy"), "--timeout-s"),
        (("infer", "bundle", "--data", "x.npy"), "--near"),
        (("serve", "bundle"), "--grace-s"),
        (("serve", "bundle"), "--micro-batch-wait-ms"),
        (("link", "127.0.0.1:1", "--bundle", "b" * 64), "--seconds"),
        (("front", "plan.json"), "--budget-ms"),
    ],
)
def test_a_number_that_is_none_is_refused(run: Run, command: tuple[str, ...], option: str, value: str) -> None:
    ran = run(*command, option, value)
    assert ran.code == 2
    assert option in ran.line


@pytest.mark.parametrize(
    ("command", "option", "value"),
    [
        ("infer", "--timeout-s", "1e9"),
        ("infer", "--threads", "100000"),
        ("serve", "--grace-s", "1e300"),
        ("serve", "--idle-s", "1e300"),
        ("serve", "--concurrency", "100000"),
        ("serve", "--threads", "100000"),
        ("serve", "--max-streams", "1000000"),
        ("serve", "--queue", "1" + "0" * 40),
        ("serve", "--max-batch", "1" + "0" * 40),
    ],
)
def test_a_number_beyond_any_machine_is_refused(run: Run, command: str, option: str, value: str) -> None:
    ran = run(command, "bundle", *(("--data", "x.npy") if command == "infer" else ()), option, value)
    assert ran.code == 2
    assert option in ran.line
