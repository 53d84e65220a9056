"""A stage that somebody writes elsewhere is searched, measured and attacked like those of collabplan."""

import dataclasses

import pytest
import torch
from collabplan.attacks import AuditRequest, Effort, attack_named, run_audit
from collabplan.attacks.release_law import ReleaseLaw
from collabplan.attacks.threat import AttackFailed
from collabplan.defenses import CustomStage, Defense, Simulated, catalogue, defenses_of
from collabplan.defenses.conformance import check_stage
from collabplan.estimators import CutLeakage, EdgeActivations, Secrets, Sensitivity
from collabplan.planner import AuditOptions, SearchOptions, optimize
from collabplan.planner.audits import ask
from collabplan.planner.evaluator import Evaluator
from collabplan.planner.space import Point
from collabplan.records import Budgets, CollabplanError, RecordError

# ruff: noqa: ARG002 (a stage takes what its protocol gives)

QUICK = Effort("quick", 40, 120, 20, 10, 8, 8, False)


@dataclasses.dataclass(frozen=True)
class Shuffled(CustomStage):
    """Noise of a kind that collabplan does not have: it moves numbers by whole steps."""

    name = "steps"
    random = True
    unbiased = True
    nanoseconds_per_number = 60.0
    size: float = 0.5

    def apply(self, rows, crossing, source):
        moved = source.uniform("moved", rows.shape) * 2 - 1
        return rows + self.size * moved

    def expected(self, rows, crossing):
        return rows


@dataclasses.dataclass(frozen=True)
class Sign(CustomStage):
    """Nothing but signs is sent, and no gradient tells where they change."""

    name = "sign"
    differentiable = False

    def apply(self, rows, crossing, source):
        return rows.sign()


def searched(problem, tmp_path, *given, **options):
    attacks = tuple(attack_named(name) for name in ("prior", "ridge"))
    audit = AuditOptions(QUICK, QUICK, attacks, seeds=1, most=1)
    asked = SearchOptions(defenses=given, draws=1, leakage_samples=100, audit=audit, fastest=False, **options)
    budgets = Budgets(max_edge_parameters=900, max_accuracy_drop=0.9)
    return optimize(dataclasses.replace(problem, budgets=budgets), asked, tmp_path)


def test_it_is_optimized_measured_and_attacked(problem, tmp_path):
    check_stage(Shuffled(0.5))
    found = searched(problem, tmp_path, "none", [Shuffled(0.5)], "steps:size=2 quantizer:bits=4")
    texts = {candidate.defense.text for candidate in found.front}
    assert texts & {"steps:size=0.5", "steps:size=2.0 quantizer:bits=4"}
    assert found.plan.chosen.audited is not None
    point = Point(early(problem), defenses_of([Shuffled(2.0)])[0])
    plain = Point(point.cut_id)
    objectives = Evaluator(problem, SearchOptions(defenses=["none", Shuffled(2.0)], draws=1, leakage_samples=100))
    hidden, bare = objectives.evaluate(point), objectives.evaluate(plain)
    assert hidden.leakage.index.value < bare.leakage.index.value
    assert hidden.accuracy.drop.value > bare.accuracy.drop.value
    assert hidden.latency.parts.defense_ms > bare.latency.parts.defense_ms
    assert hidden.leakage.information_low_nats == 0
    audited = run_audit(request(problem, objectives, point), (attack_named("ridge"),), QUICK, seed=0)
    labels = [each.attack for each in audited.record.attacks]
    assert "ridge (10 releases)" in labels, "its draws are new for each release, and an attacker averages them"
    figures = {each.attack: each.figures.index.value for each in audited.record.attacks}
    assert figures["ridge (10 releases)"] > figures["ridge"]


def early(problem):
    space = Evaluator(problem, SearchOptions(draws=1)).space
    return next(cut.id for cut in problem.cuts if space.kinds.get(cut.id))


def request(problem, objectives, point) -> AuditRequest:
    cut, defense = objectives.cuts[point.cut_id], objectives.defense(point)
    return ask(problem.traced, cut, defense, problem.scaling, problem.attackers, seed=0)


def test_what_no_gradient_crosses_fails_and_is_not_private(problem):
    objectives = Evaluator(problem, SearchOptions(defenses=["none", Sign()], draws=1, leakage_samples=100))
    asked = request(problem, objectives, Point(early(problem), defenses_of(Sign())[0]))
    found = run_audit(asked, (attack_named("ridge"), attack_named("likelihood")), QUICK, seed=0).record
    by_name = {each.attack: each for each in found.attacks}
    assert by_name["likelihood"].status == "failed"
    assert "no gradient crosses stage sign, which is no privacy" in by_name["likelihood"].reason
    assert by_name["ridge"].status == "ok"
    assert not found.tiers[-1].conclusive


def test_a_random_stage_that_does_not_say_its_mean_fails_white_box_attacks(problem):
    @dataclasses.dataclass(frozen=True)
    class Silent(Shuffled):
        name = "silent"

        def expected(self, rows, crossing):
            return None

    objectives = Evaluator(problem, SearchOptions(defenses=["none", Silent()], draws=1, leakage_samples=100))
    asked = request(problem, objectives, Point(early(problem), defenses_of(Silent())[0]))
    from collabplan.attacks.adversary_view import AdversaryView

    view = AdversaryView(asked.target, asked.auxiliary, "white-box")
    with pytest.raises(AttackFailed, match="does not say what it releases on average"):
        ReleaseLaw.of(view)


def test_no_lower_bound_and_no_fisher_information_behind_a_stage_of_ones_own(problem):
    cut = next(cut for cut in problem.cuts if cut.id == early(problem))
    activations = EdgeActivations(problem.traced)
    (record,) = defenses_of([[Shuffled(2.0)]])
    rows = activations.rows(cut, problem.search)
    noisy = record.model_copy(update={"stages": (record.stages[0], *defenses_of("noise:gaussian:0.05")[0].stages)})
    defense = Defense.for_cut(noisy, cut).calibrate(activations.to_graph(cut, rows))
    codes = defense.transforms.apply_rows(rows, Simulated(torch.Generator().manual_seed(0)))
    secrets = Secrets.of(problem.search, problem.traced, problem.scaling)
    found = CutLeakage(codes, secrets, dataclasses.replace(cut, crossing=defense.tail.crossing), random_rows=True)
    leak = found.under(defense.tail, generator=torch.Generator().manual_seed(0))
    assert leak.information_low_nats == 0
    assert leak.resolvable_noise is None
    traces = (torch.ones(4, dtype=torch.float64),)
    with pytest.raises(CollabplanError, match="dFIL is not computable under steps"):
        Sensitivity(traces, 64).leakage(defense)


def test_its_draws_are_its_own_and_labelled(problem):
    names = []

    class Spy(Simulated):
        def uniform(self, name, shape):
            names.append(name)
            return super().uniform(name, shape)

    cut = next(cut for cut in problem.cuts if cut.id == early(problem))
    (record,) = defenses_of([[Shuffled(0.5), Shuffled(0.5), defenses_of("dropout:element:0.5")[0].stages[0]]])
    rows = EdgeActivations(problem.traced).rows(cut, problem.search)
    defense = Defense.for_cut(record, cut)
    defense = defense.calibrate(rows)
    defense.release(rows, Spy(torch.Generator().manual_seed(0)))
    node = cut.crossing[0].node
    assert names == [f"stage:steps/2/{node}/moved", f"stage:steps/1/{node}/moved", f"{node}/mask"]


def test_a_plan_with_a_stage_that_is_not_known_here_is_one_clear_line(monkeypatch):
    (record,) = defenses_of([Shuffled(0.5)])
    monkeypatch.setattr(catalogue, "_known", {})
    with pytest.raises(RecordError, match="'steps' is not part of collabplan; list its class in the target file's"):
        _ = Defense(record, ()).transforms
    monkeypatch.setattr(catalogue, "_known", {"steps": type("Newer", (Shuffled,), {"revision": 2})})
    with pytest.raises(RecordError, match="is of revision 1 there and 2 here"):
        _ = Defense(record, ()).transforms
