"""`link` measures a running server, and `optimize --link` plans with it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from collabplan.records import LinkReport, Plan, load
from collabplan.runtime.shaping import Shape, ShapedLink
from command_line import Run
from serving import serving, written
from target_files import DATA


@pytest.fixture
def measured(here: Path, run: Run) -> Path:
    written(here / "bundle")
    # Behind a link that is slow: loopback itself is too fast to be told from nothing on a busy machine.
    slow = Shape.parse("20mbps,2ms")
    with serving(here / "bundle") as server, ShapedLink(server.address, slow) as link:
        ran = run("link", link.address, "--bundle", "bundle", "--seconds", "0.5", "--most", "64KiB", "--json")
    assert ran.code == 0, ran.err
    assert "echoes" in ran.err
    assert LinkReport.model_validate(ran.document) == load(LinkReport, here / "link.json")
    return here / "link.json"


def test_what_is_measured_is_planned_with(measured: Path, run: Run, target: Callable[..., Path]) -> None:
    target(DATA)
    run("profile", "model.py", "--seconds", "0.3", "--threads", "1")
    search = ("--budget-ms", "5000", "--max-accuracy-drop", "1", "--trials", "3", "--draws", "1", "--no-audit")
    ran = run("optimize", *search, "--link", "link.json")
    assert ran.code == 0, ran.err
    assert "measured by" in " ".join(ran.out.split())
    assert load(Plan, Path("plan.json")).link == load(LinkReport, measured).link


@pytest.mark.usefixtures("here")
def test_a_link_is_measured_or_declared(run: Run) -> None:
    refused = run("optimize", "--budget-ms", "50", "--link", "link.json", "--rtt", "15ms")
    assert refused.code == 2
    assert "leave --rtt out" in refused.line
    assert "does not exist" in run("optimize", "--budget-ms", "50", "--link", "link.json").line


@pytest.mark.usefixtures("here")
def test_no_server_and_no_address_are_one_line(run: Run) -> None:
    assert "does not echo" in run("link", "127.0.0.1:1", "--bundle", "b" * 64).line
    assert "is not an address" in run("link", "nowhere", "--bundle", "b" * 64).line
    assert "plaintext" in run("link", "192.0.2.1:7433", "--bundle", "b" * 64).line
    assert "holds no part of a bundle" in run("link", "127.0.0.1:1", "--bundle", ".").line
