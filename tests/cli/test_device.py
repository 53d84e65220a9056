"""`--device`: absent, it is refused in one line; there, everything runs on it, and what is kept is kept apart."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from collabplan.attacks import EFFORTS, Effort
from collabplan.records import LeakageReport, Plan, load
from command_line import PROFILE, Run, ran_in
from fake_device import fake_device

OPTIMIZE = ("optimize", "--budget-ms", "5000", "--max-accuracy-drop", "1", "--trials", "1", "--draws", "1")
ON_CUDA = ("--device", "cuda")
TRAIN = """
def train_data():
    return _rows(3, 80)
"""


@pytest.fixture(scope="module")
def profiled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder where model.py was profiled."""
    return ran_in(tmp_path_factory.mktemp("profiled"), PROFILE, extra=TRAIN)


@pytest.fixture
def ready(profiled: Path, here: Path, few_attacks: None, monkeypatch: pytest.MonkeyPatch) -> Path:  # noqa: ARG001
    """A copy of it as the working directory; few attacks with tiny efforts."""
    shutil.copytree(profiled, here, dirs_exist_ok=True)
    tiny = Effort("quick", 40, 60, 6, 3, 4, 8, False)
    monkeypatch.setitem(EFFORTS, "quick", tiny)
    monkeypatch.setattr("collabplan.attacks.SEARCHING", tiny)
    return here


@pytest.mark.usefixtures("ready")
@pytest.mark.parametrize(
    "command",
    [
        ("attack", "model.py"),
        ("leakage", "model.py", "--samples", "100"),
        OPTIMIZE,
        ("worker", "search-1", "--storage", "postgresql+psycopg://nobody@127.0.0.1:1/none"),
    ],
)
@pytest.mark.parametrize("device", ["cuda", "mps", "gpu"])
def test_a_device_that_is_absent_is_refused_in_one_line(
    run: Run, command: tuple[str, ...], device: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    monkeypatch.setattr("torch.backends.mps.is_available", lambda: False)
    ran = run(*command, "--device", device)
    assert ran.code == 2
    assert f"device {device!r}" in ran.err.splitlines()[-1]
    assert "cpu" in ran.err.splitlines()[-1]


def figures(report: LeakageReport) -> list[float]:
    return [each for row in report.rows for each in (row.leakage.index.value, row.leakage.index.high)]


@pytest.mark.usefixtures("ready")
def test_leakage_on_a_device_is_that_on_the_cpu_and_is_kept_apart(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    command = ("leakage", "model.py", "--samples", "100", "--defense", "dropout:element:0,0.6")
    assert run(*command, "-o", "cpu.json").code == 0
    with fake_device(monkeypatch) as device:
        ran = run(*command, "-o", "cuda.json", *ON_CUDA)
    assert ran.code == 0, ran.err
    assert device.ran
    assert "measured before" not in ran.err
    alone, found = (load(LeakageReport, Path(name)) for name in ("cpu.json", "cuda.json"))
    assert found.model == alone.model
    assert figures(found) == pytest.approx(figures(alone), abs=1e-3)


@pytest.mark.usefixtures("ready")
def test_a_search_tunes_and_attacks_on_the_device(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    searched = (*OPTIMIZE, "--max-edge-params", "60", "--finetune", "1", "--audits", "0", "--audit-effort", "quick",
                "--audit-seeds", "1")  # fmt: skip
    assert run(*searched).code == 0
    alone = load(Plan, Path("plan.json"))
    with fake_device(monkeypatch) as device:
        ran = run(*searched, *ON_CUDA, "-o", "cuda.json")
        assert ran.code == 0, ran.err
        assert device.ran
        assert "device was None, now meta" in " ".join(ran.out.split())
        found = load(Plan, Path("cuda.json"))
    assert found.cut_id == alone.cut_id
    assert found.chosen.accuracy == alone.chosen.accuracy
    assert found.chosen.leakage.index.value == pytest.approx(alone.chosen.leakage.index.value, abs=1e-3)
    assert found.chosen.audited is not None
    assert alone.chosen.audited is not None
    assert found.chosen.audited.figures.index.value == pytest.approx(alone.chosen.audited.figures.index.value, abs=1e-4)
