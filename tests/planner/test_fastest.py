"""The latency-optimal cut is the fastest of all cuts, held against every down-set of an Inception-like network."""

from __future__ import annotations

import dataclasses
import random

import numpy as np
import pytest
import torch
from branchy import Branchy
from collabplan.defenses import Defense
from collabplan.graph import candidate_cuts, cut_of, load_program, same_values, save_program, split, trace
from collabplan.planner import Problem, SearchOptions, optimize, plan_for, predict_latency
from collabplan.planner.baselines import baseline_cuts
from collabplan.planner.evaluator import Evaluator
from collabplan.planner.fastest import named_cut
from collabplan.planner.latency import defense_ms
from collabplan.profilers import JoinedCut, profile_model
from collabplan.records import Budgets, CollabplanError, Link, Plan, TargetIdentity, Timing, load, save
from collabplan.records.link import HEADER_BYTES
from collabplan.targets import Data, InputScaling
from defense_records import grid, point_at

TARGET = TargetIdentity(spec="tests")
OPTIONS = SearchOptions(defenses=grid(rates=[0.5]), draws=1, leakage_samples=60)


def traced_anew():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = Branchy()
    return trace(model.eval(), (torch.rand(2, 1, 40, 40),))


@pytest.fixture(scope="module")
def branchy():
    torch.set_num_threads(1)
    return traced_anew()


@pytest.fixture(scope="module")
def stated(branchy):
    profile = profile_model(branchy, target=TARGET, seconds=0.1)
    generator = torch.Generator().manual_seed(1)
    data = Data((torch.rand(200, 1, 40, 40, generator=generator),), torch.randint(10, (200,), generator=generator))
    search, confirm = data.splits(0)
    return Problem(
        traced=branchy,
        cuts=tuple(candidate_cuts(branchy)),
        edge_profile=profile,
        cloud_profile=profile,
        link=Link(bandwidth_bps=20e6, rtt_ms=15.0),
        search=search,
        confirm=confirm,
        scaling=InputScaling.from_range(0, 1),
        budgets=Budgets(),
        target=TARGET,
    )


def down_sets(graph):
    """Every proper down-set."""
    found = [np.arange(graph.count) < graph.input_count]
    for unit in range(graph.input_count, graph.count - 1):
        needed = graph.ancestors[:, unit].copy()
        needed[unit] = False
        grown = [mask | (np.arange(graph.count) == unit) for mask in found if mask[needed].all()]
        found += grown
    return [mask for mask in found if mask[graph.input_count :].any() and not mask[:-1].all()]


def drawn(problem, draw, *, measured):
    """The problem with random node times, a random link, and cut timings that are sums of node times.

    `measured` says which cuts carry such timings; the others are marked as interpolated and have nonsense there.
    """
    graph = problem.cuts[0].units
    times = [{node.name: draw.expovariate(1.0) for node in problem.edge_profile.nodes} for _ in range(2)]
    by_unit = [np.zeros(graph.count), np.zeros(graph.count)]
    for side, unit_ms in zip(times, by_unit, strict=True):
        for name, elapsed_ms in side.items():
            if name in graph.unit_of:
                unit_ms[graph.unit_of[name]] += elapsed_ms
    scale = [draw.uniform(0.5, 2.0), draw.uniform(0.5, 2.0)]  # the sum over nodes is not the latency
    by_unit = [unit_ms * factor for unit_ms, factor in zip(by_unit, scale, strict=True)]
    profiles = []
    for unit_ms, side in zip(by_unit, times, strict=True):
        cuts = []
        for cut, record in zip(problem.cuts, problem.edge_profile.cuts, strict=True):
            known = cut.kind != "proper" or measured(cut)
            edge = timing(unit_ms[cut.edge].sum() if known else 1e6) if cut.kind != "cloud-only" else None
            cloud = timing(unit_ms[~cut.edge].sum() if known else 1e6) if cut.kind != "edge-only" else None
            cuts.append(record.model_copy(update={"edge": edge, "cloud": cloud, "interpolated": not known}))
        nodes = tuple(n.model_copy(update={"timing": timing(side[n.name])}) for n in problem.edge_profile.nodes)
        update = {"cuts": tuple(cuts), "nodes": nodes, "whole": timing(unit_ms.sum())}
        profiles.append(problem.edge_profile.model_copy(update=update))
    stated = dataclasses.replace(
        problem,
        edge_profile=profiles[0],
        cloud_profile=profiles[1],
        edge_slowdown=draw.choice([0.2, 1.0, 5.0]),
        link=Link(bandwidth_bps=10 ** draw.uniform(4.5, 8), rtt_ms=10 ** draw.uniform(-1, 2.5)),
    )
    return stated, by_unit


def timing(elapsed_ms):
    return Timing(p50_ms=elapsed_ms, p95_ms=elapsed_ms, iqr_ms=0.0, samples_ms=(float(elapsed_ms),))


def by_hand_ms(problem, unit_ms, mask, template):
    """What the planner's own formulas say of a down-set, its sides added up from node times."""
    graph = problem.cuts[0].units
    crossing = tuple(graph.crossing_records[i] for i in np.flatnonzero(graph.crossings(mask[:, None])[:, 0]))
    defense = Defense(point_at("any").defense, crossing)
    latency = predict_latency(
        JoinedCut(template, timing(unit_ms[0][mask].sum()), timing(unit_ms[1][~mask].sum()), interpolated=False),
        problem.link,
        upload_bytes=defense.payload_bytes(),
        download_bytes=problem.edge_profile.sample_output_bytes,
        device_defense_ms=defense_ms(defense),
        edge_slowdown=problem.edge_slowdown,
    )
    return latency.p50_ms.value


def optimal_ms(objectives, cuts=None):
    """Predicted median of the latency-optimal baseline."""
    undefended = objectives.space.undefended

    def latency_of(cut):
        return objectives.costs(undefended(cut.id)).latency

    extra = objectives.extra.cut if objectives.extra is not None and cuts is None else None
    return latency_of(baseline_cuts(cuts or objectives.problem.cuts, latency_of, extra)["latency-optimal"]).p50_ms.value


def test_the_latency_optimal_cut_is_the_fastest_of_all_down_sets(stated):
    draw = random.Random(0)
    proper = next(record for record in stated.edge_profile.cuts if record.kind == "proper")
    masks = down_sets(stated.cuts[0].units)
    chain = [cut for cut in stated.cuts if cut.kind == "proper" and len(cut.crossing) == 1]
    beats_chain, extras = 0, 0
    for _ in range(30):
        problem, unit_ms = drawn(stated, draw, measured=lambda _cut: True)
        objectives = Evaluator(problem, OPTIONS)
        best = min(by_hand_ms(problem, unit_ms, mask, proper) for mask in masks)
        header_ms = HEADER_BYTES * 8e3 / problem.link.bandwidth_bps
        found = optimal_ms(objectives)
        assert best * (1 - 1e-6) <= found <= best * (1 + 1e-6) + header_ms
        beats_chain += found < 0.999 * optimal_ms(objectives, chain)
        extras += objectives.extra is not None
        assert objectives.extra is None or objectives.extra.proven
    assert beats_chain > 0
    assert extras > 0


def test_a_cut_between_measured_ones_takes_what_its_nodes_add_to_them(stated):
    draw = random.Random(3)
    problem, unit_ms = drawn(stated, draw, measured=lambda cut: len(cut.crossing) == 1)
    names = ["first.two_reduce", "first.three_reduce", "first.pool_project", "first.one"]
    cut = cut_of(problem.traced, names, problem.cuts)
    candidate = named_cut(problem, named(problem, cut))
    assert candidate.id == cut.id
    extra = Evaluator(problem, OPTIONS, named=named(problem, cut)).extra
    assert extra.joined.interpolated
    assert extra.joined.edge.p50_ms == pytest.approx(unit_ms[0][cut.edge].sum())
    assert extra.joined.cloud.p50_ms == pytest.approx(unit_ms[1][~cut.edge].sum())


def named(problem, cut, cut_id=None):
    """A candidate that was measured at `cut`, if not with these figures."""
    first = next(each for each in problem.cuts if each.kind == "proper")
    found = Evaluator(problem, OPTIONS).evaluate(point_at(first.id))
    return found.model_copy(update={"cut_id": cut_id or cut.id, "cut_name": cut.name})


@pytest.fixture(scope="module")
def with_extra(stated):
    """A problem whose fastest cut is no candidate, with a budget that only this cut meets."""
    draw = random.Random(0)
    while True:
        problem, _ = drawn(stated, draw, measured=lambda _cut: True)
        objectives = Evaluator(problem, OPTIONS)
        if objectives.extra is not None:
            own = objectives.costs(point_at(objectives.extra.cut.id)).latency.p95_ms
            others = min(objectives.costs(point_at(cut.id)).latency.p95_ms for cut in problem.cuts)
            if own < others:
                return dataclasses.replace(problem, budgets=Budgets(latency_p95_ms=(own + others) / 2))


@pytest.fixture(scope="module")
def planned(with_extra, tmp_path_factory):
    folder = tmp_path_factory.mktemp("work")
    return optimize(with_extra, OPTIONS, folder), folder


def test_a_plan_at_the_extra_cut_is_written_found_again_and_split_bit_for_bit(with_extra, planned, tmp_path):
    from collabplan.workflows.planned import planned_cut

    outcome, _ = planned
    extra = Evaluator(with_extra, OPTIONS).extra.cut
    assert outcome.plan.cut_id == extra.id
    assert extra.id not in {cut.id for cut in with_extra.cuts}
    assert {b.role: b.candidate.cut_id for b in outcome.baselines}["latency-optimal"] == extra.id
    assert any("searched too" in note for note in outcome.notes)
    save(outcome.plan, tmp_path / "plan.json")
    again = traced_anew()
    halves = split(again, planned_cut(load(Plan, tmp_path / "plan.json"), again))
    save_program(halves.edge, tmp_path / "edge")
    save_program(halves.cloud, tmp_path / "cloud")
    edge, cloud = load_program(tmp_path / "edge"), load_program(tmp_path / "cloud")
    x = torch.rand(3, 1, 40, 40)
    assert same_values(cloud(*edge(x)), again.module(x))


def test_commands_that_take_cuts_by_name_take_the_extra_cut_too(with_extra):
    from collabplan.workflows.cut_choice import choose_cuts

    extra = Evaluator(with_extra, OPTIONS).extra.cut
    chosen = choose_cuts(with_extra.cuts, extra.name, 4)
    assert [cut.id for cut in chosen] == [extra.id, with_extra.cuts[-1].id]
    assert [cut.depth for cut in chosen] == [extra.depth, with_extra.cuts[-1].depth]
    with pytest.raises(CollabplanError, match="unknown"):
        choose_cuts(with_extra.cuts, "first.two_reduce + first.two", 4)


def test_another_link_leaves_the_extra_trials_out_and_the_first_link_finds_them_again(with_extra, planned):
    outcome, folder = planned
    near = dataclasses.replace(with_extra, link=Link(bandwidth_bps=1e12, rtt_ms=0.01), budgets=Budgets())
    found = Evaluator(near, OPTIONS).extra
    assert found is None or found.cut.id != outcome.plan.cut_id
    other = optimize(near, dataclasses.replace(OPTIONS, trials=2), folder)
    assert other.study == outcome.study
    assert (other.trials, other.reused) == (2, 0)
    assert outcome.plan.cut_id not in {candidate.cut_id for candidate in other.front}
    assert any("left out" in note and outcome.plan.cut_name in note for note in other.notes)
    back = optimize(with_extra, OPTIONS, folder)
    assert back.reused == back.trials
    assert back.plan.searched == outcome.plan.searched


def test_a_trial_at_a_cut_that_the_model_does_not_have_is_refused(with_extra):
    objectives = Evaluator(with_extra, OPTIONS)
    for cut_id in ("0" * 12, with_extra.cuts[1].id[::-1]):
        with pytest.raises(CollabplanError, match="does not have"):
            objectives.reprice(named(with_extra, objectives.extra.cut, cut_id))


def test_a_row_at_a_cut_of_another_link_becomes_a_plan(with_extra, planned, tmp_path):
    outcome, _ = planned
    near = dataclasses.replace(with_extra, link=Link(bandwidth_bps=1e12, rtt_ms=0.01), budgets=Budgets())
    made = plan_for(near, OPTIONS, outcome.plan, outcome.plan.searched, tmp_path)
    assert made.plan.cut_id == outcome.plan.cut_id
