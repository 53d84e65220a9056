"""Attacks run where they decide something: whoever wins was attacked, and what nobody attacked is a prediction."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from collabplan.attacks import Effort, attack_named
from collabplan.attacks.inverse import InverseNetwork
from collabplan.graph import candidate_cuts, trace
from collabplan.planner import AuditOptions, Roles, SearchOptions, optimize
from collabplan.planner.audits import most_telling
from collabplan.planner.budgets import PRIVACY, checks
from collabplan.planner.choose import CONFIRM_TRIES, LATE_AUDITS, choose
from collabplan.profilers import profile_model
from collabplan.records import Budgets, Interval
from collabplan.targets import Data
from defense_records import grid, point_at
from planner_fakes import audited, candidate
from torch import nn

EFFORT = Effort("quick", 40, 60, 10, 5, 4, 8, False)
SUITE = tuple(attack_named(name) for name in ("prior", "ridge", "inverse", "likelihood"))
OPTIONS = SearchOptions(
    defenses=grid(rates=(0.3, 0.6)), draws=2, leakage_samples=100, audit=AuditOptions(EFFORT, EFFORT, SUITE, seeds=2)
)


class Audits:
    """Attackers whose findings are known: by cut, on the search split and on the confirm split."""

    def __init__(self, found, confirmed=None):
        self.found, self.confirmed, self.asked = found, confirmed or {}, []

    def searched(self, item):
        self.asked.append(("search", item.cut_id))
        return item.model_copy(update={"audited": self.found[item.cut_id], "predicted": None})

    def hardest(self, item):
        self.asked.append(("confirm", item.cut_id))
        searched = self.found[item.cut_id].model_copy(update={"effort": "thorough"})
        known = self.confirmed.get(item.cut_id, searched)
        return item.model_copy(update={"audited": known.model_copy(update={"split": "confirm"})})


def predicted(cut, low, value, high):
    ends = Interval(value=value, low=low, high=high, level=0.9)
    return candidate(point_at(cut), leakage=value).model_copy(update={"predicted": ends})


def test_whoever_would_win_by_its_prediction_is_attacked_first():
    audits = Audits({"a": audited(0.8), "b": audited(0.5)})
    choice = choose([predicted("a", 0.1, 0.3, 0.9), predicted("b", 0.3, 0.4, 0.9)], Budgets(), lambda c: c, (), audits)
    assert choice.searched.cut_id == "b"
    assert choice.confirmed.audited.split == "confirm"
    assert audits.asked == [("search", "a"), ("search", "b"), ("confirm", "b")]


def test_who_falls_on_the_confirm_half_is_passed_over():
    hard = {"a": audited(0.7, effort="thorough")}
    audits = Audits({"a": audited(0.3), "b": audited(0.45)}, hard)
    made = [audits.searched(candidate(point_at(cut))) for cut in "ab"]
    choice = choose(made, Budgets(max_leakage=0.5), lambda c: c, (), audits)
    assert choice.searched.cut_id == "b"
    assert choice.tries == 2


def test_a_refuted_winner_must_win_again():
    audits = Audits({"a": audited(0.3), "b": audited(0.4)}, {"a": audited(0.6)})
    made = [audits.searched(candidate(point_at(cut))) for cut in "ab"]
    assert choose(made, Budgets(), lambda c: c, (), audits).searched.cut_id == "b"
    still = Audits(audits.found, {"a": audited(0.36)})
    choice = choose(made, Budgets(), lambda c: c, (), still)
    assert (choice.searched.cut_id, choice.confirmed.index.value) == ("a", 0.36)


def test_the_least_refuted_is_taken_when_the_tries_are_used_up():
    cuts = [f"cut{at:02d}" for at in range(CONFIRM_TRIES + 3)]
    hard = {cut: audited(0.9 - 0.01 * at) for at, cut in enumerate(cuts)}
    audits = Audits({cut: audited(0.3) for cut in cuts}, hard)
    made = [audits.searched(candidate(point_at(cut))) for cut in cuts]
    choice = choose(made, Budgets(), lambda c: c, (), audits)
    assert choice.tries == CONFIRM_TRIES
    assert choice.searched.cut_id == cuts[CONFIRM_TRIES - 1]


def test_late_audits_are_limited_and_who_was_not_attacked_cannot_win():
    cuts = [f"cut{at:02d}" for at in range(LATE_AUDITS + 5)]
    audits = Audits(dict.fromkeys(cuts, audited(0.9)))
    made = [predicted(cut, 0.1, 0.2 + 0.01 * at, 0.9) for at, cut in enumerate(cuts)]
    choice = choose(made, Budgets(max_leakage=0.5), lambda c: c, (), audits)
    assert choice.searched is None
    assert audits.asked == [("search", cut) for cut in cuts[:LATE_AUDITS]]


def test_what_cannot_come_within_the_budget_is_not_attacked():
    audits = Audits({})
    choice = choose([predicted("a", 0.6, 0.7, 0.9)], Budgets(max_leakage=0.5), lambda c: c, (), audits)
    assert choice.searched is None
    assert not audits.asked


@pytest.mark.parametrize("name", ["reconstruction", "linkage", "consistency", "region"])
def test_budgets_of_attacks_alone_are_missed_without_one(name):
    budgets = Budgets(**{f"max_{name}": 0.4})
    made = candidate(point_at("a"))
    (bare,) = checks(made, budgets)
    assert not bare.holds
    assert "not audited" in bare.text
    for rate, holds in ((0.3, True), (0.395, False), (None, False)):
        known = made.model_copy(update={"audited": audited(0.5, **{name: rate})})
        assert checks(known, budgets)[0].holds is holds


def test_an_inconclusive_audit_proves_no_budget():
    def held(effort, failed):
        made = candidate(point_at("a")).model_copy(update={"audited": audited(0.1, effort=effort, failed=failed)})
        return checks(made, Budgets(max_leakage=0.5))[0]

    assert held("thorough", ()).holds
    assert not held("thorough", ("likelihood",)).holds
    assert "nothing is proven, since attacks FAILED: likelihood" in held("thorough", ("likelihood",)).text
    assert held("quick", ("likelihood",)).holds, "a lower bound proves nothing either way, and is called one"


@pytest.mark.parametrize("budget", PRIVACY)
def test_quick_effort_steers_a_search_and_meets_no_budget(budget):
    def held(split, effort):
        rates = dict.fromkeys(("reconstruction", "linkage", "consistency", "region"), 0.1)
        found = audited(0.1, split=split, effort=effort, **rates)
        return checks(candidate(point_at("a")).model_copy(update={"audited": found}), Budgets(**{budget: 0.5}))[0]

    assert held("search", "quick").holds
    assert held("confirm", "standard").holds
    assert not held("confirm", "quick").holds
    assert "quick effort finds lower bounds alone" in held("confirm", "quick").text


def test_the_most_telling_audit_is_where_the_front_could_gain_most():
    sure = candidate(point_at("a"), accuracy=0.8, latency_ms=10.0).model_copy(update={"audited": audited(0.3)})
    hopeful = candidate(point_at("b"), accuracy=0.95, latency_ms=10.0)
    hopeful = hopeful.model_copy(update={"predicted": Interval(value=0.5, low=0.2, high=0.9, level=0.9)})
    sharp = candidate(point_at("c"), accuracy=0.97, latency_ms=10.0).model_copy(
        update={"predicted": Interval(value=0.85, low=0.8, high=0.9, level=0.9)}
    )
    slow = candidate(point_at("d"), accuracy=0.7, latency_ms=90.0).model_copy(
        update={"predicted": Interval(value=0.6, low=0.5, high=0.7, level=0.9)}
    )
    everyone = [sure, hopeful, sharp, slow]
    assert most_telling(everyone, everyone).cut_id == "b"
    assert most_telling(everyone, [sure, sharp, slow]).cut_id == "c"
    assert most_telling(everyone, [sure, slow]) is None, "dominated whatever an audit would say"
    assert most_telling(everyone, everyone, ("accuracy", "leakage", "payload")).cut_id == "b"
    assert most_telling(everyone, everyone, ("accuracy", "latency")) is None, "an audit tells nothing of these"


def test_what_an_audit_could_add_counts_every_objective():
    def known(cut, energy, update, **figures):
        return candidate(point_at(cut), **figures).model_copy(update={"edge_energy_mj": energy, **update})

    sure = known("a", 9.0, {"audited": audited(0.3)})
    frugal = known("b", 1.0, {"predicted": Interval(value=0.5, low=0.35, high=0.9, level=0.9)}, accuracy=0.89)
    lossy = known("c", 9.0, {"audited": audited(0.3)}, accuracy=0.6)
    everyone = [sure, frugal, lossy]
    assert most_telling(everyone, everyone) is None
    assert most_telling(everyone, everyone, ("accuracy", "latency", "leakage", "energy")).cut_id == "b"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("work")


@pytest.fixture(scope="module")
def asked(problem):
    return dataclasses.replace(problem, budgets=Budgets(max_accuracy_drop=0.45, max_edge_parameters=900))


@pytest.fixture(scope="module")
def outcome(asked, folder):
    return optimize(asked, OPTIONS, folder)


def test_the_plan_was_attacked_on_images_that_nothing_was_chosen_by(outcome):
    found = outcome.plan.chosen.audited
    assert (found.split, found.seeds, found.effort) == ("confirm", 2, "quick")
    assert found.attacks == ("prior", "ridge", "inverse", "likelihood")
    assert found.figures.threat == "white-box"
    assert outcome.plan.searched.audited.split == "search"
    assert "audited at quick effort, 2 seeds, a lower bound" in outcome.plan.headline


def test_every_candidate_of_the_front_says_what_its_index_is(outcome):
    kinds = {c.index_is for c in outcome.front}
    assert "audited" in kinds
    assert kinds <= {"audited", "predicted", "by-definition"}
    assert 13 <= outcome.audits < outcome.trials
    assert any("index of the others is predicted" in note for note in outcome.notes)


def test_baselines_are_predicted_beside_it(outcome):
    assert {b.candidate.index_is for b in outcome.baselines} <= {"predicted", "by-definition"}


def test_a_second_search_attacks_nobody_again_and_finds_the_same(asked, outcome, folder, monkeypatch):
    def refuse(*_, **__):
        raise AssertionError("attacked again")

    monkeypatch.setattr(InverseNetwork, "fit", refuse)
    again = optimize(asked, OPTIONS, folder)
    assert again.front == outcome.front
    assert again.plan.chosen == outcome.plan.chosen


def test_a_model_that_attacks_do_not_apply_to_is_planned_and_says_so(problem, tmp_path):
    class Two(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.second = nn.Linear(8, 8), nn.Linear(8, 3)

        def forward(self, left, right):
            return self.second(torch.relu(self.first(left) + right))

    traced = trace(Two().eval(), (torch.rand(2, 8), torch.rand(2, 8)))
    profile = profile_model(traced, target=problem.target, seconds=0.2)
    draws = torch.Generator().manual_seed(0)
    data = Data(tuple(torch.rand(200, 8, generator=draws) for _ in range(2)), torch.zeros(200, dtype=torch.long))
    search, confirm = data.splits(0)
    other = dataclasses.replace(
        problem,
        traced=traced,
        cuts=tuple(candidate_cuts(traced)),
        edge_profile=profile,
        cloud_profile=profile,
        search=search,
        confirm=confirm,
        budgets=Budgets(max_accuracy_drop=1.0, max_edge_parameters=90),
    )
    found = optimize(other, OPTIONS, tmp_path)
    assert found.audits == 0
    assert found.plan.chosen.audited is None
    assert "ESTIMATED, not audited" in found.plan.headline
    assert any(note.startswith("NOT AUDITED: attacks reconstruct one private") for note in found.notes)
    assert found.plan.unattackable.startswith("attacks reconstruct one private input")


def test_an_attacker_without_images_of_its_own_never_owns_a_target(problem):
    roles = Roles.divide(problem.search, problem.confirm)
    assert roles.targets is problem.confirm
    searching = roles.while_searching(problem.search, targets=40)
    assert len(searching.targets) == 40
    targets, own = (
        {tuple(row.flatten().tolist()) for row in each.inputs[0]} for each in (searching.targets, searching.auxiliary)
    )
    assert not targets & own
    rich = Roles.divide(problem.search, problem.confirm, attacker=problem.confirm.take(range(10)))
    assert rich.while_searching(problem.search, targets=40).targets is problem.search
