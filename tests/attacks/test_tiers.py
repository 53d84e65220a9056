"""A stronger attacker can do all that a weaker one can, and a failed attack proves nothing."""

from __future__ import annotations

from typing import Any

from collabplan.attacks import tier_figures, worst_tiers
from collabplan.records import AttackFigures, AttackResult, Audit, Interval, LinkageRate, Threat, TierFigures
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


def test_what_a_failed_attack_recovered_counts() -> None:
    failed = result("inverse", "black-box", 0.9, reason="not converged")
    found = tiers(result("ridge", "black-box", 0.5), failed)["black-box"]
    assert found.index.value == 0.9
    assert not found.conclusive


def test_linkage_counts_from_the_tier_that_may_query() -> None:
    rate = LinkageRate(copies="exact", threat="black-box", rate=at(0.8), chance=0.1, gallery_count=10)
    found = tiers(result("prior", "query-free", 0.0), result("ridge", "black-box", 0.5), linkage=(rate,))
    assert found["query-free"].linkage is None
    assert found["black-box"].linkage == at(0.8)


def audit(*results: AttackResult) -> Audit:
    return Audit(
        cut_id="c", cut_name="c", cut_kind="proper", depth=1, payload_bytes=1, defense=defense_record(),
        effort="standard", attacks=results, tiers=tier_figures(results, (), (), lower_bound=False), chance=0.1,
    )  # fmt: skip


def test_over_several_seeds_the_worst_index_counts_and_every_failure() -> None:
    first = audit(result("ridge", "black-box", 0.4))
    second = audit(result("ridge", "black-box", 0.6), result("inverse", "black-box", None, reason="diverged"))
    (found,) = worst_tiers([first, second])
    assert found.index == at(0.6)
    assert found.failed == ("inverse",)
    assert not found.conclusive
