"""The plan file holds the best supported plan of one search, whole at any moment."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from bundle_plans import make, middle
from collabplan.planner import plan_files
from collabplan.planner.plan_files import load_weights
from collabplan.planner.plan_record import ChosenPlan
from collabplan.records import Budgets, CollabplanError, Plan, TargetIdentity, TensorFile, hash_tensors, load, save
from collabplan.workflows.named_options import options_from
from collabplan.workflows.options import OptimizeOptions
from collabplan.workflows.plan_keeping import PlanFile, accepted, unproven
from collabplan.workflows.workspace import Workspace
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


def test_an_earlier_runs_plan_goes_only_if_its_own_candidate_has_fallen(estimated: Plan, tmp_path: Path) -> None:
    file, standard = tmp_path / "plan.json", at(estimated, "standard")
    other = estimated.model_copy(update={"chosen": estimated.chosen.model_copy(update={"cut_id": "another"})})
    PlanFile(file).replace(chosen(standard))
    again = PlanFile(file)
    for made in (chosen(other), None):
        again.replace(made)
        assert (load(Plan, file), again.plan, again.earlier) == (standard, standard, True)
    again.replace(chosen(estimated))
    again.replace(None)
    assert (file.exists(), again.plan) == (False, None)


def test_whoever_interrupts_before_there_is_a_plan_hears_of_the_one_that_lies_there(
    estimated: Plan, tmp_path: Path
) -> None:
    file = tmp_path / "plan.json"
    assert PlanFile(file).standing.startswith("no plan yet; what was measured is kept")
    PlanFile(file).replace(chosen(estimated))
    again = PlanFile(file)
    assert again.standing.startswith(f"{file} still holds the plan of an earlier run (estimated): ")
    again.replace(chosen(at(estimated, "quick")))
    assert again.standing.startswith(f"{file} holds the best plan so far (quick): ")


def test_a_plan_of_another_question_is_replaced(estimated: Plan, tmp_path: Path) -> None:
    file = tmp_path / "plan.json"
    PlanFile(file).replace(chosen(at(estimated, "standard")))
    other = estimated.model_copy(update={"budgets": Budgets(max_leakage=0.3)})
    PlanFile(file).replace(chosen(other))
    assert load(Plan, file) == other


@pytest.fixture
def lying(estimated: Plan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A plan that another command line wrote."""
    plan = estimated.model_copy(
        update={
            "target": TargetIdentity(spec=str(tmp_path / "model.py")),
            "study": "search-1",
            "provenance": estimated.provenance.model_copy(update={"seed": 0, "command": ("another",)}),
        }
    )
    monkeypatch.chdir(tmp_path)
    save(plan, tmp_path / "plan.json")
    return tmp_path / "plan.json"


def refusal(file: Path, spec: str = "model.py", **options: Any) -> str:
    """Why a search with these options may not write there; "" if it may."""
    asked = options_from(OptimizeOptions, {"budget_ms": 5, **options})
    try:
        PlanFile(file).require_replaceable(spec, asked, Workspace(file.parent / ".collabplan"))
    except CollabplanError as error:
        return str(error)
    return ""


def test_a_search_of_the_same_target_and_study_may_replace_its_plan(lying: Path) -> None:
    assert [refusal(lying), refusal(lying, max_leakage=0.3, reuse="search-1"), refusal(lying.parent / "new")] == [
        ""
    ] * 3


@pytest.mark.parametrize(
    "options",
    [
        {"seed": 1}, {"fresh": True}, {"reuse": "search-2"}, {"objectives": "accuracy,payload"}, {"finetune": 3},
        {"result_at": "cloud"},
    ],
)  # fmt: skip
def test_a_plan_of_another_study_is_kept_before_the_work(lying: Path, options: dict[str, Any]) -> None:
    said = refusal(lying, **options)
    assert said.endswith(
        "plan.json exists already and holds the plan of another study; give another file with -o, or --force to "
        "replace it"
    )


@pytest.mark.parametrize("words", [("--defense", "none"), ("--defense=none",), ("--draws", "2")])
def test_other_defenses_on_the_command_line_are_another_study(
    lying: Path, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...]
) -> None:
    monkeypatch.setattr(sys, "argv", ["collabplan", "optimize", *words])
    assert "holds the plan of another study" in refusal(lying)
    plan = load(Plan, lying)
    same = plan.provenance.model_copy(update={"command": ("optimize", *words, "--trials", "9")})
    save(plan.model_copy(update={"provenance": same}), lying)
    assert refusal(lying) == ""


def test_a_plan_of_another_target_and_what_is_no_plan_are_kept(lying: Path) -> None:
    assert f"holds a plan of {lying.parent / 'model.py'}; give another file" in refusal(lying, "other.py")
    assert "holds a plan of" in refusal(lying, "model.py:other")
    lying.write_text("mine")
    assert "holds no plan that can be read; give another file" in refusal(lying)
    PlanFile(lying, force=True).require_replaceable(
        "other.py", options_from(OptimizeOptions, {"budget_ms": 5}), Workspace(lying.parent)
    )


def test_the_same_command_may_replace_its_plan_whatever_has_changed(
    lying: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", ["another"])
    assert refusal(lying, "other.py", seed=1) == ""


def test_what_only_the_search_finds_out_keeps_the_plan_too(lying: Path) -> None:
    known = load(Plan, lying)
    for change in ({"study": "search-2"}, {"model": known.model.model_copy(update={"weights_hash": "0" * 64})}):
        with pytest.raises(CollabplanError, match="holds the plan of another study"):
            PlanFile(lying).replace(chosen(known.model_copy(update=change)))
    assert load(Plan, lying) == known
    other = known.model_copy(update={"study": "search-2"})
    PlanFile(lying, force=True).replace(chosen(other))
    assert load(Plan, lying) == other


def test_replacing_the_plan_of_other_budgets_is_said(lying: Path) -> None:
    said: list[str] = []
    PlanFile(lying, said.append).replace(chosen(load(Plan, lying).model_copy(update={"budgets": Budgets()})))
    assert "held a plan of search-1 for another question, which this one replaces" in said[0]


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
