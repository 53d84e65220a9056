"""At any moment there is a plan; the deadline counts on a clock of the test's own."""

from __future__ import annotations

import dataclasses

import pytest
from collabplan.attacks import ATTACKS, Effort, attack_named
from collabplan.attacks.inverse import InverseNetwork
from collabplan.attacks.time_limit import Deadline, TimeUp
from collabplan.planner import AuditOptions, SearchOptions, optimize
from collabplan.planner.audits import Audits
from collabplan.planner.budgets import judged
from collabplan.planner.choose import choose
from collabplan.planner.evaluator import Evaluator
from collabplan.planner.plan_record import ChosenPlan
from collabplan.planner.problem import SPARED
from collabplan.records import Budgets, Interval
from collabplan.workflows.optimize import how_much, no_plan
from defense_records import grid, point_at
from planner_fakes import audited, candidate

QUICK = Effort("quick", 40, 60, 10, 5, 4, 8, False)
STANDARD = Effort("standard", 40, 60, 12, 5, 4, 8, False)
SUITE = tuple(attack_named(name) for name in ("prior", "ridge", "inverse"))
AUDIT = AuditOptions(QUICK, STANDARD, SUITE, seeds=2, most=2, before=(QUICK,))
OPTIONS = SearchOptions(defenses=grid(rates=(0.3,)), draws=1, leakage_samples=60, audit=AUDIT)
BUDGETS = Budgets(max_accuracy_drop=0.45, max_edge_parameters=900)


class Clock:
    """A clock that each measured candidate and each suite moves on; what suites find is made up, unless `real`."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *, trial: float = 1.0, real: bool = False) -> None:
        self.now, self.suites = 0.0, 0
        evaluate, audit = Evaluator.evaluate, Audits._audited

        def evaluated(own, point, split="search"):
            self.now += trial
            return evaluate(own, point, split)

        def attacked(own, point, roles, attacks, effort, split, seeds):
            found = audited(0.5, split=split, effort=effort.name, linkage=0.9).model_copy(update={"seeds": seeds})
            if real:
                found = audit(own, point, roles, attacks, effort, split, seeds)
            self.now += 100.0 if split == "confirm" else 1.0
            self.suites += split == "confirm"
            return found

        monkeypatch.setattr(Evaluator, "evaluate", evaluated)
        monkeypatch.setattr(Audits, "_audited", attacked)
        monkeypatch.setattr(Audits, "step_s", lambda *_: 0.01)

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def asked(problem):
    return dataclasses.replace(problem, budgets=BUDGETS)


def test_plans_come_in_the_order_of_their_support(asked, tmp_path, monkeypatch):
    clock, plans = Clock(monkeypatch), []
    found = optimize(
        asked,
        OPTIONS,
        tmp_path,
        on_plan=lambda made: plans.append((clock.now, made.plan)),
        deadline=Deadline(1e6, clock),
    )
    levels = [plan.level for _, plan in plans]
    assert levels[0] == "estimated"
    assert plans[0][0] <= 3, "after the first trial and its confirmation"
    assert levels.index("quick") < levels.index("standard")
    assert found.plan == plans[-1][1]
    assert (found.plan.level, found.plan.chosen.audited.seeds, found.timed_out) == ("standard", 2, "")


def test_a_deadline_among_the_attacks_keeps_what_was_finished(asked, tmp_path, monkeypatch):
    clock, fits, fit, plans = Clock(monkeypatch, real=True), [], InverseNetwork.fit, []
    few = dataclasses.replace(asked, budgets=BUDGETS.model_copy(update={"max_edge_parameters": 60}))
    short = optimize(few, OPTIONS, tmp_path, on_plan=lambda _: None, deadline=Deadline(110.0, clock))
    assert short.plan.level == "quick"
    assert short.timed_out.startswith("attacks")
    monkeypatch.setattr(InverseNetwork, "fit", lambda *given: fits.append(1) or fit(*given))
    deadline = Deadline(clock.now + 90.0, clock)
    again = optimize(few, OPTIONS, tmp_path, on_plan=lambda made: plans.append(made.plan.level), deadline=deadline)
    assert again.reused == again.trials
    assert (plans[-1], again.plan.chosen, fits) == ("quick", short.plan.chosen, []), "finished attacks were found again"


def test_estimates_end_at_their_share_once_there_is_a_plan(asked, tmp_path, monkeypatch):
    clock = Clock(monkeypatch, trial=10.0)
    options = dataclasses.replace(OPTIONS, audit=None)
    found = optimize(asked, options, tmp_path, on_plan=lambda _: None, deadline=Deadline(150.0, clock))
    assert found.plan.level == "estimated"
    assert 0 < found.trials < found.space
    assert found.timed_out == f"estimates: {found.trials} candidates measured"
    through = optimize(asked, options, tmp_path)
    assert through.reused == found.trials
    assert through.trials == through.space


def test_nothing_beats_a_plan_that_sends_nothing(problem, tmp_path, monkeypatch):
    clock = Clock(monkeypatch)
    roomy = dataclasses.replace(problem, budgets=Budgets(max_leakage=0.1))
    found = optimize(roomy, OPTIONS, tmp_path, on_plan=lambda _: None, deadline=Deadline(1e6, clock))
    assert (found.plan.cut_kind, found.plan.level, found.plan.proven) == ("edge-only", "by definition", True)
    assert (found.trials, clock.suites) == (0, 0)
    assert found.timed_out == ""


def test_a_plan_that_has_fallen_is_taken_back(asked, tmp_path, monkeypatch):
    strict = dataclasses.replace(asked, budgets=BUDGETS.model_copy(update={"max_linkage": 0.0}))
    plans: list[ChosenPlan | None] = []
    found = optimize(strict, OPTIONS, tmp_path, on_plan=plans.append, deadline=Deadline(1e6, Clock(monkeypatch)))
    assert plans[0] is not None
    assert plans[0].plan.level == "estimated"
    assert not plans[0].plan.proven
    assert plans[-1] is None
    assert found.plan is None


def test_until_there_is_proof_figures_only_refute():
    wide = candidate(point_at("a")).model_copy(update={"predicted": Interval(value=0.6, low=0.3, high=0.9)})
    budgets = Budgets(max_leakage=0.5, max_reconstruction=0.2)
    assert not judged(wide, budgets).meets_budgets
    assert judged(wide, budgets, "standard").meets_budgets

    def attacked(effort, index, rate):
        found = audited(index, split="confirm", effort=effort, reconstruction=rate)
        return judged(wide.model_copy(update={"audited": found}), budgets, "standard").meets_budgets

    assert attacked("quick", 0.505, 0.1), "its lower end is below"
    assert not attacked("quick", 0.6, 0.1)
    assert not attacked("quick", 0.1, 0.3)
    assert not attacked("standard", 0.495, 0.1), "its upper end is above"
    assert attacked("standard", 0.4, 0.1)


def test_a_winner_climbs_and_falls_at_the_first_rung_that_refutes_it(asked, tmp_path, monkeypatch):
    evaluator = Evaluator(asked, OPTIONS, tmp_path)
    audits = Audits(evaluator, AUDIT, tmp_path)
    asked_for = []

    def attack(point, _roles, _attacks, effort, split, seeds):
        asked_for.append((point.cut_id, effort.name, seeds))
        return audited(0.9 if point.cut_id == "a" else 0.3, split=split, effort=effort.name)

    monkeypatch.setattr(audits, "_audited", attack)
    evaluator.problem = dataclasses.replace(asked, budgets=Budgets(max_leakage=0.5))
    pool = [candidate(point_at(cut), leakage=index) for cut, index in (("a", 0.2), ("b", 0.3))]
    made = [each.model_copy(update={"audited": audited(each.leakage.index.value)}) for each in pool]
    choice = choose(made, Budgets(max_leakage=0.5), lambda c: c, (), audits, proof=audits.proof)
    assert choice.searched.cut_id == "b"
    assert asked_for == [("a", "quick", 1), ("b", "quick", 1), ("b", "standard", 1), ("b", "standard", 2)]


def test_the_first_rungs_spare_the_attacks_that_cost_most_and_the_last_ones_do_not() -> None:
    every = tuple(attack_named(name) for name in ATTACKS)
    quick, standard, seeds = AuditOptions(QUICK, STANDARD, every, seeds=3, before=(QUICK,)).rungs
    assert {each.name for each in every} - {each.name for each in quick.attacks} == SPARED
    assert standard.attacks == seeds.attacks == every
    assert AuditOptions(QUICK, QUICK, every, seeds=1).rungs[-1].attacks == every, "the effort asked for leaves none out"


def test_time_that_ends_while_the_choice_is_made_is_told_as_that(asked, tmp_path, monkeypatch):
    def too_late(*_, **__):
        raise TimeUp

    monkeypatch.setattr("collabplan.planner.anytime.choose", too_late)
    found = optimize(asked, dataclasses.replace(OPTIONS, audit=None), tmp_path)
    assert found.plan is None
    assert found.timed_out.startswith("choice among ")
    said = no_plan(found)
    assert "within the time limit, which ended the choice among" in said
    assert "the same command goes on from here. So far none was confirmed" in said


def test_candidates_of_other_budgets_are_not_counted_against_the_space(asked, tmp_path):
    options = dataclasses.replace(OPTIONS, audit=None)
    optimize(asked, options, tmp_path)
    few = dataclasses.replace(asked, budgets=BUDGETS.model_copy(update={"max_edge_parameters": 60}))
    found = optimize(few, options, tmp_path)
    said = how_much(found)
    assert found.trials <= found.space or said.startswith(f"{found.trials} candidates evaluated")
    assert how_much(dataclasses.replace(found, trials=52, space=45)).startswith("52 candidates evaluated")
