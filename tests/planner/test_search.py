"""The walk through the space: order, totals, no repeats, proposals that depend on completed trials alone."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import optuna
import pytest
from collabplan.defenses import defenses_of
from collabplan.planner.front import hypervolume, objectives
from collabplan.planner.samplers import proposer_named
from collabplan.planner.search import Walk, search_points
from collabplan.planner.space import Space, point_of
from collabplan.planner.study import open_store
from collabplan.records import DEFAULT_OBJECTIVES, Budgets, CollabplanError
from defense_records import grid, point_at
from planner_fakes import FINGERPRINT, candidate, evaluate, space


def run(
    folder,
    searched,
    *,
    trials=None,
    allowed=None,
    budgets=None,
    evaluator=evaluate,
    seed=0,
    resume=False,
    objectives=DEFAULT_OBJECTIVES,
    on_progress=None,
    **more,
):
    with open_store(folder, FINGERPRINT, searched, resume=resume, objectives=objectives) as store:
        points = searched.points if allowed is None else allowed
        walk = Walk(points, evaluator, budgets or Budgets(), seed, trials, **more)
        return search_points(store, walk, on_progress)


def test_a_small_space_is_enumerated_cut_by_cut(tmp_path):
    searched = space(3)
    visited = []

    def record(point):
        visited.append(point)
        return evaluate(point)

    assert len(run(tmp_path, searched, evaluator=record).candidates) == 39
    assert visited == list(searched.points)
    cuts = [point.cut_id for point in visited]
    assert cuts == sorted(cuts)


def test_a_space_has_one_spelling_per_point():
    searched = Space(("a", "b"), {"b": ("element",)}, grid(rates=[0.5]))
    assert searched.points == (point_at("a"), point_at("b"), point_at("b", "element", 0.5))
    assert searched.spelled("a", "channel", 1) == point_at("a")
    assert searched.spelled("b", "element", 0) == point_at("b")
    assert searched.spelled("b", "channel", 1) == point_at("b", "element", 0.5)


def test_rates_are_searched_in_their_order_and_once_however_they_are_given():
    given = defenses_of(["dropout:element:0.6", "none", "dropout:element:0.3,0.6"])
    assert [point.defense.text for point in Space(("a",), {"a": ("element",)}, given).points] == [
        "none", "dropout:element:0.3", "dropout:element:0.6",
    ]  # fmt: skip


def test_defenses_that_are_no_grid_are_searched_as_they_are_given(tmp_path):
    given = defenses_of(["projection:rank=4 dropout:element:0.5", "dropout:channel:0.2,0.7", "none"])
    searched = Space(("a", "b"), dict.fromkeys("ab", ("element", "channel")), given)
    texts = ["projection:rank=4 dropout:element:0.5", "none", "dropout:channel:0.2", "dropout:channel:0.7"]
    assert [point.defense.text for point in searched.points] == texts * 2
    meant = {
        searched.spelled("a", kind, rate, wire)
        for kind in ("element", "channel")
        for rate in range(len(searched.rates) + 1)
        for wire in range(len(searched.wires))
    }
    assert meant == set(searched.points_of("a"))
    for sampler in ("tpe", "nsga2", "random"):
        found = run(tmp_path / sampler, searched, trials=8, sampler=sampler, evaluator=lambda p: candidate(p))
        assert {point_of(each) for each in found.candidates} == set(searched.points)


def test_uneven_rates_can_be_stored(tmp_path):
    searched = Space(("cut00", "cut01"), {"cut01": ("element",)}, grid(["element"], (0.05, 0.3, 0.95)))
    run(tmp_path, searched)
    study = optuna.load_study(study_name="search-1", storage=f"sqlite:///{tmp_path / 'study.db'}")
    assert sorted(trial.params["rate"] for trial in study.trials) == [0.0, 0.0, 0.05, 0.3, 0.95]


def test_nothing_that_is_not_allowed_is_evaluated(tmp_path):
    searched = space(14)
    allowed = [point for point in searched.points if point.cut_id in ("cut02", "cut05", "cut13")]
    found = run(tmp_path, searched, allowed=allowed, trials=24)
    assert {point_of(item) for item in found.candidates} <= set(allowed)
    assert len(found.candidates) == 24


def test_no_allowed_point_means_no_trial(tmp_path):
    assert run(tmp_path, space(3), allowed=[]).candidates == ()


def test_the_next_proposal_depends_on_completed_trials_alone():
    searched, budgets = space(12), Budgets(max_leakage=0.6)
    done = [evaluate(point) for point in searched.points[::7]]
    unseen = [point for point in searched.points if point not in {point_of(item) for item in done}]

    def propose(seed):
        proposer = proposer_named("tpe", searched, searched.points, budgets, seed)
        for item in done:
            proposer.learn(item)
        return proposer.propose(set(), unseen, len(done))

    assert propose(0) == propose(0)
    assert len({propose(seed) for seed in range(4)}) > 1


def test_proposals_beat_chance(tmp_path, monkeypatch):
    searched, budgets = space(20), Budgets(max_leakage=0.5)
    reference = (0.0, 60.0, 1.0)

    def volume(name):
        found = run(
            tmp_path / name, searched, trials=40, budgets=budgets, evaluator=lambda p: evaluate(p, 20), seed=1
        ).candidates
        return hypervolume([objectives(item) for item in found if item.meets_budgets], reference)

    guided = volume("guided")
    monkeypatch.setattr("collabplan.planner.samplers.STARTUP_TRIALS", 10**6)
    assert guided > volume("chance")


@pytest.mark.parametrize(
    ("sampler", "total"),
    [("tpe", 25), ("gp", 12), ("nsga2", 25), ("nsga3", 25), ("random", 25), ("exhaustive", 25)],
)
def test_every_sampler_visits_allowed_points_once_and_goes_on_after_a_stop(tmp_path, sampler, total):
    searched = space(8)
    allowed = [point for point in searched.points if point.cut_id != "cut03"]

    def visited(folder, *trials):
        for resume, total in enumerate(trials):
            found = run(folder, searched, allowed=allowed, trials=total, sampler=sampler, resume=bool(resume))
        return [point_of(item) for item in found.candidates]

    whole = visited(tmp_path / "whole", total)
    assert visited(tmp_path / "parts", 7, total - 1, total) == whole
    assert len(set(whole)) == total
    assert set(whole) <= set(allowed)


@pytest.mark.filterwarnings("ignore:Box decomposition")
@pytest.mark.parametrize("sampler", ["tpe", "gp", "nsga2", "nsga3", "random"])
@pytest.mark.parametrize("names", [("accuracy", "leakage"), ("accuracy", "latency", "leakage", "energy", "payload")])
def test_every_sampler_searches_by_other_objectives(tmp_path, sampler, names):
    def priced(point):
        return evaluate(point).model_copy(update={"edge_energy_mj": 1.0 + point.defense.rate, "payload_bytes": 10})

    total = 11 if sampler == "gp" else 25
    found = run(tmp_path, space(6), trials=total, sampler=sampler, objectives=names, evaluator=priced)
    assert len({point_of(item) for item in found.candidates}) == total


def test_wires_multiply_the_points_where_something_can_be_defended(tmp_path):
    wires: tuple[dict[str, Any], ...] = ({}, {"bits": 4}, {"noise": "gaussian", "noise_std": 0.05})
    searched = Space(("raw", "b"), {"b": ("element",)}, grid(["element"], [0.5], wires))
    assert len(searched.points) == 1 + 3 * 2
    assert len({point.key for point in searched.points}) == len(searched.points)
    assert searched.undefended("b") == point_at("b")
    found = run(tmp_path, searched, evaluator=lambda p: candidate(p))
    assert [point_of(item) for item in found.candidates] == list(searched.points)
    wide = Space(space(6).cut_ids, space(6).kinds, grid(wires=wires))
    for sampler in ("tpe", "nsga2"):
        made = run(tmp_path / sampler, wide, trials=25, sampler=sampler, evaluator=lambda p: candidate(p)).candidates
        assert len({point_of(item).wire for item in made}) == 3
    with pytest.raises(CollabplanError, match="no defense"):
        Space(("b",), {}, ())


@pytest.mark.parametrize("sampler", ["nsga2", "random"])
def test_a_sequence_comes_to_its_end(tmp_path, sampler):
    searched = space(2)
    found = run(tmp_path, searched, trials=len(searched.points) - 1, sampler=sampler)
    assert len({point_of(item) for item in found.candidates}) == len(searched.points) - 1


def test_an_evaluation_that_fails_ends_the_search_and_keeps_what_was_done(tmp_path):
    searched = space(2)

    def fail_at_third(point):
        if point == searched.points[2]:
            raise CollabplanError("cannot be measured")
        return evaluate(point)

    with pytest.raises(CollabplanError, match="cannot be measured"):
        run(tmp_path, searched, evaluator=fail_at_third)
    assert run(tmp_path, searched, resume=True).reused == 2


def test_earlier_trials_are_priced_and_judged_anew(tmp_path):
    searched = space(2)
    run(tmp_path, searched, trials=1)

    def reprice(item):
        return candidate(point_of(item), latency_ms=99.0)

    found = run(tmp_path, searched, trials=1, resume=True, budgets=Budgets(latency_p95_ms=50.0), reprice=reprice)
    assert found.candidates[0].latency.p95_ms == 100.0
    assert not found.candidates[0].meets_budgets


def test_progress_counts_all_trials_of_the_study(tmp_path):
    told = []
    run(tmp_path, space(2), trials=4)
    run(tmp_path, space(2), trials=8, resume=True, on_progress=lambda what, share: told.append((what, share)))
    assert [share for _, share in told] == [5 / 8, 6 / 8, 7 / 8, 1.0]
    assert told[0][0].startswith("trial 5 of 8")


def test_constraints_reach_optuna(tmp_path):
    searched = space(2)
    with open_store(tmp_path, FINGERPRINT, searched, resume=False) as store:
        store.add(candidate(latency_ms=59.0), Budgets(latency_p95_ms=50.0, max_leakage=0.9), datetime.now())
    study = optuna.load_study(study_name="search-1", storage=f"sqlite:///{tmp_path / 'study.db'}")
    assert study.trials[0].constraints["latency"] == pytest.approx(0.2)
    assert study.trials[0].constraints["leakage"] < 0
    assert study.metric_names == ["accuracy", "latency_p95_ms", "leakage_index"]
