"""From a trained network to a plan, on a small CNN and scikit-learn's digits."""

from __future__ import annotations

import dataclasses
import shutil
from typing import Any

import pytest
import torch
from collabplan.graph import candidate_cuts, split, trace
from collabplan.planner import SearchOptions, optimize
from collabplan.planner.evaluator import Evaluator
from collabplan.planner.front import pareto_front
from collabplan.planner.planning import plan_for, sign_question
from collabplan.planner.space import point_of
from collabplan.planner.study_setup import options_of, setup_of
from collabplan.profilers import profile_model
from collabplan.records import (
    Budgets,
    CollabplanError,
    EdgePower,
    Link,
    MismatchError,
    Objective,
    Plan,
    StudySetup,
    load,
    save,
)
from collabplan.records.memory import MemoryBudget
from collabplan.targets import Data
from defense_records import grid, point_at
from planner_fakes import candidate
from torch import nn

OPTIONS = SearchOptions(defenses=grid(rates=(0.3, 0.6)), draws=2, leakage_samples=100)
FEW = SearchOptions(defenses=grid(["element"], [0.3]), draws=1, leakage_samples=50, fastest=False)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("work")


@pytest.fixture(scope="module")
def outcome(problem, folder):
    return optimize(problem, OPTIONS, folder)


def comparable(candidates):
    return [candidate.model_dump(mode="json") for candidate in candidates]


def test_a_plan_is_found_that_meets_the_budgets_on_both_halves(problem, outcome):
    plan = outcome.plan
    assert plan.searched.meets_budgets
    assert plan.chosen.meets_budgets
    assert plan.chosen.accuracy.drop.high <= 0.45
    assert plan.chosen.accuracy.sample_count == len(problem.confirm)
    assert plan.searched in outcome.front
    assert plan.cut_id in {cut.id for cut in problem.cuts}


def test_the_plan_survives_its_file(outcome, tmp_path):
    save(outcome.plan, tmp_path / "plan.json")
    assert load(Plan, tmp_path / "plan.json") == outcome.plan


def test_the_total_and_what_was_ruled_out_add_up_to_the_space(problem, outcome):
    space = Evaluator(problem, OPTIONS).space
    assert outcome.trials == outcome.space
    assert outcome.space + outcome.ruled_out.points == len(space.points)
    assert outcome.ruled_out.points > 0, "edge-only has more than 900 parameters"


def test_a_second_search_finds_the_same(problem, outcome, tmp_path):
    again = optimize(problem, OPTIONS, tmp_path)
    assert comparable(again.front) == comparable(outcome.front)
    assert comparable([again.plan.chosen]) == comparable([outcome.plan.chosen])
    assert comparable(b.candidate for b in again.baselines) == comparable(b.candidate for b in outcome.baselines)


def test_a_candidate_does_not_depend_on_what_was_evaluated_before_it(problem, outcome):
    chosen = outcome.plan.searched
    assert Evaluator(problem, OPTIONS).evaluate(point_of(chosen)) == chosen


@pytest.mark.parametrize(("sign", "asks"), [(1, True), (-1, False)])
def test_a_metric_that_defenses_improve_is_asked_about(problem, tmp_path, sign, asks):
    def loss(outputs, labels):
        return sign * nn.functional.cross_entropy(outputs, labels, reduction="none")

    own = dataclasses.replace(problem, evaluate=loss, budgets=Budgets())
    notes = optimize(own, OPTIONS, tmp_path).notes
    assert any("is higher better in `evaluate`?" in note for note in notes) == asks


def test_a_resumed_search_that_measures_nothing_says_what_the_first_one_said_of_the_metric(problem, tmp_path):
    def small(outputs, labels):
        return 1e-3 * (outputs.argmax(1) == labels).float()

    own = dataclasses.replace(problem, evaluate=small)
    first, again = (optimize(own, FEW, tmp_path) for _ in range(2))
    assert again.reused == again.trials == first.trials
    said = [[note for note in each.notes if "lets all of that be lost" in note] for each in (first, again)]
    assert len(said[0]) == 1
    assert said[0] == said[1]


def test_a_resumed_search_that_measures_nothing_says_that_the_model_is_no_better_than_a_constant(problem, tmp_path):
    swapped = [Data(part.inputs, (part.labels + 3) % 10) for part in (problem.search, problem.confirm)]
    other = dataclasses.replace(problem, search=swapped[0], confirm=swapped[1])
    notes = [optimize(other, FEW, tmp_path).notes for _ in range(2)]
    assert [any("is no better than always answering" in note for note in each) for each in notes] == [True, True]


def test_a_few_lucky_defenses_of_many_ask_nothing(problem):
    own = dataclasses.replace(problem, evaluate=len)

    def lucky(count):
        gained = [candidate(drop=-0.02) for _ in range(count)]
        return sign_question(own, [*gained, *[candidate(drop=0.0) for _ in range(40)]])

    assert lucky(2) == ()
    assert len(lucky(3)) == 1
    assert sign_question(problem, [candidate(drop=-0.02)]) == ()


def test_a_search_goes_on_under_another_link_and_other_budgets(problem, outcome, folder, tmp_path):
    shutil.copytree(folder, tmp_path, dirs_exist_ok=True)
    slow = dataclasses.replace(problem, link=Link(bandwidth_bps=1e6, rtt_ms=80.0), budgets=Budgets(max_leakage=0.99))
    resumed = optimize(slow, OPTIONS, tmp_path)
    fresh = optimize(slow, OPTIONS, tmp_path / "fresh")
    assert 0 < resumed.reused <= outcome.trials
    assert resumed.trials == fresh.trials
    assert comparable(resumed.front) == comparable(fresh.front)


def test_other_data_begin_a_search_of_their_own_which_says_why(problem, tmp_path):
    one = dataclasses.replace(OPTIONS, trials=1)
    said: list[str] = []
    optimize(problem, one, tmp_path)
    other = dataclasses.replace(problem, search=problem.search.take(range(150)))
    assert optimize(other, one, tmp_path, say=said.append).study == "search-2"
    optimize(problem, one, tmp_path, say=said.append)
    optimize(problem, dataclasses.replace(one, fresh=True), tmp_path, say=said.append)
    assert "a new search begins, search-2; search-1 is for something else: validation data was" in said[0]
    assert said[1] == "going on with search-1: 1 candidates were measured before (--fresh begins anew)"
    assert said[2].startswith("a new search begins, search-3")


def test_budgets_that_nothing_meets_name_the_nearest_miss(problem, tmp_path):
    strict = dataclasses.replace(problem, budgets=Budgets(latency_p95_ms=0.001))
    found = optimize(strict, OPTIONS, tmp_path)
    assert found.plan is None
    assert found.trials == 0, "latency rules everything out before any network runs"
    assert "the nearest miss is edge-only: latency p95" in found.nearest_miss
    assert {baseline.role for baseline in found.baselines} >= {"cloud-only", "edge-only"}


def test_energy_is_told_where_power_is_declared_and_can_be_a_budget(problem, tmp_path):
    power = EdgePower(watts=3.0, joules_per_megabyte=2.0)
    declared = dataclasses.replace(problem, power=power, budgets=Budgets(max_edge_energy_mj=0.0001))
    found = optimize(declared, dataclasses.replace(OPTIONS, trials=2), tmp_path)
    assert found.plan is None
    assert found.trials == 0
    assert "edge energy" in found.nearest_miss
    objectives = Evaluator(declared, OPTIONS)
    whole = next(cut for cut in problem.cuts if cut.kind == "edge-only")
    costs = objectives.costs(point_at(whole.id))
    assert costs.edge_energy_mj == pytest.approx(3.0 * costs.latency.parts.edge_ms), "nothing is sent"
    assert Evaluator(problem, OPTIONS).costs(point_at(whole.id)).edge_energy_mj is None


EVERYTHING: tuple[Objective, ...] = ("accuracy", "latency", "leakage", "energy", "payload")


@pytest.fixture(scope="module")
def powered(problem):
    return dataclasses.replace(problem, power=EdgePower(watts=3.0, joules_per_megabyte=2.0))


def test_a_front_of_five_objectives_is_searched_kept_and_exported(powered, outcome, tmp_path):
    options = dataclasses.replace(OPTIONS, objectives=tuple(reversed(EVERYTHING)))
    found = optimize(powered, options, tmp_path)
    assert found.plan is not None
    assert found.objectives == found.plan.objectives == EVERYTHING
    assert 0 < found.hypervolume < 1
    assert {point_of(c) for c in found.front} >= {point_of(c) for c in outcome.front}, "more objectives drop no point"
    whole = pareto_front(found.front, EVERYTHING)
    assert len(whole) >= len(found.front) - 1, "but for the chosen one"
    save(found.plan, tmp_path / "plan.json")
    assert load(Plan, tmp_path / "plan.json").objectives == EVERYTHING
    other = next(c for c in found.front if c.meets_budgets and c != found.chosen)
    loose = dataclasses.replace(powered, budgets=Budgets())
    assert plan_for(loose, options, found.plan, other, tmp_path).plan.objectives == EVERYTHING
    with pytest.raises(MismatchError, match="objectives was accuracy, latency, leakage, energy, payload, now"):
        optimize(powered, dataclasses.replace(OPTIONS, study=found.study), tmp_path)


def test_an_older_plan_is_of_the_default_objectives(outcome):
    older = outcome.plan.model_dump(mode="json")
    del older["objectives"]
    assert Plan.model_validate(older).objectives == ("accuracy", "latency", "leakage")


def test_energy_is_no_objective_where_power_is_not_known(problem, tmp_path):
    with pytest.raises(CollabplanError, match="energy as an objective needs the device's power"):
        optimize(problem, dataclasses.replace(OPTIONS, objectives=("accuracy", "leakage", "energy")), tmp_path)


def test_without_leakage_as_an_objective_the_plan_still_leaks_least_and_it_is_said(problem, outcome, tmp_path):
    found = optimize(problem, dataclasses.replace(OPTIONS, objectives=("accuracy", "payload")), tmp_path)
    assert found.plan.searched == outcome.plan.searched, "the whole space was visited in either case"
    assert any(note.startswith("leakage is no objective") for note in found.notes)
    assert not any(note.startswith("leakage is no objective") for note in outcome.notes)


def test_workers_search_by_the_same_objectives(powered):
    setup = setup_of(powered, dataclasses.replace(OPTIONS, objectives=("leakage", "energy")))
    read = StudySetup.model_validate_json(setup.model_dump_json())
    assert options_of(read, "postgresql://").objectives == ("leakage", "energy")


def test_the_baselines_are_what_they_are_called(problem, outcome):
    found = {baseline.role: baseline.candidate for baseline in outcome.baselines}
    assert set(found) == {"cloud-only", "edge-only", "latency-optimal", "middle"}
    assert found["cloud-only"].leakage.index.value == 1.0
    assert found["edge-only"].leakage.index.value == 0.0
    objectives = Evaluator(problem, OPTIONS)
    proper = [objectives.costs(point_at(cut.id)).latency.p50_ms.value for cut in problem.cuts if cut.kind == "proper"]
    assert found["latency-optimal"].latency.p50_ms.value == min(proper)
    assert all(candidate.defense.dropout is None for candidate in found.values())


def within(candidates):
    return [candidate for candidate in candidates if candidate.meets_budgets]


def test_with_one_trial_a_baseline_that_tells_nothing_is_the_plan(problem, tmp_path):
    roomy = dataclasses.replace(problem, budgets=Budgets(max_accuracy_drop=0.45))
    found = optimize(roomy, dataclasses.replace(OPTIONS, trials=1), tmp_path)
    assert found.trials == 1
    assert (found.plan.cut_kind, found.plan.chosen.index.high) == ("edge-only", 0.0)
    again = optimize(roomy, dataclasses.replace(OPTIONS, trials=1), tmp_path)
    assert again.reused == again.trials == 1
    assert comparable([again.plan.chosen, *again.front]) == comparable([found.plan.chosen, *found.front])


@pytest.mark.parametrize("wire", [{}, {"bits": 2}, {"rank": 4}])
def test_a_baseline_is_no_better_than_the_plan_beside_it_also_where_the_space_lacks_it(problem, tmp_path, wire):
    small = dataclasses.replace(problem, budgets=Budgets(max_accuracy_drop=0.45, max_edge_parameters=900))
    found = optimize(small, dataclasses.replace(OPTIONS, trials=2, defenses=grid([], wires=[wire])), tmp_path)
    shown = within(baseline.candidate for baseline in found.baselines)
    assert shown
    assert found.plan.chosen.index.value <= min(candidate.index.value for candidate in shown)
    assert found.plan.searched.index.value <= min(candidate.index.value for candidate in within(found.front))


def test_nothing_is_measured_twice(problem, tmp_path, monkeypatch):
    asked = []
    evaluate = Evaluator.evaluate

    def noted(self, point, split="search"):
        asked.append((point, split))
        return evaluate(self, point, split)

    monkeypatch.setattr(Evaluator, "evaluate", noted)
    optimize(problem, dataclasses.replace(OPTIONS, trials=4), tmp_path)
    assert len(asked) == len(set(asked))


def test_dropout_is_offered_only_where_it_can_act(problem):
    space = Evaluator(problem, OPTIONS).space
    assert not any(cut.id in space.kinds for cut in problem.cuts if cut.kind != "proper")
    assert ("element", "channel") in space.kinds.values()


def test_without_dropout_the_other_defenses_are_searched(problem):
    wires: tuple[dict[str, Any], ...] = ({}, {"bits": 2}, {"noise": "gaussian", "noise_std": 0.3})
    space = Evaluator(problem, dataclasses.replace(OPTIONS, defenses=grid([], wires=wires))).space
    defended = next(iter(space.kinds))
    assert space.points_of(defended) == [point_at(defended, **wire) for wire in wires]
    assert space.spelled(defended, "element", 2, 1) == point_at(defended, **wires[1])


def test_channel_dropout_of_a_plain_vector_is_element_dropout(problem):
    model = nn.Sequential(nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 3)).eval()
    traced = trace(model, (torch.rand(2, 8),))
    profile = profile_model(traced, target=problem.target, seconds=0.2)
    vectors = dataclasses.replace(
        problem, traced=traced, cuts=tuple(candidate_cuts(traced)), edge_profile=profile, cloud_profile=profile
    )
    kinds = Evaluator(vectors, OPTIONS).space.kinds
    assert {kinds[cut.id] for cut in vectors.cuts if cut.kind == "proper"} == {("element",)}


def test_more_dropout_costs_accuracy_and_nothing_else(problem):
    objectives = Evaluator(problem, OPTIONS)
    cut = next(cut for cut in problem.cuts if cut.id in objectives.space.kinds)
    none, some = (objectives.evaluate(point) for point in (point_at(cut.id), point_at(cut.id, "element", 0.6)))
    assert some.accuracy.drop.value > none.accuracy.drop.value
    assert some.leakage.index.value < none.leakage.index.value
    assert some.payload_bytes == none.payload_bytes


def test_fewer_bits_are_cheaper_and_noise_leaks_less(problem):
    wires: tuple[dict[str, Any], ...] = ({}, {"bits": 2}, {"noise": "gaussian", "noise_std": 0.3})
    objectives = Evaluator(problem, dataclasses.replace(OPTIONS, defenses=grid(rates=(0.3, 0.6), wires=wires)))
    cut = next(cut for cut in problem.cuts if cut.id in objectives.space.kinds)
    usual, coarse, noisy = (objectives.evaluate(point_at(cut.id, **wire)) for wire in wires)
    assert coarse.payload_bytes * 4 == usual.payload_bytes
    assert coarse.latency.p95_ms < usual.latency.p95_ms
    assert coarse.leakage.index.value < usual.leakage.index.value
    assert noisy.leakage.index.value < usual.leakage.index.value
    assert noisy.payload_bytes == usual.payload_bytes
    raw = next(cut for cut in problem.cuts if cut.kind == "cloud-only")
    assert objectives.space.points_of(raw.id) == [point_at(raw.id)]


def test_the_undefended_cut_without_quantizer_loses_nothing(problem):
    objectives = Evaluator(
        problem, dataclasses.replace(OPTIONS, defenses=grid(rates=(0.3, 0.6), wires=[{"bits": None}]))
    )
    cut = next(cut for cut in problem.cuts if cut.kind == "proper")
    accuracy = objectives.evaluate(objectives.space.undefended(cut.id)).accuracy
    whole = split(problem.traced, cut)
    outputs = whole.cloud(*whole.edge(problem.search.inputs[0]))
    assert accuracy.drop.high == 0.0
    assert accuracy.undefended == pytest.approx(float((outputs.argmax(1) == problem.search.labels).double().mean()))


def test_the_samples_for_leakage_do_not_depend_on_the_memory(problem):
    narrow = Evaluator(problem, dataclasses.replace(OPTIONS, memory=MemoryBudget(60_000)))
    assert narrow.leakage_samples == 100


def test_a_profile_of_another_model_is_refused(problem):
    other = trace(nn.Sequential(nn.Linear(8, 3)).eval(), (torch.rand(2, 8),))
    with pytest.raises(MismatchError, match="another structure"):
        Evaluator(dataclasses.replace(problem, traced=other), OPTIONS)
