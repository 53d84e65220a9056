"""Budgets hold at the bad end, on both halves; where nothing fits, the nearest miss has figures."""

from __future__ import annotations

import pytest
from collabplan.planner.budgets import Costs, checks, judged
from collabplan.planner.choose import CONFIRM_TRIES, Excluded, choose, nearest_miss, of_tries, shown_front
from collabplan.planner.space import point_of
from collabplan.records import Budgets, Interval
from defense_records import point_at
from hypothesis import given, settings
from hypothesis import strategies as st
from planner_fakes import audited, candidate


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
    points = [point_at("a", "element", rate) for rate in (0.1, 0.2, 0.3, 0.4)]
    leaky = candidate(points[0], leakage=0.6, accuracy=0.99)
    slow = candidate(points[1], leakage=0.4, latency_ms=30.0)
    best = candidate(points[2], leakage=0.4, latency_ms=20.0)
    wrong = candidate(points[3], leakage=0.4, accuracy=0.8, latency_ms=5.0)
    assert choose([leaky, slow, best, wrong], Budgets(), lambda c: c).searched == best


def test_of_intervals_that_all_end_at_one_the_least_index_wins():
    plan = choose(
        [with_index("a", 0.999, 1.0, accuracy=0.95), with_index("m", 0.687, 1.0, accuracy=0.9)], Budgets(), lambda c: c
    ).searched
    assert plan.cut_id == "m"


def with_index(cut, value, high, **figures):
    made = candidate(point_at(cut), **figures)
    index = Interval(value=value, low=0.0, high=high)
    return made.model_copy(update={"leakage": made.leakage.model_copy(update={"index": index})})


def test_estimates_rank_by_their_value_within_budgets_that_see_the_upper_end():
    few_samples, more_samples = with_index("a", 0.50, 0.80), with_index("b", 0.55, 0.70)
    assert choose([more_samples, few_samples], Budgets(), lambda c: c).searched == few_samples
    assert choose([more_samples, few_samples], Budgets(max_leakage=0.75), lambda c: c).searched == more_samples


def test_what_attackers_reached_ranks_by_its_upper_end():
    def attacked(cut, value, high):
        found = audited(value)
        index = Interval(value=value, low=0.0, high=high)
        figures = found.figures.model_copy(update={"index": index})
        made = candidate(point_at(cut))
        return made.model_copy(update={"audited": found.model_copy(update={"figures": figures})})

    unsure, sure = attacked("a", 0.50, 0.70), attacked("b", 0.55, 0.60)
    assert choose([unsure, sure], Budgets(), lambda c: c).searched == sure


def test_several_choices_of_one_search_share_the_tries():
    many = [candidate(point_at(f"cut{i:02}"), leakage=0.3) for i in range(CONFIRM_TRIES + 5)]
    asked = []

    def confirm(item):
        asked.append(item.cut_id)
        return candidate(point_of(item), leakage=0.6)

    budgets = Budgets(max_leakage=0.5)
    first = choose(many, budgets, confirm, tries=3)
    assert first.tries == len(asked) == 3
    again = choose(many, budgets, confirm, tried=[point_of(each) for each in many if each.cut_id in asked])
    assert again.tries == len(set(asked)) == CONFIRM_TRIES


def test_what_fails_on_the_confirm_half_is_passed_over():
    budgets = Budgets(max_leakage=0.5)
    lucky, sound = candidate(point_at("a"), leakage=0.3), candidate(point_at("b"), leakage=0.4)

    def confirm(item):
        return candidate(point_of(item), leakage=0.7 if item.cut_id == "a" else 0.41)

    choice = choose([lucky, sound], budgets, confirm)
    assert choice.searched.cut_id == "b"
    assert choice.confirmed.leakage.index.value == 0.41
    assert choice.tries == 2


def test_the_confirm_half_is_not_fished_in():
    budgets = Budgets(max_leakage=0.5)
    many = [candidate(point_at(f"cut{i}"), leakage=0.3) for i in range(CONFIRM_TRIES + 5)]
    asked = []

    def confirm(item):
        asked.append(item)
        return candidate(point_of(item), leakage=0.6)

    choice = choose(many, budgets, confirm)
    assert choice.searched is None
    assert len(asked) == choice.tries == CONFIRM_TRIES
    assert "none of them on the confirm split" in choice.nearest_miss
    assert "leakage index up to 0.610 (estimated 0.600) against 0.5" in choice.nearest_miss


def test_a_try_must_hold_at_the_level_of_all_tries():
    """What holds at 95 % in one of two tries holds by luck twice as often."""
    budgets = Budgets(max_accuracy_drop=0.05)
    first, second = candidate(point_at("a"), leakage=0.3), candidate(point_at("b"), leakage=0.4)
    ends = {"a": 0.09, "b": 0.04}

    def confirm(item):
        found = candidate(point_of(item), leakage=0.4)
        drop = Interval(value=0.01, low=-0.02, high=ends[item.cut_id])
        return found.model_copy(update={"accuracy": found.accuracy.model_copy(update={"drop": drop})})

    assert choose([first, second], budgets, confirm).searched is None
    ends["b"] = 0.03
    assert choose([first, second], budgets, confirm).searched.cut_id == "b"
    assert 1 - of_tries(confirm(second)).accuracy.drop.level == pytest.approx(0.05 / CONFIRM_TRIES)


def test_the_nearest_miss_is_named_with_its_figures():
    budgets = Budgets(latency_p95_ms=10.0, max_leakage=0.1)
    near = candidate(point_at("a", "channel", 0.3), latency_ms=11.0, leakage=0.05)
    far = candidate(point_at("b"), latency_ms=5.0, leakage=0.9)
    choice = choose([far, near], budgets, lambda c: c)
    assert choice.searched is None
    expected = "layer a with channel dropout 0.3: latency p95 12.0 ms (p50 11.0) against 10"
    assert choice.nearest_miss == f"the nearest miss is {expected}"


def test_where_only_the_interval_misses_a_budget_the_samples_that_would_do_are_told():
    missed = choose([candidate()], Budgets(max_accuracy_drop=0.005), lambda c: c).nearest_miss
    assert "about 800 validation samples (there are 200), or an accuracy drop of up to 0.01, would be enough)" in missed
    missed = choose([candidate(accuracy=0.9)], Budgets(min_accuracy=0.895), lambda c: c).nearest_miss
    assert "about 800 validation samples (there are 200), or a least accuracy of 0.89, would be enough)" in missed
    missed = choose([candidate()], Budgets(max_accuracy_drop=0.0), lambda c: c).nearest_miss
    assert "only its interval does not: an accuracy drop of up to 0.01, would be enough)" in missed
    for made, budgets in (
        (candidate(drop=0.02), Budgets(max_accuracy_drop=0.005)),
        (candidate(latency_ms=50.0), Budgets(max_accuracy_drop=0.005, latency_p95_ms=10.0)),
    ):
        assert "validation samples" not in choose([made], budgets, lambda c: c).nearest_miss


def test_a_plan_that_sends_the_input_itself_says_what_kept_the_others_out():
    """With few samples no cut keeps the default budget on accuracy, only what changes nothing at all."""
    raw = candidate(point_at("cloud-only"), leakage=0.98).model_copy(update={"cut_kind": "cloud-only"})
    cut = candidate(point_at("a"), leakage=0.4, drop=0.01)

    def confirm(item):
        found = candidate(point_of(item), leakage=0.4, drop=0.01)
        high = Interval(value=0.01, low=-0.02, high=0.06)
        return found.model_copy(update={"accuracy": found.accuracy.model_copy(update={"drop": high})})

    budgets = Budgets(max_accuracy_drop=0.05)
    choice = choose([cut, raw], budgets, confirm, beside=[raw])
    assert choice.searched.cut_id == "cloud-only"
    assert "the nearest is layer a without dropout: accuracy drop up to" in choice.nearest_miss
    assert "validation samples (there are 200)" in choice.nearest_miss
    assert choose([cut, raw], Budgets(), lambda c: c).nearest_miss is None


def test_what_costs_rule_out_is_counted_and_its_nearest_named():
    budgets = Budgets(latency_p95_ms=10.0)
    excluded = [
        Excluded(point_at("a"), "layer a", Costs.of(candidate(latency_ms=30.0))),
        Excluded(point_at("b"), "layer b", Costs.of(candidate(latency_ms=12.0))),
        Excluded(point_at("b", "element", 0.5), "layer b", Costs.of(candidate(latency_ms=12.5))),
    ]
    told = nearest_miss([], [], excluded, budgets)
    assert "3 points at 2 cuts are ruled out by costs alone" in told
    assert "the nearest miss is layer b: latency p95 13.0 ms (p50 12.0) against 10" in told


@pytest.mark.parametrize("chosen_is_dominated", [False, True])
def test_the_chosen_plan_is_always_shown_on_the_front(chosen_is_dominated):
    best = candidate(point_at("a"), leakage=0.2, accuracy=0.9, latency_ms=10.0)
    dominated = candidate(point_at("b"), leakage=0.3, accuracy=0.8, latency_ms=20.0)
    chosen = dominated if chosen_is_dominated else best
    assert chosen in shown_front([best, dominated], chosen)


def test_the_front_is_shown_by_the_objectives_that_it_is_made_of():
    best = candidate(point_at("a"), leakage=0.2)
    small = candidate(point_at("b"), leakage=0.3).model_copy(update={"payload_bytes": 1})
    assert shown_front([best, small], None) == (best,)
    assert shown_front([best, small], None, ("leakage", "payload")) == (best, small)


def test_the_front_keeps_what_budgets_forbid_and_what_they_leave():
    budgets = Budgets(latency_p95_ms=15.0, edge_memory_bytes=500)
    forbidden = candidate(point_at("a"), leakage=0.1, memory=1000, budgets=budgets)
    left = candidate(point_at("b"), leakage=0.2, memory=100, budgets=budgets)
    assert {c.cut_id for c in shown_front([forbidden, left], None)} == {"a", "b"}


def by_cut(*made):
    """What the confirm split says, by cut."""
    found = {item.cut_id: item for item in made}
    return lambda item: found[item.cut_id]


def test_a_baseline_that_no_trial_visited_can_be_the_plan():
    trial, idle = candidate(point_at("a"), leakage=0.4), candidate(point_at("edge-only"), leakage=0.0)
    choice = choose([trial, idle], Budgets(max_leakage=0.5), by_cut(trial), beside=[idle])
    assert choice.searched.cut_id == "edge-only"
    assert choice.tries == 0, "it was measured on the confirm split anyway"


def test_who_is_outdone_by_a_baseline_on_the_confirm_half_falls_and_says_by_what():
    lucky, middle = candidate(point_at("a"), leakage=0.498), candidate(point_at("m"), leakage=0.5)
    seen = candidate(point_at("a"), leakage=0.505)
    choice = choose([lucky, middle], Budgets(), by_cut(seen), beside=[middle])
    assert choice.searched.cut_id == "m"
    fallen = next(item for item in choice.candidates if item.cut_id == "a")
    assert not fallen.meets_budgets
    assert fallen.violations == (
        "what layer m without dropout reaches on the confirm split (leakage index 0.505 against 0.5)",
    )


def test_an_estimate_that_the_confirm_half_refutes_must_win_again():
    lucky, sound = candidate(point_at("a"), leakage=0.1), candidate(point_at("b"), leakage=0.3)
    confirm = by_cut(candidate(point_at("a"), leakage=0.6), candidate(point_at("b"), leakage=0.305))
    choice = choose([lucky, sound], Budgets(), confirm)
    assert (choice.searched.cut_id, choice.tries) == ("b", 2)
    still = choose([lucky, sound], Budgets(), by_cut(candidate(point_at("a"), leakage=0.2), sound))
    assert (still.searched.cut_id, still.searched.leakage.index.value, still.tries) == ("a", 0.2, 1)


def test_before_the_baseline_that_outdid_it_the_next_candidate_is_tried():
    lucky, sound = candidate(point_at("a"), leakage=0.3), candidate(point_at("b"), leakage=0.35)
    middle = candidate(point_at("m"), leakage=0.5)
    confirm = by_cut(candidate(point_at("a"), leakage=0.7), candidate(point_at("b"), leakage=0.4))
    choice = choose([lucky, sound, middle], Budgets(), confirm, beside=[middle])
    assert (choice.searched.cut_id, choice.tries) == ("b", 2)


def test_a_baseline_that_misses_a_budget_on_either_half_outdoes_nobody_and_says_which():
    budgets = Budgets(max_accuracy_drop=0.05)
    lossy, plan = candidate(point_at("m"), leakage=0.1, drop=0.2), candidate(point_at("a"), leakage=0.5)
    kept = candidate(point_at("m"), leakage=0.1)
    choice = choose([lossy, plan], budgets, by_cut(plan), beside=[kept])
    assert choice.searched.cut_id == "a"
    (row,) = choice.beside
    assert row.violations == ("on the search split: accuracy drop up to 0.2100 (measured 0.2000) against 0.05",)


def test_where_all_tries_are_used_up_a_baseline_that_holds_is_the_plan():
    budgets = Budgets(max_leakage=0.8)
    many = [candidate(point_at(f"cut{i:02d}"), leakage=0.3 + 0.01 * i) for i in range(CONFIRM_TRIES + 2)]
    middle = candidate(point_at("m"), leakage=0.75)
    choice = choose([*many, middle], budgets, lambda item: candidate(point_of(item), leakage=0.9), beside=[middle])
    assert (choice.searched.cut_id, choice.tries) == ("m", CONFIRM_TRIES)
    assert [item.cut_id for item in choice.candidates if item.meets_budgets] == ["m"]


FIGURES = st.fixed_dictionaries(
    {
        "leakage": st.sampled_from([0.0, 0.2, 0.3, 0.31, 0.5, 0.8, 1.0]),
        "accuracy": st.sampled_from([0.7, 0.9]),
        "drop": st.sampled_from([0.0, 0.1]),
        "found": st.sampled_from([0.1, 0.3, 0.32, 0.6, 1.0]),
        "predicted": st.booleans(),
    }
)
ROWS = st.lists(st.tuples(FIGURES, FIGURES, st.sampled_from([5.0, 20.0]), st.booleans()), min_size=1, max_size=16)
BUDGETS = st.builds(
    Budgets,
    latency_p95_ms=st.sampled_from([None, 10.0]),
    max_accuracy_drop=st.sampled_from([None, 0.05]),
    max_leakage=st.sampled_from([None, 0.35, 0.7]),
)


class Attackers:
    """Attackers whose findings are drawn: by cut, on either half."""

    def __init__(self, found):
        self.found = found

    def searched(self, item):
        return item.model_copy(update={"audited": audited(self.found[item.cut_id][0]), "predicted": None})

    def hardest(self, item):
        known = audited(self.found[item.cut_id][1], split="confirm")
        return item.model_copy(update={"audited": known, "predicted": None})


def rank(item):
    return item.index.value, item.index.high, -item.accuracy.accuracy.value, item.latency.p95_ms


@settings(max_examples=300, deadline=None, derandomize=True)
@given(ROWS, BUDGETS, st.booleans())
def test_the_plan_is_never_worse_than_a_row_shown_beside_it(rows, budgets, attacked):
    def measured(at, half):
        figures = rows[at][half]
        made = candidate(
            point_at(f"cut{at:02d}"),
            leakage=figures["leakage"],
            accuracy=figures["accuracy"],
            drop=figures["drop"],
            latency_ms=rows[at][2],
            budgets=budgets,
        )
        if not (attacked and figures["predicted"]):
            return made
        middle = figures["leakage"]
        ends = Interval(value=middle, low=max(middle - 0.2, 0), high=min(middle + 0.2, 1), level=0.9)
        return judged(made.model_copy(update={"predicted": ends}), budgets)

    searched = [measured(at, 0) for at in range(len(rows))]
    confirmed = {f"cut{at:02d}": measured(at, 1) for at in range(len(rows))}
    beside = [confirmed[f"cut{at:02d}"] for at, row in enumerate(rows) if row[3]][:4]
    attackers = Attackers({f"cut{at:02d}": (row[0]["found"], row[1]["found"]) for at, row in enumerate(rows)})
    choice = choose(searched, budgets, lambda c: confirmed[c.cut_id], (), attackers if attacked else None, beside)
    shown = [row for row in choice.beside if row.meets_budgets]
    front = [row for row in shown_front(choice.candidates, choice.searched) if row.meets_budgets]
    assert [row.cut_id for row in choice.beside] == [row.cut_id for row in beside]
    if choice.searched is None:
        assert not shown
        assert not front or attacked, "who might keep the budgets if it were attacked is not attacked for ever"
        return
    assert choice.confirmed.meets_budgets
    assert choice.searched in front
    assert all(rank(choice.confirmed) <= rank(row) for row in shown)
    assert all(rank(choice.searched) <= rank(row) for row in front)
