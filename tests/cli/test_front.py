"""`collabplan front`: which rows are listed, and which of them are marked."""

from __future__ import annotations

from pathlib import Path

import pytest
import report_plans as made
from collabplan.records import Plan, save
from command_line import Run

FALLEN = made.candidate(
    "layer1.0",
    leakage=made.estimated(0.2),
    meets_budgets=False,
    violations=("on the confirm split: latency p95 61.0 ms (p50 33.0) against 50",),
)
OUTDONE = made.candidate(
    "layer1.2",
    leakage=made.estimated(0.3),
    meets_budgets=False,
    violations=("what middle reaches on the confirm split (leakage index 0.3 against 0.2)",),
)
FITTING = made.candidate("layer3.0", leakage=made.estimated(0.6))
SLOW = made.candidate("layer3.2", leakage=made.estimated(0.1), latency=made.candidate().latency.model_copy(
    update={"p95_ms": 70.0}), meets_budgets=False, violations=("latency p95 70.0 ms (p50 33.0) against 50",),
)  # fmt: skip


@pytest.fixture
def planned(here: Path) -> Plan:
    """A plan of 50 ms, whose front holds what fell on the confirm split."""
    plan = made.plan()
    budgets = plan.budgets.model_copy(update={"max_reconstruction": None})
    plan = plan.model_copy(update={"budgets": budgets, "front": (plan.searched, FALLEN, OUTDONE, FITTING, SLOW)})
    save(plan, here / "plan.json")
    return plan


def marks(out: str) -> dict[str, str]:
    """By cut, what stands before it in the table."""
    cuts = {each: line for line in out.splitlines() for each in line.split() if each.startswith("layer")}
    return {cut: " ".join(line.partition(cut)[0].split()) for cut, line in cuts.items()}


@pytest.mark.usefixtures("planned")
def test_the_plans_row_and_what_failed_on_the_confirm_split_are_marked(run: Run) -> None:
    ran = run("front")
    assert marks(ran.out) == {"layer1.0": "2x", "layer1.2": "3x", "layer2.2": "4>", "layer3.0": "5"}
    assert "(2 of 5 within budgets)" in ran.out
    legend = "marks: > the chosen plan; x misses a budget, or failed on the confirm split;"
    assert legend in " ".join(ran.out.split())


@pytest.mark.usefixtures("planned")
def test_other_budgets_filter_and_take_no_failure_back(run: Run) -> None:
    loose = run("front", "--budget-ms", "80").out
    assert marks(loose) == {"layer3.2": "1", "layer1.0": "2x", "layer1.2": "3x", "layer2.2": "4>", "layer3.0": "5"}
    tight = run("front", "--budget-ms", "1").out
    assert marks(tight) == {"layer2.2": "4>"}
    assert "(0 of 5 within budgets)" in tight
    missed = "row 4, the plan's, misses these budgets on the search split: latency p95 41.0 ms (p50 33.0) against 1"
    assert missed in " ".join(tight.split())
    assert "misses these budgets" not in loose


@pytest.mark.parametrize("command", ["front", "explain", "report"])
def test_what_only_shows_a_plan_takes_the_one_that_optimize_wrote(run: Run, planned: Plan, command: str) -> None:
    assert planned.cut_name in run(command).out
    Path("plan.json").unlink()
    absent = run(command)
    assert absent.code == 2
    assert "plan.json does not exist" in absent.line
