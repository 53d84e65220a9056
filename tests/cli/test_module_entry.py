"""`python -m collabplan` is the command line."""

import runpy
import sys

import pytest


def test_the_package_runs_as_a_module(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys, "argv", ["/anywhere/collabplan/__main__.py", "--help"])
    with pytest.raises(SystemExit) as ended:
        runpy.run_module("collabplan", run_name="__main__")
    assert ended.value.code == 0
    assert "optimize" in capsys.readouterr().out
    assert sys.argv[0] == "collabplan"
