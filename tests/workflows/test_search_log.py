"""`--log`: what MLflow and TensorBoard are told of a search. Small modules stand in for their packages."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import collabplan
import pytest
import report_plans as made
import torch
from collabplan.planner.problem import RuledOut, SearchResult
from collabplan.records import CollabplanError, Plan, load
from collabplan.workflows.options import (
    BudgetOptions,
    ConditionOptions,
    MachineSettings,
    OptimizeOptions,
    SearchSettings,
)
from collabplan.workflows.reporter import Silent
from collabplan.workflows.search_log import figures_of, labels_of, log_search, require_tracker
from collabplan.workflows.workspace import Workspace

PLAN = made.plan(chosen=made.candidate(audited=made.audited("quick", 1)))
OPTIONS = OptimizeOptions(
    budgets=BudgetOptions(budget_ms=50),
    conditions=ConditionOptions(edge_profile=Path("/home/somebody/edge.json")),
    search=SearchSettings(defense=("none", "projection:rank=96")),
    machines=MachineSettings(storage="postgresql+psycopg://user:secret@host/studies"),
)


class Heard:
    """A reporter that remembers notes and warnings."""

    def __init__(self) -> None:
        self.notes: list[str] = []
        self.warnings: list[str] = []

    def note(self, text: str) -> None:
        self.notes.append(text)

    def warning(self, text: str) -> None:
        self.warnings.append(text)


class Run:
    """One run of the stand-in for MLflow."""

    def __init__(self, name: str, parent: Run | None) -> None:
        self.name, self.parent = name, parent
        self.params: dict[str, str] = {}
        self.metrics: dict[str, float] = {}
        self.tags: dict[str, str] = {}
        self.texts: dict[str, str] = {}
        self.info = SimpleNamespace(run_id=f"id of {name}")


class Mlflow(ModuleType):
    """The functions of `mlflow` that are called. As the real ones, `start_run` refuses a second run unless nested."""

    def __init__(self) -> None:
        super().__init__("mlflow")
        self.__spec__ = ModuleSpec("mlflow", None)
        self.runs: list[Run] = []
        self.open: list[Run] = []

    def active_run(self) -> Run | None:
        return self.open[-1] if self.open else None

    @contextlib.contextmanager
    def start_run(self, run_name: str, nested: bool = False) -> Iterator[Run]:
        assert nested or not self.open
        run = Run(run_name, self.active_run())
        self.runs.append(run)
        self.open.append(run)
        yield run
        self.open.pop()

    def log_params(self, params: dict[str, str]) -> None:
        self.open[-1].params |= params

    def log_metrics(self, metrics: dict[str, float]) -> None:
        self.open[-1].metrics |= metrics

    def set_tag(self, key: str, value: str) -> None:
        self.open[-1].tags[key] = value

    def log_text(self, text: str, artifact_file: str) -> None:
        self.open[-1].texts[artifact_file] = text


class SummaryWriter:
    """Remembers what TensorBoard's writer is told."""

    written: list[SummaryWriter]

    def __init__(self, log_dir: str) -> None:
        self.folder = Path(log_dir)
        self.folder.mkdir(parents=True)
        self.texts: dict[str, str] = {}
        self.candidates: list[tuple[str, dict[str, str], dict[str, float]]] = []
        self.closed = False
        SummaryWriter.written.append(self)

    def __enter__(self) -> SummaryWriter:
        return self

    def __exit__(self, *error: object) -> None:
        self.closed = True

    def add_text(self, tag: str, text: str) -> None:
        self.texts[tag] = text

    def add_hparams(self, hparams: dict[str, str], metrics: dict[str, float], run_name: str) -> None:
        self.candidates.append((run_name, hparams, metrics))


@pytest.fixture
def mlflow(monkeypatch: pytest.MonkeyPatch) -> Mlflow:
    module = Mlflow()
    monkeypatch.setitem(sys.modules, "mlflow", module)
    return module


@pytest.fixture
def tensorboard(monkeypatch: pytest.MonkeyPatch) -> list[SummaryWriter]:
    """What was written, one entry for each writer."""
    package, writers = ModuleType("tensorboard"), ModuleType("torch.utils.tensorboard")
    package.__spec__ = ModuleSpec("tensorboard", None)
    monkeypatch.setattr(writers, "SummaryWriter", SummaryWriter, raising=False)
    monkeypatch.setitem(sys.modules, "tensorboard", package)
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", writers)
    SummaryWriter.written = []
    return SummaryWriter.written


def found(plan: Plan | None = PLAN) -> SearchResult:
    return SearchResult(
        plan=plan,
        chosen=None,
        front=PLAN.front,
        baselines=PLAN.baselines,
        nearest_miss=None,
        trials=3,
        reused=0,
        space=3,
        ruled_out=RuledOut(0, 0),
        confirm_tries=1,
        hypervolume=0.0,
        study="search-1",
        candidates=PLAN.front,
    )


def logged(tracker: Any, folder: Path, result: SearchResult) -> Heard:
    reporter: Any = Heard()
    log_search(tracker, result, OPTIONS, Workspace(folder / ".collabplan"), reporter)
    return reporter


def test_mlflow_has_a_run_for_each_candidate_below_that_of_the_search(mlflow: Mlflow, tmp_path: Path) -> None:
    heard = logged("mlflow", tmp_path, found())
    search, *candidates = mlflow.runs
    assert heard.notes == ["logged to MLflow, run id of collabplan search-1"]
    assert [each.parent for each in candidates] == [search] * len(PLAN.front)
    assert candidates[0].name == "layer2.2, rank=96"
    assert candidates[0].metrics == figures_of(PLAN.front[0])
    assert candidates[1].params == labels_of(PLAN.front[1])
    assert search.metrics == figures_of(PLAN.chosen)
    assert search.tags == {"collabplan.level": "quick"}


def test_within_a_run_of_the_users_own_the_search_is_nested(mlflow: Mlflow, tmp_path: Path) -> None:
    with mlflow.start_run("mine") as own:
        heard = logged("mlflow", tmp_path, found())
    assert mlflow.runs[1].parent is own
    assert heard.warnings == []


def test_the_plan_and_the_options_leave_without_folders_addresses_and_passwords(mlflow: Mlflow, tmp_path: Path) -> None:
    logged("mlflow", tmp_path, found())
    search = mlflow.runs[0]
    (tmp_path / "plan.json").write_text(search.texts["plan.json"])
    assert load(Plan, tmp_path / "plan.json") == PLAN.portable()
    assert search.params["edge_profile"] == "edge.json"
    assert search.params["defense"] == "none; projection:rank=96"
    assert search.params["budget_ms"] == "50"
    told = str([vars(run) for run in mlflow.runs])
    assert "secret" not in told
    assert "somebody" not in told


def test_tensorboard_has_the_candidates_and_the_plan_in_a_folder_of_its_own(
    tensorboard: list[SummaryWriter], tmp_path: Path
) -> None:
    for number in (1, 2):
        heard = logged("tensorboard", tmp_path, found())
        writer = tensorboard[-1]
        assert writer.closed
        assert writer.folder == tmp_path / ".collabplan" / "tensorboard" / f"search-1-{number}"
        assert writer.candidates[0] == ("candidate-1", labels_of(PLAN.front[0]), figures_of(PLAN.front[0]))
        assert len(writer.candidates) == len(PLAN.front)
        assert "| budget_ms | 50 |" in writer.texts["options"]
        assert load(Plan, writer.folder / "plan.json") == PLAN.portable()
        assert heard.notes == [f"logged to TensorBoard: tensorboard --logdir {writer.folder.parent}"]


@pytest.mark.usefixtures("tensorboard")
def test_a_search_without_a_plan_is_logged_too(mlflow: Mlflow, tmp_path: Path) -> None:
    for tracker in ("mlflow", "tensorboard"):
        assert logged(tracker, tmp_path, found(None)).warnings == []
    assert mlflow.runs[0].texts == {}
    assert not list(tmp_path.rglob("plan.json"))


def test_a_tracker_that_fails_costs_no_result(mlflow: Mlflow, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def fail(_: object) -> None:
        raise ConnectionError("no server\nat all")

    monkeypatch.setattr(mlflow, "log_params", fail)
    (warning,) = logged("mlflow", tmp_path, found()).warnings
    assert "could not be logged to mlflow (ConnectionError: no server); its results are kept" in warning


def test_a_study_logs_every_candidate_that_it_measured(mlflow: Mlflow, tmp_path: Path) -> None:
    draws = torch.Generator().manual_seed(1)
    data = torch.rand(120, 6, generator=draws), torch.randint(0, 3, (120,), generator=draws)
    model = torch.nn.Sequential(torch.nn.Linear(6, 8), torch.nn.ReLU(), torch.nn.Linear(8, 3))
    study = collabplan.Target(
        model, torch.zeros(1, 6), validation_data=data, input_range=(0.0, 1.0), workspace=tmp_path, reporter=Silent()
    )
    study.profile(seconds=0.3, threads=1)
    plan = study.optimize(budget_ms=5000, trials=3, draws=1, audit=False, max_accuracy_drop=1, log="mlflow")
    assert plan.search is not None
    assert len(plan.search.candidates) >= plan.search.trials
    search, *candidates = mlflow.runs
    assert [each.metrics for each in candidates] == [figures_of(each) for each in plan.search.candidates]
    assert "log" not in search.params


def test_labels_tell_an_attacked_candidate_from_an_estimated_one() -> None:
    attacked, estimated = PLAN.front[1], PLAN.front[2]
    assert labels_of(attacked)["leakage"] == "audited"
    assert labels_of(attacked)["attacks"] == "quick effort"
    assert labels_of(estimated) == {"cut": "layer3.2", "defense": "none", "leakage": "estimated"}
    assert figures_of(estimated)["leakage_index_high"] == estimated.index.high
    assert "edge_energy_mj" not in figures_of(estimated)


@pytest.mark.parametrize("tracker", ["mlflow", "tensorboard"])
def test_an_absent_package_is_refused_with_its_extra(tracker: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    require_tracker(None)
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    with pytest.raises(CollabplanError, match=rf"needs {tracker}, .* pip install 'collabplan\[{tracker}\]'"):
        require_tracker(tracker)
