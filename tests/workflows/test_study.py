"""The way in from Python: one object from a model to a plan, on the embedded digits example."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import collabplan
import pytest
import torch
from collabplan.attacks import EFFORTS, Effort
from collabplan.graph import load_program
from collabplan.records import BudgetError, CollabplanError, Plan, TargetError, load
from collabplan.workflows.reporter import Silent
from collabplan.workflows.results import AttackResult, LeakageResult, ProfileResult
from collabplan.workflows.study import PlanResult, Study
from torch import nn

DIGITS = Path(__file__).resolve().parents[2] / "examples" / "digits" / "model.py"
SEARCH: dict[str, Any] = {
    "trials": 2,
    "draws": 1,
    "audit": False,
    "max_edge_params": 60_000,
    "edge_slowdown": 5,
    "max_accuracy_drop": 1,
}


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Study:
    """The digits example, profiled in a workspace of its own."""
    study = collabplan.open(DIGITS, workspace=tmp_path_factory.mktemp("digits"), reporter=Silent())
    study.profile(seconds=1, max_crossing=1, threads=1)
    return study


@pytest.fixture(scope="module")
def plan(study: Study) -> PlanResult:
    """A plan of it, on estimates."""
    return study.optimize(budget_ms=5000, **SEARCH)


@pytest.fixture
def small(tmp_path: Path) -> Callable[..., Study]:
    """A study of a small model in memory."""

    def make(**declared: Any) -> Study:
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 3))
        return collabplan.Target(model, torch.zeros(1, 6), workspace=tmp_path, reporter=Silent(), **declared)

    return make


def test_a_profile_is_kept_where_the_command_line_finds_it(study: Study) -> None:
    profile, _ = study.workspace.last_profile()
    made = ProfileResult(profile)
    assert made.rows()[0]["cut"] == "cloud-only"
    assert made.rows()[-1]["kind"] == "edge-only"
    assert "<th>payload_bytes</th>" in made._repr_html_()


def test_leakage_of_named_cuts_is_a_table(study: Study) -> None:
    found = study.leakage(cuts=["layer4"], defense="dropout:element:0.5", estimators="ridge", samples=64)
    assert isinstance(found, LeakageResult)
    cuts = {row["cut"]: row for row in found.rows()}
    assert cuts["layer4"]["defense"] == "dropout:element:0.5"
    assert 0 <= cuts["layer4"]["index"] <= cuts["layer4"]["index_high"] <= 1
    assert "ESTIMATED" in repr(found)


def test_a_plan_says_that_it_is_estimated_and_is_attacked_split_and_written(
    study: Study, plan: PlanResult, tmp_path: Path
) -> None:
    assert "ESTIMATED, not audited" in plan.title
    assert plan.rows()[0]["what"] == "plan"
    assert {row["what"] for row in plan.rows()} >= {"cloud-only", "edge-only", "front"}
    assert "not audited" in " ".join(plan.explain()["What the figures mean"])
    halves = plan.split(tmp_path / "halves")
    edge, cloud = load_program(halves.edge), load_program(halves.cloud)
    images = torch.rand(2, 1, 32, 32, generator=torch.Generator().manual_seed(0))
    assert torch.equal(cloud(*edge(images)), study.session.target.model(images))
    file = plan.save(tmp_path / "plan.json")
    assert load(Plan, file).cut_id == study.open_plan(file).record.cut_id


def test_an_attack_on_a_plan_reports_each_threat(plan: PlanResult, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(EFFORTS, "quick", Effort("quick", 40, 60, 10, 5, 4, 8, False))
    found = plan.attack(attacks="ridge")
    assert isinstance(found, AttackResult)
    assert {row["cut"] for row in found.rows()} >= {plan.record.cut_name}
    assert all(row["lower_bound"] for row in found.rows())


def test_budgets_that_nothing_meets_are_an_error_and_the_front_is_kept(study: Study) -> None:
    with pytest.raises(BudgetError, match="no plan meets the budgets"):
        study.optimize(budget_ms=1e-6, **SEARCH)
    assert study.last_search is not None
    assert study.last_search.nearest_miss


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"trails": 3}, "there is no option 'trails'; did you mean 'trials'?"),
        ({"sampler": "best"}, "the option 'sampler' cannot be 'best': input should be 'tpe'"),
        ({"trials": "many"}, "the option 'trials' cannot be 'many'"),
        ({"max_leakage": 2}, "--max-leakage 2"),
    ],
)
def test_an_option_that_is_not_possible_is_named(study: Study, options: dict[str, Any], said: str) -> None:
    with pytest.raises(CollabplanError, match=said.replace("?", r"\?")):
        study.optimize(budget_ms=50, **options)


def test_a_model_in_memory_goes_the_whole_way(small: Callable[..., Study], tmp_path: Path) -> None:
    draws = torch.Generator().manual_seed(1)
    rows, labels = torch.rand(120, 6, generator=draws), torch.randint(0, 3, (120,), generator=draws)
    study = small(validation_data=(rows, labels), input_range=(0.0, 1.0))
    study.profile(seconds=1, threads=1)
    plan = study.optimize(budget_ms=5000, trials=3, draws=1, audit=False, max_accuracy_drop=1, max_edge_params=60)
    assert plan.record.target.spec == "Sequential (in memory)"
    assert plan.bundle(tmp_path / "bundle").bytes["edge"] > 0


def test_without_data_a_model_is_profiled_and_not_optimized(small: Callable[..., Study]) -> None:
    study = small()
    assert study.profile(seconds=1, threads=1).rows()
    with pytest.raises(TargetError, match="validation_data"):
        study.optimize(budget_ms=50)


def test_what_is_no_model_is_refused() -> None:
    with pytest.raises(TargetError, match=r"give a torch\.nn\.Module"):
        collabplan.Target(lambda x: x, torch.zeros(1, 6))  # type: ignore[arg-type]


def test_a_data_frame_without_pandas_is_one_line_that_names_it(
    plan: PlanResult, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(CollabplanError, match="needs pandas, which is not installed"):
        plan.to_frame()


def test_a_plan_is_reported_and_drawn(study: Study, plan: PlanResult, tmp_path: Path) -> None:
    page = plan.report(tmp_path / "report.html")
    assert "DigitNet" in page.read_text(encoding="utf-8")
    assert "estimated" in page.read_text(encoding="utf-8")
    for figure in (study.plot_front(plan), study.plot_leakage(plan), study.plot_latency(plan)):
        assert figure.axes


def test_a_profile_a_plan_and_estimates_are_exported_for_other_tools(
    study: Study, plan: PlanResult, tmp_path: Path
) -> None:
    estimates = study.leakage(cuts=["layer4"], defense="none", estimators="ridge", samples=64)
    made = study.export(tmp_path / "figures", plan, leakage=estimates)
    assert {"trace.json", "model-explorer/latency-p50-ms.json"} < set(made.files)
    assert "model-explorer/leakage-upper-end-none-estimated.json" in made.files
    assert (tmp_path / "figures" / "trace.json").exists()
    with pytest.raises(CollabplanError, match="holds files already"):
        study.export(tmp_path / "figures")
