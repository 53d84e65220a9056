"""A share of the directions as a part of the search: cheaper to send, attacked as it leaves, part of the plan."""

import dataclasses
from typing import Any

import pytest
import torch
from collabplan.attacks import EFFORTS
from collabplan.defenses import Defense
from collabplan.estimators import projection_fit
from collabplan.planner import SearchOptions, SearchResult, optimize
from collabplan.planner.audits import ask
from collabplan.planner.choose import described
from collabplan.planner.evaluator import Evaluator
from collabplan.planner.space import Space, point_of
from collabplan.planner.study_setup import options_of, setup_of
from collabplan.records import Budgets, CollabplanError, CutError, Granularity, MismatchError, ProjectionRecord
from defense_records import defense_record, grid, point_at

WIRES: tuple[dict[str, Any], ...] = ({}, {"share": 0.5}, {"share": 0.17})
OPTIONS = SearchOptions(defenses=grid(["element"], [0.5], WIRES), draws=2, leakage_samples=100)


def defended(problem):
    """The id of the first cut that a defense acts on."""
    space = Evaluator(problem, OPTIONS).space
    return next(cut.id for cut in problem.cuts if space.kinds.get(cut.id))


def test_fewer_directions_are_cheaper_leak_less_and_cost_accuracy(problem):
    found = Evaluator(problem, OPTIONS)
    whole, half, one = (found.evaluate(point_at(defended(problem), **wire)) for wire in WIRES)
    assert (half.payload_bytes * 2, one.payload_bytes * 6) == (whole.payload_bytes, whole.payload_bytes)
    assert one.latency.parts.transfer_ms < half.latency.parts.transfer_ms < whole.latency.parts.transfer_ms
    assert half.latency.parts.defense_ms > whole.latency.parts.defense_ms
    assert one.leakage.index.value < half.leakage.index.value < whole.leakage.index.value
    assert one.accuracy.drop.value > whole.accuracy.drop.value
    assert [point_of(candidate).defense for candidate in (whole, half, one)] == [defense_record(**w) for w in WIRES]


def test_the_ones_that_are_kept_cost_less_accuracy_than_any_others(problem, monkeypatch):
    found = Evaluator(problem, OPTIONS)
    point = point_at(defended(problem), **WIRES[1])
    best = found.evaluate(point).accuracy.accuracy.value
    fit = projection_fit.fit_projection

    def turned_round(*args, **options):
        fitted = fit(*args, **options)
        every = dataclasses.replace(
            fitted.every,
            encode={node: each.flip(0) for node, each in fitted.every.encode.items()},
            decode={node: each.flip(1) for node, each in fitted.every.decode.items()},
        )
        return dataclasses.replace(fitted, every=every)

    monkeypatch.setattr(projection_fit, "fit_projection", turned_round)
    assert best > Evaluator(problem, OPTIONS).evaluate(point).accuracy.accuracy.value + 0.1


def test_baselines_keep_all_directions_and_so_does_what_has_none_to_leave_out(problem):
    narrow = dataclasses.replace(OPTIONS, defenses=grid(["element"], [0.5], WIRES[1:]))
    space = Evaluator(problem, narrow).space
    assert space.undefended(defended(problem)) == point_at(defended(problem))
    refused = frozenset(("b", ProjectionRecord(**wire)) for wire in WIRES[1:])
    kinds: dict[str, tuple[Granularity, ...]] = {"a": ("element",), "b": ("element",)}
    scalar = Space(("a", "b"), kinds, grid(["element"], [0.5], WIRES), refused)
    assert len(scalar.points_of("a")) == 3 * len(scalar.points_of("b")) == 6
    for drawn in range(3):
        point = scalar.spelled("b", "element", 1, drawn)
        assert point == point_at("b", "element", 0.5)
        assert scalar.parameters(point)["wire"] == 0


def test_directions_of_the_whole_have_no_channels_to_drop(problem):
    few: dict[str, Any] = {"bits": 4, "rank": 5}
    found = Evaluator(problem, dataclasses.replace(OPTIONS, defenses=grid(rates=[0.5], wires=[{}, few])))
    cut = defended(problem)
    assert [point.defense.text for point in found.space.points_of(cut)] == [
        "none", "dropout:element:0.5", "dropout:channel:0.5",
        "projection:rank=5 quantizer:bits=4", "projection:rank=5 dropout:element:0.5 quantizer:bits=4",
    ]  # fmt: skip
    assert found.space.spelled(cut, "channel", 1, 1) == point_at(cut, "element", 0.5, **few)
    candidate = found.evaluate(point_at(cut, **few))
    assert (candidate.defense.projection.rank, candidate.payload_bytes) == (5, 3)
    assert point_of(candidate) == point_at(cut, **few)
    assert described(candidate).endswith("rank-5 projection, 4 bits")
    assert candidate.leakage.index.value < found.evaluate(point_at(cut)).leakage.index.value


def test_where_no_gradient_tells_directions_apart_all_are_kept(problem, monkeypatch):
    def dead(*_, **__):
        raise CutError("no gradient crosses")

    monkeypatch.setattr("collabplan.estimators.projection_fit.fit_projection", dead)
    found = Evaluator(problem, OPTIONS)
    assert all(point.defense.projection is None for point in found.space.points)
    with pytest.raises(CollabplanError, match="leave the projection out"):
        found.evaluate(point_at(defended(problem), **WIRES[1]))


def test_the_attackers_device_ends_in_codes(problem):
    found = Evaluator(problem, OPTIONS)
    point = point_at(defended(problem), **WIRES[1])
    defense, cut = found.defense(point), found.cuts[point.cut_id]
    target = ask(problem.traced, cut, defense, problem.scaling, problem.attackers, seed=0).target
    (codes,) = target.clean_rows(problem.search)
    assert codes.shape[1:] == (3, 4, 4)
    assert target.payload_bytes == defense.payload_bytes() == 48
    released = target.release(problem.search, torch.Generator().manual_seed(0))
    assert [row.shape for row in released.rows] == [codes.shape]
    outputs = target.cloud([codes])
    halves = found.activations.halves(cut)
    (rows,) = found.activations.rows(cut, problem.search)
    back = defense.matrices.decoded(cut.crossing[0], codes)
    assert torch.allclose(outputs, halves.cloud(back), atol=1e-5)
    assert not torch.allclose(outputs, halves.cloud(rows), atol=1e-2)


def planned(problem, folder) -> SearchResult:
    budgets = Budgets(max_accuracy_drop=0.9, max_payload_bytes=50, max_edge_parameters=900)
    return optimize(dataclasses.replace(problem, budgets=budgets), OPTIONS, folder)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("work")


@pytest.fixture(scope="module")
def outcome(problem, folder):
    return planned(problem, folder)


def test_a_plan_names_its_directions_and_is_bound_to_them(problem, outcome):
    plan = outcome.plan
    assert plan.defense.projection.share < 1
    assert plan.chosen.defense.projection.share == plan.defense.projection.share
    assert "of the channels" in plan.headline
    assert plan.projection.sha256 == plan.defense.projection.matrices == outcome.projection.sha256
    cut = next(cut for cut in problem.cuts if cut.id == plan.cut_id)
    with pytest.raises(MismatchError, match="not the projection"):
        Defense.bound(plan.defense, cut.crossing, None)
    assert Defense.bound(plan.defense, cut.crossing, outcome.projection).payload_bytes() == plan.chosen.payload_bytes


def test_the_same_seed_finds_the_same_front_and_resumes_it(problem, outcome, folder, tmp_path):
    assert planned(problem, tmp_path).front == outcome.front
    fewer = grid(["element"], [0.5], WIRES[:2])
    with pytest.raises(MismatchError, match="defenses was"):
        optimize(problem, dataclasses.replace(OPTIONS, defenses=fewer, study=outcome.study), folder)


def test_workers_search_the_same_defenses(problem):
    setup = setup_of(problem, OPTIONS)
    assert options_of(setup, "postgresql://nowhere").searched == OPTIONS.searched


def test_attacks_on_a_plan_with_directions_run(problem, tmp_path):
    from collabplan.attacks import attack_named
    from collabplan.planner import AuditOptions

    quick = dataclasses.replace(EFFORTS["quick"], targets=40, fit_samples=60, train_steps=5)
    audit = AuditOptions(quick, quick, (attack_named("prior"), attack_named("ridge")), seeds=1)
    budgets = Budgets(max_accuracy_drop=0.9, max_payload_bytes=50, max_edge_parameters=900)
    outcome = optimize(
        dataclasses.replace(problem, budgets=budgets), dataclasses.replace(OPTIONS, audit=audit), tmp_path
    )
    assert outcome.plan.chosen.audited is not None
    assert outcome.plan.chosen.defense.projection.share < 1
