"""`optimize --storage` and `worker` on a real PostgreSQL, from two working directories."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import postgres
import pytest
from command_line import Run
from target_files import DATA, NET

SEARCH = ("--budget-ms", "5000", "--max-accuracy-drop", "1", "--trials", "6", "--draws", "1", "--no-audit")


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with postgres.running() as found:
        yield found


def test_a_worker_joins_from_another_folder(
    url: str, here: Path, run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> None:
    (here / "model.py").write_text(NET.replace("return Net()", "torch.manual_seed(0)\n    return Net()") + DATA)
    run("profile", "model.py", "--seconds", "0.3", "--threads", "1")
    first = run("optimize", *SEARCH, "--storage", url, "--json")
    assert first.code == 0
    assert first.document["trials"] == 6
    name = first.document["study"]

    resumed = run("optimize", *SEARCH, "--storage", url, "--json").document
    assert (resumed["study"], resumed["reused"]) == (name, 6)
    assert resumed["front"] == first.document["front"]

    elsewhere = tmp_path_factory.mktemp("elsewhere")
    (elsewhere / "model.py").write_text((here / "model.py").read_text())
    monkeypatch.chdir(elsewhere)
    monkeypatch.setenv("COLLABPLAN_STORAGE", url)
    assert f"{name} is complete: 6 candidates, 0 of them measured here" in run("worker", name).out
    (elsewhere / "model.py").write_text((here / "model.py").read_text().replace("manual_seed(0)", "manual_seed(1)"))
    ran = run("worker", name)
    assert ran.code == 2
    assert "weights was" in ran.err
    assert "has no study 'search-99'" in run("worker", "search-99").err


def test_a_worker_without_a_database_is_told_what_to_give(run: Run) -> None:
    assert "give --storage URL, or set COLLABPLAN_STORAGE" in run("worker", "search-1").line
