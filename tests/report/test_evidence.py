"""The badge: derived in one place, and never better than what was done."""

import pytest
import report_plans as made
from collabplan.records import Audited, Budgets, Interval
from collabplan.report import evidence_of


def test_without_attacks_it_is_estimated_and_says_what_is_missing() -> None:
    found = evidence_of(made.plan())
    assert (found.level, found.rate, found.at_most) == ("estimated", None, False)
    assert found.index == made.plan().chosen.leakage.index
    assert "attacks" in found.missing[0]


@pytest.mark.parametrize(
    ("audited", "level", "at_most"),
    [
        (made.audited("quick", 1), "attacked, quick", False),
        (made.audited("standard", 1), "attacked, standard", True),
        (made.audited("thorough", 1), "attacked, standard", True),
        (made.audited("standard", 3, "search"), "attacked, standard", True),
        (made.audited("standard", 3, conclusive=False, failed=("inverse",)), "attacked, standard", False),
        (made.audited("standard", 3, target_count=100), "attacked, standard", True),
        (made.audited("standard", 3), "signed off", True),
    ],
)
def test_the_badge_is_that_of_the_audit(audited: Audited, level: str, at_most: bool) -> None:
    found = evidence_of(made.plan(chosen=made.candidate(audited=audited)))
    assert (found.level, found.at_most) == (level, at_most)
    assert bool(found.missing) == (level != "signed off")


@pytest.mark.parametrize(
    "changes",
    [
        {"budgets": Budgets(latency_p95_ms=50.0)},
        {"chosen": made.candidate(audited=made.audited(), meets_budgets=False, violations=("too slow",))},
        {"budgets": Budgets(max_leakage=0.43)},
        {"measured": made.measured(made.plan())},
    ],
    ids=["no privacy budget", "misses a budget", "over the budget", "does not run as planned"],
)
def test_a_plan_with_all_attacks_is_not_signed_off(changes: dict[str, object]) -> None:
    known = {"chosen": made.candidate(audited=made.audited())} | changes
    found = evidence_of(made.plan(**known))  # type: ignore[arg-type]
    assert found.level == "attacked, standard"
    assert found.missing


def test_a_later_attack_that_recovers_more_counts_and_takes_the_signature_away() -> None:
    plan = made.plan(chosen=made.candidate(audited=made.audited()), budgets=Budgets(max_leakage=0.5))
    assert evidence_of(plan).level == "signed off"
    later = made.audit(plan.chosen, index=0.6)
    found = evidence_of(plan, [later])
    assert found.level == "attacked, standard"
    assert found.index.high == pytest.approx(0.62)
    assert "0.620" in " ".join(found.missing)


def test_every_privacy_budget_takes_the_signature_away_where_an_attack_breaks_it() -> None:
    high = Interval(value=0.3, low=0.2, high=0.4)
    own = made.audited(consistency_excess=high, region=high)
    for budget, said in (("max_consistency", "answers kept beyond"), ("max_region", "the region of interest")):
        plan = made.plan(chosen=made.candidate(audited=own), budgets=Budgets(**{budget: 0.5}))
        assert evidence_of(plan).level == "signed off"
        broken = evidence_of(plan.model_copy(update={"budgets": Budgets(**{budget: 0.35})}))
        assert broken.level == "attacked, standard"
        assert any(said in each and "up to 0.400" in each for each in broken.missing)


def test_a_later_attack_that_recovers_less_changes_no_figure_and_signs_nothing_off() -> None:
    quick = made.plan(chosen=made.candidate(audited=made.audited("quick", 1)))
    later = made.whole_audit(quick.chosen, index=0.1, seeds=3)
    found = evidence_of(quick, [later])
    assert found.level == "attacked, standard"
    assert found.index == Interval(value=0.41, low=0.38, high=0.44)


def test_a_part_of_the_attacks_is_worth_no_more_than_quick_effort() -> None:
    part = made.audit(made.candidate(), effort="standard", index=0.1, seeds=3)
    found = evidence_of(made.plan(), [part])
    assert (found.level, found.at_most) == ("attacked, quick", False)
    whole = evidence_of(made.plan(), [made.whole_audit(made.candidate(), index=0.1)])
    assert (whole.level, whole.at_most) == ("attacked, standard", True)


def test_a_quick_attack_that_fails_beside_a_whole_suite_hides_nothing_and_breaks_nothing() -> None:
    plan = made.plan(chosen=made.candidate(audited=made.audited()))
    broken = made.audit(plan.chosen, index=0.42, tiers=(made.tier(conclusive=False, failed=("x",), lower_bound=True),))
    assert evidence_of(plan, [broken]).at_most
    alone = evidence_of(made.plan(), [broken])
    assert (alone.at_most, alone.failed) == (False, ("x",))


def test_what_follows_from_the_definition_needs_no_attack() -> None:
    raw = made.candidate(
        "cloud-only", made.NONE, leakage=made.estimated(1.0).model_copy(update={"status": "by-definition"})
    )
    assert evidence_of(made.plan(chosen=raw)).level == "input sent as it is"
    assert "No privacy" in evidence_of(made.plan(chosen=raw)).why
    zero = {"status": "by-definition", "index": Interval(value=0.0, low=0.0, high=0.0)}
    nothing = made.candidate("edge-only", made.NONE, leakage=made.estimated(0.0).model_copy(update=zero))
    assert evidence_of(made.plan(chosen=nothing)).level == "nothing private sent"
