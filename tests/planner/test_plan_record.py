"""The plan holds what was chosen, under which conditions, and the hashes of the tensors that it needs."""

from __future__ import annotations

import dataclasses

import pytest
from collabplan.planner import SearchOptions
from collabplan.planner.choose import Choice
from collabplan.planner.evaluator import Evaluator
from collabplan.planner.plan_record import plan_of
from collabplan.planner.space import Point
from collabplan.records import Baseline, EdgePower, load, save
from collabplan.records import Plan as PlanRecord
from defense_records import grid, point_at
from planner_fakes import candidate

OPTIONS = SearchOptions(
    defenses=grid(["element"], [0.5], [{}, {"share": 0.5}]), draws=1, leakage_samples=50, seed=4,
    command=("optimize", "model.py"), fastest=False,
)  # fmt: skip


def searching(problem, **changes) -> Evaluator:
    return Evaluator(dataclasses.replace(problem, **changes), OPTIONS)


def defended(evaluator: Evaluator) -> str:
    return next(cut_id for cut_id in evaluator.space.cut_ids if evaluator.space.kinds.get(cut_id))


def chosen_at(point: Point) -> Choice:
    return Choice(candidate(point, accuracy=0.9), candidate(point, accuracy=0.8), tries=1)


def plan_at(evaluator: Evaluator, point: Point, choice: Choice | None = None) -> PlanRecord:
    choice = choice or chosen_at(point)
    assert choice.searched is not None
    baselines = (Baseline(role="cloud-only", candidate=candidate(point_at(point.cut_id))),)
    made = plan_of(evaluator, choice, (choice.searched,), baselines, trials=7, study="search-3")
    assert made is not None
    return made


def test_without_a_choice_there_is_no_plan(problem):
    assert plan_of(searching(problem), Choice(None, None, 10, "the nearest miss is ..."), (), (), 7, "search-1") is None


def test_a_plan_holds_the_choice_on_both_splits_and_what_it_was_made_under(problem, tmp_path):
    evaluator = searching(problem)
    point = point_at(defended(evaluator), "element", 0.5)
    choice = chosen_at(point)
    plan = plan_at(evaluator, point, choice)
    cut = evaluator.cuts[point.cut_id]
    assert (plan.chosen, plan.searched) == (choice.confirmed, choice.searched)
    assert (plan.cut_id, plan.cut_name, plan.cut_kind, plan.crossing) == (cut.id, cut.name, cut.kind, cut.crossing)
    assert (plan.budgets, plan.link, plan.target) == (problem.budgets, problem.link, problem.target)
    assert (plan.trials, plan.study, plan.front) == (7, "search-3", (choice.searched,))
    assert [baseline.role for baseline in plan.baselines] == ["cloud-only"]
    assert (plan.provenance.seed, plan.provenance.command) == (4, ("optimize", "model.py"))
    save(plan, tmp_path / "plan.json")
    assert load(PlanRecord, tmp_path / "plan.json") == plan


def test_its_defense_is_the_calibrated_one(problem):
    evaluator = searching(problem)
    point = point_at(defended(evaluator), "element", 0.5)
    plan = plan_at(evaluator, point)
    assert plan.defense.unfitted == point.defense
    assert [found.node for found in plan.defense.ranges] == [crossing.node for crossing in plan.crossing]


def test_it_names_the_matrices_of_its_projection_by_their_hash(problem):
    evaluator = searching(problem)
    point = point_at(defended(evaluator), share=0.5)
    plan = plan_at(evaluator, point)
    assert plan.projection is not None
    assert plan.projection.sha256 == plan.defense.projection.matrices == evaluator.projection(point).sha256
    assert plan.tuned_weights is None
    assert plan_at(evaluator, point_at(point.cut_id)).projection is None


@pytest.mark.parametrize(("slowdown", "source"), [(1.0, "none"), (5.0, "declared")])
def test_it_says_whether_a_slowdown_was_declared(problem, slowdown, source):
    evaluator = searching(problem, edge_slowdown=slowdown)
    plan = plan_at(evaluator, point_at(defended(evaluator)))
    assert (plan.edge_slowdown, plan.edge_slowdown_source) == (slowdown, source)


def test_its_headline_gives_the_confirm_splits_figures_and_energy_where_power_is_declared(problem):
    evaluator = searching(problem)
    point = point_at(defended(evaluator), "element", 0.5)
    headline = plan_at(evaluator, point).headline
    assert "with element dropout 0.5: latency p95 11.0 ms, top-1 0.8000" in headline
    assert "leakage index at most 0.510" in headline
    assert "energy" not in headline
    power = EdgePower(watts=3.0, joules_per_megabyte=2.0)
    choice = chosen_at(point)
    metered = dataclasses.replace(choice, confirmed=choice.confirmed.model_copy(update={"edge_energy_mj": 1.5}))
    assert "edge energy 1.5 mJ" in plan_at(searching(problem, power=power), point, metered).headline
