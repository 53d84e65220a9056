"""Budgets hold at the bad end, on both halves; where nothing fits, the nearest miss has figures."""

from __future__ import annotations

import pytest
from collabplan.planner.budgets import Costs, checks, judged
from collabplan.planner.choose import CONFIRM_TRIES, Excluded, choose, nearest_miss, shown_front
from collabplan.planner.space import Point, point_of
from collabplan.records import Budgets
from planner_fakes import candidate


def test_every_budget_is_held_at_the_bad_end():
    made = candidate(drop=0.045, leakage=0.495, latency_ms=49.5, memory=1001, parameters=11)
    budgets = Budgets(
        latency_p95_ms=50.0, max_accuracy_drop=0.05, max_leakage=0.5, edge_memory_bytes=1000, max_edge_parameters=10
    )
    broken = [check.name for check in checks(made, budgets) if not check.holds]
    assert broken == ["latency", "edge memory", "edge parameters", "accuracy drop", "leakage"]
    assert len(judged(made, budgets).violations) == 5
    assert judged(made, Budgets()).meets_budgets


def test_a_budget_of_zero_gives_a_finite_excess():
    found = checks(candidate(drop=0.01), Budgets(max_accuracy_drop=0.0, max_leakage=0.0, max_edge_parameters=0))
    assert [0 < check.excess < 1e3 for check in found] == [True] * 3


def test_least_leakage_wins_then_accuracy_then_latency():
    points = [Point("a", "element", rate) for rate in (0.1, 0.2, 0.3, 0.4)]
    leaky = candidate(points[0], leakage=0.6, accuracy=0.99)
    slow = candidate(points[1], leakage=0.4, latency_ms=30.0)
    best = candidate(points[2], leakage=0.4, latency_ms=20.0)
    wrong = candidate(points[3], leakage=0.4, accuracy=0.8, latency_ms=5.0)
    assert choose([leaky, slow, best, wrong], Budgets(), lambda c: c).searched == best


def test_what_fails_on_the_confirm_half_is_passed_over():
    budgets = Budgets(max_leakage=0.5)
    lucky, sound = candidate(Point("a"), leakage=0.3), candidate(Point("b"), leakage=0.4)

    def confirm(item):
        return candidate(point_of(item), leakage=0.7 if item.cut_id == "a" else 0.41)

    choice = choose([lucky, sound], budgets, confirm)
    assert choice.searched.cut_id == "b"
    assert choice.confirmed.leakage.index.value == 0.41
    assert choice.tries == 2


def test_the_confirm_half_is_not_fished_in():
    budgets = Budgets(max_leakage=0.5)
    many = [candidate(Point(f"cut{i}"), leakage=0.3) for i in range(CONFIRM_TRIES + 5)]
    asked = []

    def confirm(item):
        asked.append(item)
        return candidate(point_of(item), leakage=0.6)

    choice = choose(many, budgets, confirm)
    assert choice.searched is None
    assert len(asked) == choice.tries == CONFIRM_TRIES
    assert "none of them on the confirm half" in choice.nearest_miss
    assert "leakage index up to 0.610 (estimated 0.600) against 0.5" in choice.nearest_miss


def test_the_nearest_miss_is_named_with_its_figures():
    budgets = Budgets(latency_p95_ms=10.0, max_leakage=0.1)
    near = candidate(Point("a", "channel", 0.3), latency_ms=11.0, leakage=0.05)
    far = candidate(Point("b"), latency_ms=5.0, leakage=0.9)
    choice = choose([far, near], budgets, lambda c: c)
    assert choice.searched is None
    expected = "layer a with channel dropout 0.3: latency p95 12.0 ms (p50 11.0) against 10"
    assert choice.nearest_miss == f"the nearest miss is {expected}"


def test_what_costs_rule_out_is_counted_and_its_nearest_named():
    budgets = Budgets(latency_p95_ms=10.0)
    excluded = [
        Excluded(Point("a"), "layer a", Costs.of(candidate(latency_ms=30.0))),
        Excluded(Point("b"), "layer b", Costs.of(candidate(latency_ms=12.0))),
        Excluded(Point("b", "element", 0.5), "layer b", Costs.of(candidate(latency_ms=12.5))),
    ]
    told = nearest_miss([], [], excluded, budgets)
    assert "3 points at 2 cuts are ruled out by costs alone" in told
    assert "the nearest miss is layer b: latency p95 13.0 ms (p50 12.0) against 10" in told


@pytest.mark.parametrize("chosen_is_dominated", [False, True])
def test_the_chosen_plan_is_always_shown_on_the_front(chosen_is_dominated):
    best = candidate(Point("a"), leakage=0.2, accuracy=0.9, latency_ms=10.0)
    dominated = candidate(Point("b"), leakage=0.3, accuracy=0.8, latency_ms=20.0)
    chosen = dominated if chosen_is_dominated else best
    assert chosen in shown_front([best, dominated], chosen)


def test_the_front_is_shown_by_the_objectives_that_it_is_made_of():
    best = candidate(Point("a"), leakage=0.2)
    small = candidate(Point("b"), leakage=0.3).model_copy(update={"payload_bytes": 1})
    assert shown_front([best, small], None) == (best,)
    assert shown_front([best, small], None, ("leakage", "payload")) == (best, small)


def test_the_front_keeps_what_budgets_forbid_and_what_they_leave():
    budgets = Budgets(latency_p95_ms=15.0, edge_memory_bytes=500)
    forbidden = candidate(Point("a"), leakage=0.1, memory=1000, budgets=budgets)
    left = candidate(Point("b"), leakage=0.2, memory=100, budgets=budgets)
    assert {c.cut_id for c in shown_front([forbidden, left], None)} == {"a", "b"}
