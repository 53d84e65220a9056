"""What is suggested next fits the plan."""

from __future__ import annotations

import report_plans
from collabplan.cli.next_steps import to_attack, to_deploy


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
