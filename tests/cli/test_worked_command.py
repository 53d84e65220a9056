"""The worked command of CONTRIBUTING.md runs as it stands there."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from types import ModuleType

import pytest
from bundle_plans import SkipNet, images, make, middle
from collabplan.cli.catalogue import COMMANDS, Command
from collabplan.records import save
from command_line import Run

CONTRIBUTING = Path(__file__).resolve().parents[2] / "CONTRIBUTING.md"
COMMAND = re.compile(r"^```python\n# workflows/payload\.py.*?\n(.*?)^```$", re.M | re.S)


def test_the_command_prints_what_a_plan_sends(run: Run, here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    command, found = ModuleType("payload"), COMMAND.search(CONTRIBUTING.read_text(encoding="utf-8"))
    assert found is not None
    monkeypatch.setitem(sys.modules, command.__name__, command)
    exec(compile(found[1], "payload.py", "exec", dont_inherit=True), vars(command))
    monkeypatch.setitem(sys.modules, "collabplan.cli.payload", command)
    summary = "Print how many bytes the device sends for one sample."
    monkeypatch.setitem(COMMANDS, "payload", Command("payload", summary))
    plan = make(SkipNet(), images, middle).plan
    save(plan, here / "plan.json")
    assert run("payload", "plan.json").out == f"{plan.chosen.payload_bytes} B\n"
    assert "collabplan payload plan.json" in run("payload", "--help").out
    absent = run("payload", "absent.json")
    assert absent.code == 2
    assert "absent.json" in absent.line
