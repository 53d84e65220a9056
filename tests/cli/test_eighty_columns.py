"""What every command prints fits 80 columns: no line is longer, no row of a table is wrapped, every mark is explained.

Commands that compute for long are given hand-made results with the longest names and figures; the others run.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import report_plans
import wide_records as wide
from collabplan.cli import serve as serving
from collabplan.cli.catalogue import COMMANDS
from collabplan.cli.marks import MARKS
from collabplan.cli.output import Output
from collabplan.cli.tables import fits
from collabplan.planner.plan_record import ChosenPlan
from collabplan.records import save
from collabplan.workflows.attack import Attacked
from collabplan.workflows.cache import Entry
from collabplan.workflows.certify import Certified
from collabplan.workflows.worker import Joined
from command_line import PROFILE, SEARCH, Ran, Run
from rich.console import RenderableType
from rich.table import Table
from target_files import DATA, NET

WIDTH = 80
Patch = pytest.MonkeyPatch


@pytest.fixture
def tables(monkeypatch: Patch) -> list[Table]:
    """Every table that is shown from here on."""
    found: list[Table] = []
    show = Output.show

    def shown(output: Output, *renderables: RenderableType) -> None:
        found.extend(each for each in renderables if isinstance(each, Table))
        show(output, *renderables)

    monkeypatch.setattr(Output, "show", shown)
    return found


def require_narrow(ran: Ran, tables: list[Table]) -> None:
    """Refuse long lines, wrapped rows and wrapped titles."""
    long = [line for line in (ran.out + ran.err).splitlines() if len(line) > WIDTH]
    assert long == []
    for line in ran.out.splitlines():
        assert not line.startswith("next: ") or line.endswith(")") == ("(" in line), f"wrapped: {line}"
    for table in tables:
        if any(str(column.header) for column in table.columns):  # without heads it is a list of sentences
            assert fits(table, WIDTH), f"a row of {table.title} is wrapped or cut off"
        for line in str(table.title or "").splitlines():
            assert line in map(str.rstrip, ran.out.splitlines()), f"the title {line!r} is wrapped"


def profile(run: Run, patch: Patch) -> Ran:
    patch.setattr("collabplan.workflows.profile.profile_target", lambda *_: (wide.profile(), Path("profile.json")))
    return run("profile", "model.py")


def optimize(run: Run, patch: Patch) -> Ran:
    def search(*arguments: Any) -> Any:
        arguments[-1](ChosenPlan(wide.plan(), None, None))
        return wide.searched(wide.plan())

    patch.setattr("collabplan.workflows.optimize.search_plan", search)
    return run("optimize", "model.py", "--budget-ms", "50", "--preset", "look", "-o", "made.json")


def leakage(run: Run, patch: Patch) -> Ran:
    patch.setattr("collabplan.workflows.leakage.measure_leakage", lambda *_: wide.leakage_report())
    return run("leakage", "model.py")


def controls(run: Run, patch: Patch) -> Ran:
    patch.setattr("collabplan.workflows.leakage.run_controls", lambda *_, **__: wide.controls()[::2])
    return run("leakage", "--controls")


def attack(run: Run, patch: Patch) -> Ran:
    patch.setattr("collabplan.workflows.attack.attack", lambda *_: Attacked(wide.audit_report(), ()))
    return run("attack", "model.py")


def certify(run: Run, patch: Patch) -> Ran:
    patch.setattr("collabplan.workflows.certify.certify_plan", lambda *_: Certified(wide.plan(), (), ()))
    return run("certify", "plan.json")


def verify(run: Run, patch: Patch) -> Ran:
    patch.setattr("collabplan.workflows.planned.open_plan", lambda *_, **__: SimpleNamespace(plan=wide.plan()))
    patch.setattr("collabplan.workflows.verify.verify_plan", lambda *_: wide.measured(wide.plan()))
    return run("verify", "plan.json")


def agreement(run: Run, patch: Patch) -> Ran:
    patch.setattr("collabplan.workflows.agreement.compare_reports", lambda *_: wide.agreement_report())
    return run("agreement", "leakage.json", "audit.json")


def link(run: Run, patch: Patch) -> Ran:
    patch.setattr("collabplan.workflows.link.measure_link_to", lambda *_, **__: wide.link_report())
    return run("link", "cloud.example:7433", "--bundle", "b" * 64)


def worker(run: Run, patch: Patch) -> Ran:
    patch.setattr("collabplan.workflows.worker.join_study", lambda *_: Joined("search-1", 200, 100))
    return run("worker", "search-1", "--storage", "postgresql+psycopg://db/plans")


def export(run: Run, patch: Patch) -> Ran:
    files = ("model-explorer/" + wide.LONG + ".json", "trace.json", "model.onnx")
    patch.setattr("collabplan.workflows.export.export_files", lambda *_, **__: SimpleNamespace(files=files, notes=()))
    return run("export", "plan.json", "-o", "figures")


def infer(run: Run, patch: Patch) -> Ran:
    found = SimpleNamespace(
        outputs=[0] * 1000, seconds=1234.5, bytes_sent=10**9, retries=1000, repeated=1000, fallbacks=1000, bundle_id="b"
    )
    patch.setattr("collabplan.workflows.infer.infer", lambda *_: found)
    return run("infer", "bundle", "--data", "x.npy", "-o", "outputs.json")


def serve(run: Run, patch: Patch) -> Ran:
    manifest = SimpleNamespace(part=SimpleNamespace(cut_name=wide.LONG), bundle_id="b" * 64)
    server = SimpleNamespace(
        part=SimpleNamespace(manifest=manifest),
        metrics_port=9100,
        address="127.0.0.1:7433",
        max_batch=8,
        counts=SimpleNamespace(answered=lambda: "1,000 requests"),
        stop=lambda _: True,
    )
    stopped = threading.Event()
    stopped.set()
    patch.setattr("collabplan.workflows.serve.start_server", lambda *_: server)
    patch.setattr("collabplan.workflows.serve.transport", lambda _: "plaintext, which every machine between can read")
    patch.setattr(serving, "_first_signal", lambda: stopped)
    return run("serve", "bundle")


def cache(run: Run, patch: Patch) -> Ran:
    rows = [Entry(name, 10**12, "trials of searches that can go on", True, 12345, 10**11)
            for name in ("activations", "last-profile")]  # fmt: skip
    patch.setattr("collabplan.workflows.cache.entries", lambda _: rows)
    return run("cache", "list")


MADE: dict[str, Callable[[Run, Patch], Ran]] = {
    each.__name__: each
    for each in (
        profile, optimize, leakage, controls, attack, certify, verify, agreement, link, worker, export, infer, serve,
        cache,
    )
}  # fmt: skip
READ = {
    "front": ("front", "plan.json"),
    "explain": ("explain", "plan.json"),
    "report": ("report", "plan.json"),
    "env": ("env",),
}
WHOLE_WAY = {
    "init": ("init", "template.py"),
    "split": ("split", "real.json", "-o", "halves"),
    "bundle": ("bundle", "real.json", "-o", "bundle"),
}


@pytest.fixture
def planned(here: Path) -> Path:
    """A folder with a plan of wide figures, an edge of its own for `report`."""
    save(wide.plan(), here / "plan.json")
    report_plans.write_gallery(here / ".collabplan" / "audits", report_plans.gallery(wide.plan().chosen), "one")
    return here


def test_every_command_is_here() -> None:
    assert {*MADE, *READ, *WHOLE_WAY} == {*COMMANDS, "controls"}


@pytest.mark.usefixtures("planned")
@pytest.mark.parametrize("command", list(MADE))
def test_what_a_command_finds_fits(run: Run, tables: list[Table], monkeypatch: Patch, command: str) -> None:
    ran = MADE[command](run, monkeypatch)
    assert ran.code == 0, ran.err
    require_narrow(ran, tables)


@pytest.mark.usefixtures("planned")
@pytest.mark.parametrize("command", list(READ))
def test_what_a_command_reads_fits(run: Run, tables: list[Table], command: str) -> None:
    ran = run(*READ[command])
    assert ran.code == 0, ran.err
    require_narrow(ran, tables)


def test_the_whole_way_fits(here: Path, run: Run, tables: list[Table]) -> None:
    (here / "model.py").write_text(NET + DATA)
    way = [PROFILE, ("optimize", *SEARCH, "--max-edge-params", "60", "-o", "real.json"), *WHOLE_WAY.values()]
    for command in way:
        tables.clear()
        ran = run(*command)
        assert ran.code == 0, ran.err
        require_narrow(ran, tables)


@pytest.mark.usefixtures("planned")
@pytest.mark.parametrize(
    ("command", "marks"),
    [("profile", "rin!"), ("optimize", ">xape"), ("leakage", "~"), ("attack", "≥?"), ("verify", "!")],
)
def test_one_legend_explains_every_mark_in_words(run: Run, monkeypatch: Patch, command: str, marks: str) -> None:
    said = " ".join(MADE[command](run, monkeypatch).out.split())
    assert said.count("marks: ") == 1
    legend = said.split("marks: ")[1]
    assert [f"{mark} {MARKS[mark]}" for mark in marks if f"{mark} {MARKS[mark]}" not in legend] == []


@pytest.mark.usefixtures("planned")
def test_a_table_that_leaves_rows_out_says_how_to_see_them(run: Run, monkeypatch: Patch) -> None:
    out = profile(run, monkeypatch).out
    assert "Candidate cuts, input to output (20 of 30); all: --json" in out
    assert "Most expensive nodes (8 of 12); all: --json" in out
    assert re.search(r"^\(16 of 40\); all: --json$", optimize(run, monkeypatch).out, re.M)
    assert "20 of 25 cuts; -o FILE holds all" in leakage(run, monkeypatch).out
