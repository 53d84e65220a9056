"""More releases, less dropout and an earlier cut never tell less; whoever claims so is under-trained."""

from __future__ import annotations

from typing import Any

import pytest
from collabplan.attacks import checked, tier_figures
from collabplan.attacks.invariants import SLACK, failed, less_from_more_releases, sees_no_more
from collabplan.records import AttackFigures, AttackResult, Audit, CutKind, Interval, MaskKind, Threat
from defense_records import defense_record


def at(value: float) -> Interval:
    return Interval(value=value, low=value, high=value)


def result(attack: str, index: float, **more: Any) -> AttackResult:
    figures = AttackFigures(index=at(index), mse=0.1, reidentification=at(index), target_count=500, gallery_count=500)
    threat: Threat = more.pop("threat", "black-box")
    return AttackResult(
        attack=attack, threat=threat, status="ok", attacker_data=more.pop("data", "own"), figures=figures, seconds=1.0,
        **more,
    )  # fmt: skip


def audit(
    index: float, rate: float = 0.0, *, cut: str = "conv1", depth: int = 1, kind: CutKind = "proper",
    masks: MaskKind = "fresh", bits: int | None = None,
) -> Audit:  # fmt: skip
    spec = {"dropout": "element", "rate": rate, "masks": masks} if rate else {}
    results = (result("ridge", index / 2), result("inverse", index))
    return Audit(
        cut_id=cut, cut_name=cut, cut_kind=kind, depth=depth, payload_bytes=10,
        defense=defense_record(bits=bits, **spec),  # type: ignore[arg-type]
        effort="standard", attacks=results, tiers=tier_figures(results, (), (), lower_bound=False), chance=0.002,
    )  # fmt: skip


def test_less_from_more_releases_of_the_same_attack_is_under_trained() -> None:
    results = [
        result("inverse", 0.75), result("inverse (10 releases)", 0.70, queries=10),
        result("inverse (10 releases), near-duplicates", 0.75 - SLACK / 2, queries=10, near_copies=True),
        result("ridge", 0.6), result("ridge (10 releases)", 0.9, queries=10),
    ]  # fmt: skip
    (found,) = less_from_more_releases(results)
    assert (found.attack, found.by) == ("inverse (10 releases)", "inverse")
    marked = failed(results, [found])
    assert [each.status for each in marked] == ["ok", "failed", "ok", "ok", "ok"]
    assert marked[1].reason.startswith("under-trained: an index of 0.700, and inverse, which sees no more, reaches 0.7")


def test_naive_attackers_and_those_with_other_images_are_not_compared() -> None:
    others = [
        result("inverse (naive)", 0.9, naive=True), result("inverse (other images)", 0.9, data="other images"),
        result("inverse (10 releases)", 0.5, queries=10), result("prior", 0.6),
    ]  # fmt: skip
    assert less_from_more_releases(others) == ()


def test_an_undefended_input_tells_no_less_than_ten_releases_under_dropout() -> None:
    plain, dropped = checked([audit(0.466), audit(0.495, 0.5)])
    tier = plain.tiers[-1]
    assert (tier.conclusive, tier.failed) == (False, ("inverse",))
    assert [each.status for each in plain.attacks] == ["ok", "failed"]
    assert plain.notes == (
        "inverse is under-trained: an index of 0.466, and inverse at conv1 under dropout:element:0.5 quantizer:none, "
        "which sees no more, reaches 0.495",
    )
    assert dropped == audit(0.495, 0.5)


def test_audits_in_order_are_left_as_they_are() -> None:
    made = [audit(0.9), audit(0.7, 0.5), audit(0.705, 0.9), audit(0.6, cut="fc", depth=5)]
    assert checked(made) == tuple(made)


@pytest.mark.parametrize(
    ("less", "more", "comparable"),
    [
        (audit(0.1, 0.9), audit(0.1, 0.5), True),
        (audit(0.1, 0.5), audit(0.1, 0.9), False),
        (audit(0.1, 0.9, masks="keyed"), audit(0.1, 0.5), False),
        (audit(0.1, 0.9, masks="keyed"), audit(0.1), True),
        (audit(0.1, 0.5, bits=8), audit(0.1), False),
        (audit(0.1, cut="fc", depth=5), audit(0.1), True),
        (audit(0.1, cut="fc", depth=5), audit(0.1, 0.5), False),
        (audit(0.1, 0.5, cut="fc", depth=5), audit(0.1, 0.5), False),
        (audit(0.1, cut="a + b", depth=5), audit(0.1), False),
        (audit(0.1, cut="edge-only", depth=9, kind="edge-only"), audit(0.1), True),
        (audit(0.1), audit(0.1, cut="fc", depth=5), False),
    ],
)
def test_what_can_be_made_from_what(less: Audit, more: Audit, comparable: bool) -> None:
    """Dropout at a later cut is none of dropout at an earlier one: the edge in between spreads each number."""
    assert sees_no_more(less, more) is comparable
