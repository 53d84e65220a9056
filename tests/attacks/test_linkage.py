"""Linkage: the release finds its own candidate by what it shows, and a constant one finds it by chance."""

from __future__ import annotations

import pytest
import torch
from attack_views import Constant, audit_target, digits, first_layer, view_of
from collabplan.attacks import AdversaryView, AttackFailed, AuditTarget, ObservedReleases
from collabplan.attacks.features import zero_weights
from collabplan.attacks.linkage import linkage_rates, seen_distances
from collabplan.estimators.share_interval import share_interval
from collabplan.records import Granularity, LinkageRate
from defense_records import defense_record
from torch import Tensor

COUNT = 200
SLOW = 12


def draws(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def linked(device: AuditTarget, *, near: bool = False) -> LinkageRate:
    """The targets' releases, matched to the targets or to near copies of them."""
    released = device.release(digits()[0], draws())
    return linkage_rates(view_of(device, "black-box"), digits()[0], released, draws(1), near=near)


def asked(device: AuditTarget) -> tuple[AdversaryView, tuple[Tensor, ...], ObservedReleases, tuple[Tensor, ...]]:
    """What distances are taken of: own clean rows, a few releases, and the features of all targets."""
    place = view_of(device, "black-box")
    released = device.release(digits()[0].take(torch.arange(SLOW)), draws())
    return place, place.ask(digits()[2]), released, place.ask(digits()[0])


def test_the_visible_mask_of_dropout_at_nine_tenths_still_links_every_release() -> None:
    found = linked(audit_target(first_layer(), 6, defense_record(dropout="element", rate=0.9)))
    assert found.rate.value == 1.0
    assert found.chance == pytest.approx(1 / COUNT)
    assert found.gallery_count == COUNT


def test_near_copies_are_linked_less_often_than_exact_ones_and_far_above_chance() -> None:
    device = audit_target(first_layer(), 6, defense_record(dropout="element", rate=0.9))
    exact, near = linked(device), linked(device, near=True)
    assert (exact.copies, near.copies) == ("exact", "near")
    assert near.rate.value <= exact.rate.value
    assert near.rate.low > 20 * near.chance


def test_a_constant_release_is_linked_by_chance_exactly() -> None:
    """Every candidate ties, and the credit of a tie is shared."""
    found = linked(audit_target(Constant(), 1))
    assert found.rate.value == pytest.approx(1 / COUNT)
    assert found.rate == share_interval(found.rate.value, COUNT)


def test_noise_a_hundred_times_the_range_hides_who_it_was() -> None:
    found = linked(audit_target(first_layer(), 6, defense_record(noise="gaussian", noise_std=100.0)))
    assert found.rate.value < 0.05


def test_an_attacker_who_may_not_query_cannot_link() -> None:
    device = audit_target(first_layer(), 6)
    released = device.release(digits()[0], draws())
    with pytest.raises(AttackFailed, match="may not query"):
        linkage_rates(view_of(device, "query-free"), digits()[0], released, draws(), near=False)


@pytest.mark.parametrize("dropout", ["element", "channel"])
def test_products_over_chunks_are_the_distances_counted_one_by_one(dropout: Granularity) -> None:
    place, clean, released, features = asked(audit_target(first_layer(), 6, defense_record(dropout=dropout, rate=0.5)))
    found = seen_distances(place, clean, released, features)
    weight = zero_weights(place, clean, released)[0]
    assert weight is not None
    variance = float(clean[0].var(dim=0, unbiased=False).mean())
    for row, shown, counted in zip(found, released.rows[0].double(), weight.double(), strict=True):
        slow = (counted * (shown - features[0].double()).square()).flatten(1).sum(dim=1)
        torch.testing.assert_close(row, slow / variance / counted.sum(), rtol=1e-6, atol=1e-9)


def test_undefended_numbers_all_count_alike() -> None:
    place, clean, released, features = asked(audit_target(first_layer(), 6, defense_record(bits=None)))
    found = seen_distances(place, clean, released, features)
    slow = (released.rows[0].double()[:, None] - features[0].double()).square().flatten(2).mean(dim=2)
    variance = float(clean[0].var(dim=0, unbiased=False).mean())
    torch.testing.assert_close(found, slow / variance, rtol=1e-6, atol=1e-9)
    assert torch.equal(found.argmin(dim=1), torch.arange(SLOW))
