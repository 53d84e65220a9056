"""What is released, how often, and what several releases tell together."""

from __future__ import annotations

import pytest
import torch
from attack_views import audit_target, digits, first_layer
from collabplan.attacks import AuditTarget, CopyKind
from collabplan.attacks.releases import MOVING
from defense_records import defense_record

RATE = 0.7


def draws(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def device(**options: object) -> AuditTarget:
    return audit_target(first_layer(), 6, defense_record(**{"dropout": "element", "rate": RATE, **options}))  # type: ignore[arg-type]


def unseen(place: AuditTarget, queries: int, copies: CopyKind | None = None) -> float:
    """Share of numbers that no release showed, among those that are not 0 anyway."""
    released = place.release(digits()[0], draws(), queries=queries, copies=copies)
    seen = released.seen[0]
    assert seen is not None
    clean = audit_target(first_layer(), 6).release(digits()[0], draws()).rows[0]
    return float((~seen)[clean != 0].double().mean())


@pytest.mark.parametrize("queries", [1, 3, 10])
def test_fresh_releases_leave_a_number_unseen_as_often_as_all_of_them_miss_it(queries: int) -> None:
    assert unseen(device(), queries) == pytest.approx(RATE**queries, abs=0.01)


def test_what_was_seen_under_dropout_alone_is_the_number_itself() -> None:
    place = device()
    released = place.release(digits()[0], draws(), queries=3)
    clean = audit_target(first_layer(), 6).release(digits()[0], draws()).rows[0]
    seen = released.seen[0]
    assert seen is not None
    torch.testing.assert_close(released.rows[0][seen], clean[seen])
    assert released.queries == 3


def test_keyed_masks_tell_nothing_new_on_an_exact_repeat() -> None:
    assert unseen(device(masks="keyed"), 10) == pytest.approx(RATE, abs=0.01)


def test_keyed_masks_of_near_duplicates_differ_and_are_undone_like_fresh_ones() -> None:
    """Frames of a video are near-duplicates: a key per input does not protect them."""
    assert unseen(device(masks="keyed"), 10, MOVING) < 0.1


def test_the_first_of_near_duplicates_is_kept_apart_and_fused_as_well() -> None:
    place, still = device(masks="keyed"), CopyKind(0, 0.5 / 255)
    once = place.release(digits()[0], draws())
    many = place.release(digits()[0], draws(), queries=10, copies=still)
    assert many.first is not None
    assert many.first.content_hash == once.content_hash
    assert many.seen[0] is not None
    assert once.seen[0] is not None
    assert bool(many.seen[0][once.seen[0]].all())
    assert float(many.seen[0].double().mean()) > 0.9


def test_noise_is_averaged_over_releases() -> None:
    place = audit_target(first_layer(), 6, defense_record(noise="gaussian", noise_std=0.1, bits=None))
    clean = place.clean_rows(digits()[0])[0]

    def error(queries: int) -> float:
        return float((place.release(digits()[0], draws(), queries=queries).rows[0] - clean).square().mean())

    assert error(10) == pytest.approx(error(1) / 10, rel=0.05)
