"""A stronger attacker can do all that a weaker one can, and a failed attack proves nothing."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from collabplan.attacks import TIERS, budget_objection, merged, tier_figures, worst_tiers
from collabplan.attacks.tiers import over_seeds
from collabplan.estimators.share_interval import share_interval
from collabplan.records import AttackFigures, AttackResult, Audit, Interval, LinkageRate, Threat, TierFigures
from collabplan.records.privacy import CONSISTENCY, LINKAGE, RECONSTRUCTION, REGION
from defense_records import defense_record


def at(value: float) -> Interval:
    return Interval(value=value, low=value - 0.05, high=value + 0.05)


def result(name: str, threat: Threat, index: float | None, **more: Any) -> AttackResult:
    figures = None
    if index is not None:
        figures = AttackFigures(index=at(index), mse=0.1, reidentification=at(0.1), target_count=10, gallery_count=10)
    status = "ok" if "reason" not in more else "failed"
    return AttackResult(
        attack=name, threat=threat, status=status, attacker_data="own", figures=figures, seconds=0.0, **more
    )  # fmt: skip


def tiers(*results: AttackResult, linkage: tuple[LinkageRate, ...] = ()) -> dict[str, TierFigures]:
    found = tier_figures(results, linkage, (), lower_bound=False)
    return {tier.threat: tier for tier in found}


def test_a_stronger_tier_includes_the_attacks_of_weaker_ones() -> None:
    found = tiers(result("ridge", "black-box", 0.7), result("likelihood", "white-box", 0.2))
    assert found["white-box"].index_attack == "ridge"
    assert "query-free" not in found


def test_a_failed_attack_leaves_its_tier_inconclusive_unless_it_is_naive() -> None:
    failed = result("inverse", "black-box", None, reason="diverged")
    naive = result("inverse (naive)", "black-box", None, reason="diverged", naive=True)
    ridge = result("ridge", "black-box", 0.5)
    assert tiers(ridge, failed)["black-box"].failed == ("inverse",)
    assert tiers(ridge, naive)["black-box"].conclusive


def shadow(index: float | None = 0.0, **more: Any) -> AttackResult:
    known: dict[str, Any] = {"reason": "below the prior", "weaker_form_of": "inverse"}
    return result("shadow-same", "query-free", index, **known | more)


def test_a_failed_attack_spares_the_tiers_where_one_ended_that_does_the_same_and_sees_more() -> None:
    others = result("prior", "query-free", 0.0), result("likelihood", "white-box", 0.2)
    for name, queries in (("inverse", 1), ("inverse (10 releases)", 10)):
        found = tiers(shadow(), result(name, "black-box", 0.3, queries=queries), *others)
        assert [found[threat].conclusive for threat in TIERS] == [False, True, True]
        assert found["query-free"].failed == ("shadow-same",)
        assert found["white-box"].failed == ()
    outrun = result("inverse", "black-box", 0.3).model_copy(update={"status": "outrun"})
    assert tiers(shadow(), outrun, *others)["black-box"].conclusive, "it cannot lead, and who sees less no more"


SHADOW, MANY_SHADOW = shadow(), shadow(queries=10, near_copies=True, copies="shift 1, noise 4/255")


@pytest.mark.parametrize(
    ("failed", "other"),
    [
        (SHADOW, result("inverse", "black-box", None, reason="diverged")),
        (SHADOW, result("inverse", "black-box", 0.3, reason="not converged")),
        (SHADOW, result("inverse (naive)", "black-box", 0.3, naive=True)),
        (SHADOW, result("inverse (faces)", "black-box", 0.3).model_copy(update={"attacker_data": "faces"})),
        (SHADOW, result("kernel", "black-box", 0.3)),
        (shadow(weaker_form_of=""), result("inverse", "black-box", 0.3)),
        (shadow(0.4), result("inverse", "black-box", 0.3)),
        (shadow(queries=10), result("inverse", "black-box", 0.3)),
        (MANY_SHADOW, result("inverse (10 releases)", "black-box", 0.3, queries=10)),
    ],
    ids=[
        "failed too", "not converged", "naive", "other images", "another attack", "an attack of its own",
        "recovered less", "fewer releases", "exact repeats beside near-duplicates",
    ],
)  # fmt: skip
def test_it_spares_none_where_that_one_did_not_end_or_did_not_see_more(
    failed: AttackResult, other: AttackResult
) -> None:
    found = tiers(failed, other, result("prior", "query-free", 0.0), result("ridge", "black-box", 0.2))
    assert failed.attack in found["black-box"].failed
    assert not found["black-box"].conclusive


def test_what_a_failed_attack_recovered_counts() -> None:
    failed = result("inverse", "black-box", 0.9, reason="not converged")
    found = tiers(result("ridge", "black-box", 0.5), failed)["black-box"]
    assert found.index.value == 0.9
    assert not found.conclusive


def test_linkage_counts_from_the_tier_that_may_query() -> None:
    rate = LinkageRate(copies="exact", threat="black-box", rate=at(0.8), chance=0.1, gallery_count=10)
    found = tiers(result("prior", "query-free", 0.0), result("ridge", "black-box", 0.5), linkage=(rate,))
    assert found["query-free"].linkage is None
    assert found["black-box"].linkage == share_interval(0.8, 10)


def audit(*results: AttackResult) -> Audit:
    return Audit(
        cut_id="c", cut_name="c", cut_kind="proper", depth=1, payload_bytes=1, defense=defense_record(),
        effort="standard", attacks=results, tiers=tier_figures(results, (), (), lower_bound=False), chance=0.1,
    )  # fmt: skip


def test_over_several_seeds_the_worst_index_counts_and_every_failure() -> None:
    first = audit(result("ridge", "black-box", 0.4))
    second = audit(result("ridge", "black-box", 0.6), result("inverse", "black-box", None, reason="diverged"))
    (found,) = worst_tiers([first, second])
    assert found.index.value == 0.6
    assert found.index.low == pytest.approx(0.55)
    assert found.index.high == 1.0, "two seeds that differ by 0.2 leave everything open"
    third = audit(result("ridge", "black-box", 0.5))
    (found,) = worst_tiers([first, second, third])
    luck = 4.303 * 0.1 * (4 / 3) ** 0.5  # a fourth seed would differ from their mean by so much
    assert found.index.high == pytest.approx(0.5 + (0.05**2 + luck**2) ** 0.5, abs=1e-3)
    assert found.failed == ("inverse",)
    assert not found.conclusive


def rated(name: str, rate: float, targets: int) -> AttackResult:
    """An attack that reconstructs this share of its targets."""
    figures = AttackFigures(
        index=at(0.2), mse=0.1, reidentification=share_interval(rate, targets),
        reconstruction_rate=share_interval(rate, targets), target_count=targets, gallery_count=500,
    )  # fmt: skip
    return AttackResult(
        attack=name, threat="black-box", status="ok", attacker_data="own", figures=figures, seconds=0.0
    )  # fmt: skip


def test_an_attack_on_few_targets_counts_with_all_that_they_leave_open() -> None:
    """3 of 32 reconstructed allow up to a quarter, whatever an attack on 500 targets shows."""
    found = tiers(rated("kernel", 0.146, 500), rated("untrained", 3 / 32, 32))["black-box"]
    assert found.reconstruction_rate is not None
    assert found.reconstruction_rate.value == 0.146
    assert found.reconstruction_rate.high >= 0.25
    assert (found.target_count, found.fewest_targets) == (500, 32)


@pytest.mark.parametrize("targets", [32, 500])
def test_the_upper_end_lies_above_the_strongest_attack_in_95_of_100_audits(targets: int) -> None:
    generator = torch.Generator().manual_seed(targets)
    true = torch.tensor([0.1, 0.1, 0.08, 0.1, 0.02])
    held = 0
    for _ in range(400):
        shares = (torch.rand(len(true), targets, generator=generator) < true[:, None]).double().mean(dim=1)
        found = tiers(*(rated(str(at), float(share), targets) for at, share in enumerate(shares)))["black-box"]
        held += found.reidentification.low <= 0.1 <= found.reidentification.high
    assert held >= 380


@pytest.mark.parametrize("seeds", [2, 3, 5])
def test_the_upper_end_lies_above_another_seed_in_95_of_100_audits(seeds: int) -> None:
    """Images move all seeds alike, training each on its own."""
    generator = torch.Generator().manual_seed(seeds)
    held = 0
    for _ in range(1000):
        images = 0.013 / 1.96 * float(torch.randn((), generator=generator))
        drawn = [0.5 + images + 0.006 * float(luck) for luck in torch.randn(seeds, generator=generator)]
        found = over_seeds([Interval(value=each, low=each - 0.013, high=each + 0.013) for each in drawn])
        assert found is not None
        held += found.high >= 0.5 + 0.006 * float(torch.randn((), generator=generator))
    assert held >= 950


def test_an_audit_of_several_seeds_holds_all_their_attacks_and_the_worst_tier() -> None:
    first, second = audit(result("ridge", "black-box", 0.4)), audit(result("ridge", "black-box", 0.6))
    found = merged([first, second])
    assert (found.seeds, [each.seed for each in found.attacks]) == (2, [0, 1])
    assert found.tiers == worst_tiers([first, second])


def test_every_privacy_budget_is_held_against_its_own_figure() -> None:
    many = merged([audit(rated("ridge", 0.1, 500)) for _ in range(3)])
    assert "reconstruction rate up to 0.1" in (budget_objection(many, 0.05, RECONSTRUCTION) or "")
    assert budget_objection(many, 0.2, RECONSTRUCTION) is None
    assert "no linkage" in (budget_objection(many, 0.9, LINKAGE) or "")


def test_the_upper_ends_of_consistency_and_region_are_held_against_their_budgets() -> None:
    high = Interval(value=0.1, low=0.05, high=0.15)
    one = audit(rated("ridge", 0.1, 500))
    held = one.model_copy(
        update={
            "seeds": 3,
            "tiers": tuple(tier.model_copy(update={"consistency_excess": high, "region": high}) for tier in one.tiers),
        }
    )
    for budget, name in ((CONSISTENCY, "consistency beyond the label"), (REGION, "region index")):
        assert f"the audit has no {name}" in (budget_objection(one, 0.9, budget) or "")
        assert f"{name} up to 0.150" in (budget_objection(held, 0.12, budget) or "")
        assert budget_objection(held, 0.15, budget) is None
        quick = held.model_copy(update={"effort": "quick"})
        assert "quick effort finds lower bounds alone" in (budget_objection(quick, 0.9, budget) or "")


def test_a_budget_is_shown_to_hold_by_the_rule_to_sign_off_alone() -> None:
    many = [audit(rated("ridge", 0.0, 500)) for _ in range(3)]
    assert budget_objection(merged(many), 0.5) is None
    assert "up to" in (budget_objection(merged(many), 0.1) or "")
    assert "3 attacker seeds instead of 1" in (budget_objection(many[0], 0.5) or "")
    few = [audit(rated("ridge", 0.0, 200)) for _ in range(3)]
    assert "500 targets instead of 200" in (budget_objection(merged(few), 0.5) or "")
