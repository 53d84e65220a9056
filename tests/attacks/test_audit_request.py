"""Which variants of each attack an audit runs."""

from __future__ import annotations

from dataclasses import replace

from attack_views import EFFORT, audit_target, digits, first_layer
from collabplan.attacks import AttackVariant, AuditRequest, AuditTarget, Effort, attack_named, attack_variants
from collabplan.estimators.inversion import MANY
from collabplan.records import MaskKind
from defense_records import defense_record


def dropping_under(masks: MaskKind) -> AuditTarget:
    return audit_target(first_layer(), 6, defense_record(dropout="element", rate=0.7, masks=masks))


def test_variants_are_labelled_by_what_differs() -> None:
    attack = attack_named("inverse")
    assert AttackVariant(attack).label == "inverse"
    assert AttackVariant(attack, naive=True).label == "inverse (naive)"
    assert AttackVariant(attack, queries=10).label == "inverse (10 releases)"


def test_the_suite_grows_with_the_effort_and_with_what_is_random() -> None:
    attacks = [attack_named(name) for name in ("prior", "ridge", "likelihood", "shadow-same")]
    standard = replace(EFFORT, name="standard")
    others = {"random queries": digits()[2]}

    device = audit_target(first_layer(), 6)

    def labels(place: AuditTarget, effort: Effort) -> set[str]:
        return {
            each.label for each in attack_variants(AuditRequest(place, *digits()[::2], others=others), attacks, effort)
        }

    plain = {"prior", "ridge", "likelihood", "shadow-same"}
    assert labels(device, EFFORT) == plain
    assert labels(dropping_under("fresh"), EFFORT) == plain | {"ridge (naive)", "ridge (10 releases)"}
    assert labels(dropping_under("fresh"), standard) == plain | {
        "ridge (naive)", "ridge (10 releases)", "ridge (random queries)", "likelihood (naive)",
        "likelihood (10 releases)",
    }  # fmt: skip


def test_the_strongest_variant_has_many_releases_whatever_the_masks() -> None:
    """A search that gave keyed masks one release would favour them."""
    attacks = [attack_named(name) for name in ("prior", "ridge")]
    for masks in ("fresh", "keyed"):
        request = AuditRequest(dropping_under(masks), *digits()[::2])
        found = attack_variants(request, attacks, EFFORT, strongest=True)
        assert [each.queries for each in found] == [1, MANY]


def test_naive_attackers_can_be_left_out() -> None:
    request = AuditRequest(dropping_under("fresh"), *digits()[::2])
    found = attack_variants(request, [attack_named("ridge")], EFFORT, naive=False)
    assert [each.label for each in found] == ["ridge", "ridge (10 releases)"]
