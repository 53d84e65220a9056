"""What is suggested next fits the plan."""

from __future__ import annotations

from pathlib import Path

import pytest
import report_plans
import wide_records
from collabplan.cli.next_steps import to_attack, to_deploy
from collabplan.records import save
from collabplan.workflows.plan_keeping import unproven
from command_line import Run


def test_a_plan_that_sends_something_is_attacked_and_deployed() -> None:
    plan = report_plans.plan()
    assert to_attack(plan, "plan.json")[0] == "collabplan attack plan.json"
    assert to_deploy(plan, "plan.json") == ("collabplan bundle plan.json -o bundle", "what device and cloud need")


def test_where_nothing_is_sent_there_is_nothing_to_attack() -> None:
    plan = report_plans.plan().model_copy(update={"cut_kind": "edge-only"})
    assert to_attack(plan, "p.json") == to_deploy(plan, "p.json")
    assert "no server" in to_deploy(plan, "p.json")[1]


def test_of_tokens_there_are_estimates_alone() -> None:
    plan = report_plans.plan()
    leakage = plan.chosen.leakage.model_copy(update={"index_of": "token recovery"})
    plan = plan.model_copy(update={"chosen": plan.chosen.model_copy(update={"leakage": leakage})})
    assert "attack" not in to_attack(plan, "plan.json")[0]


def test_nobody_is_sent_to_an_attack_that_would_refuse_the_plans_inputs(here: Path, run: Run) -> None:
    plan = report_plans.plan(unattackable="attacks reconstruct one private input, and the private ones are: a, b")
    save(plan, here / "plan.json")
    explained, reported = run("explain", "plan.json").out, run("report", "--json").document
    assert explained.splitlines()[-1] == "next: collabplan split plan.json -o halves  (no attack applies to its inputs)"
    explained = " ".join(explained.split())
    assert "collabplan attack" not in explained
    assert "certify" not in explained
    assert "No attack here applies to the plan: attacks reconstruct one private input" in explained
    assert not [step for step in reported["next_steps"] if "attack" in step["command"] or "audit" in step["command"]]
    assert "attacks reconstruct one private input" in reported["decision"]["missing_to_sign_off"][0]
    assert reported["pictures"]["how"] == []
    assert "certify" not in unproven(plan, Path("plan.json"))


def test_leakage_of_such_a_plan_sends_nobody_to_an_attack_either(
    here: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("collabplan.workflows.leakage.measure_leakage", lambda *_: wide_records.leakage_report())
    save(report_plans.plan(unattackable="attacks reconstruct one private input"), here / "plan.json")
    assert "next: collabplan split plan.json" in run("leakage", "plan.json").out
    save(report_plans.plan(), here / "plan.json")
    assert "next: collabplan attack plan.json" in run("leakage", "plan.json").out


def test_who_sends_the_input_itself_is_told_of_a_budget() -> None:
    plan = report_plans.plan()
    whole = report_plans.estimated(1.0).model_copy(update={"status": "by-definition"})
    chosen = plan.chosen.model_copy(update={"leakage": whole, "audited": None})
    plan = plan.model_copy(update={"chosen": chosen, "cut_kind": "cloud-only"})
    assert plan.level == "by definition"
    command, why = to_attack(plan, "plan.json")
    assert command.startswith("collabplan optimize")
    assert command.endswith("--max-leakage 0.8")
    assert "sends the input itself" in why
