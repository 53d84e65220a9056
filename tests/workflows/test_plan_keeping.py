"""The plan file holds the best supported plan of one search, whole at any moment."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from bundle_plans import make, middle
from collabplan.planner import plan_files
from collabplan.planner.plan_files import load_weights
from collabplan.planner.plan_record import ChosenPlan
from collabplan.records import Budgets, Plan, TensorFile, hash_tensors, load
from collabplan.workflows.plan_keeping import PlanFile, accepted, unproven
from planner_fakes import audited
from torch import nn


@pytest.fixture(scope="module")
def estimated() -> Plan:
    """A plan by estimates, with a privacy budget."""
    model = nn.Sequential(nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, 3))
    plan = make(model, lambda batch: (torch.rand(batch, 6),), middle).plan
    return plan.model_copy(update={"budgets": Budgets(max_leakage=0.8)})


def at(plan: Plan, effort: str) -> Plan:
    found = audited(0.5, split="confirm", effort=effort)
    return plan.model_copy(update={"chosen": plan.chosen.model_copy(update={"audited": found})})


def chosen(plan: Plan) -> ChosenPlan:
    return ChosenPlan(plan, None, None)


def test_a_better_supported_plan_of_an_earlier_run_stays_until_this_run_has_caught_up(
    estimated: Plan, tmp_path: Path
) -> None:
    file = tmp_path / "plan.json"
    quick = at(estimated, "quick")
    PlanFile(file).replace(chosen(quick))
    again = PlanFile(file)
    again.replace(chosen(estimated))
    assert (load(Plan, file), again.plan, again.earlier) == (quick, quick, True)
    standard = at(estimated, "standard")
    again.replace(chosen(standard))
    assert (load(Plan, file), again.earlier) == (standard, False)
    again.replace(chosen(estimated))
    assert load(Plan, file) == estimated, "within a run it is replaced: the other one has fallen"


def test_a_plan_of_another_question_is_replaced(estimated: Plan, tmp_path: Path) -> None:
    file = tmp_path / "plan.json"
    PlanFile(file).replace(chosen(at(estimated, "standard")))
    other = estimated.model_copy(update={"budgets": Budgets(max_leakage=0.3)})
    PlanFile(file).replace(chosen(other))
    assert load(Plan, file) == other


def test_a_plan_that_has_fallen_goes(estimated: Plan, tmp_path: Path) -> None:
    said: list[str] = []
    keeper = PlanFile(tmp_path / "plan.json", said.append)
    assert keeper.standing.startswith("no plan yet")
    keeper.replace(chosen(estimated))
    assert "holds the best plan so far (estimated)" in keeper.standing
    keeper.replace(None)
    assert not (tmp_path / "plan.json").exists()
    assert "attacks refuted the plan" in said[-1]


def test_tensors_of_the_plan_on_disk_are_whole_until_it_is_replaced(
    estimated: Plan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "plan.json"

    def tuned(value: float) -> ChosenPlan:
        weights = {"w": torch.full((2,), value)}
        named = TensorFile(file="", sha256=hash_tensors(weights))
        return ChosenPlan(estimated.model_copy(update={"tuned_weights": named}), weights, None)

    keeper = PlanFile(file)
    keeper.replace(tuned(1.0))

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(plan_files, "save", killed)
        with pytest.raises(KeyboardInterrupt):
            keeper.replace(tuned(2.0))
    kept = load_weights(load(Plan, file), file)
    assert kept is not None
    assert kept["w"].tolist() == [1.0, 1.0]
    keeper.replace(tuned(2.0))
    kept = load_weights(load(Plan, file), file)
    assert kept is not None
    assert kept["w"].tolist() == [2.0, 2.0]
    assert len(list(tmp_path.glob("*.safetensors"))) == 1


def test_what_is_enough(estimated: Plan) -> None:
    quick = at(estimated, "quick")
    assert not accepted(quick, None)
    assert accepted(quick, "quick")
    assert accepted(quick, "estimated")
    assert not accepted(estimated, "quick")
    assert accepted(estimated.model_copy(update={"budgets": Budgets()}), None)
    said = unproven(quick, Path("plan.json"))
    assert "not yet proven: the plan's level is quick" in said
    assert "standard effort or more" in said
