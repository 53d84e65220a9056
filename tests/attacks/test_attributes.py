"""Probes read off a release what it tells about a label, and no more than chance where it tells nothing."""

from __future__ import annotations

import pytest
import torch
from attack_views import audit_target, digits, first_layer, view_of
from collabplan.attacks import AdversaryView, AttackFailed, ObservedReleases
from collabplan.attacks.attributes import MOST_FEATURES, area, attribute_rates, balanced
from collabplan.records import AttributeRate
from collabplan.targets import Data
from torch import Tensor

KNOWN = 400
ASKED = 200
WIDTH = 20


@pytest.fixture(scope="module")
def place() -> AdversaryView:
    return view_of(audit_target(first_layer(), 6), "black-box")


def draws(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def released(rows: Tensor) -> ObservedReleases:
    """`rows` `[n, width]` as what crossed, all of it seen."""
    return ObservedReleases((rows,), (None,), Data((torch.zeros(len(rows), 1),)))


def rows(width: int = WIDTH) -> Tensor:
    return torch.randn(KNOWN + ASKED, width, generator=draws())


def probed(place: AdversaryView, values: Tensor, labels: Tensor) -> dict[str, AttributeRate]:
    """Both probes, learned on the first rows and asked about the others."""
    known, asked = values.split([KNOWN, ASKED])
    learned, wanted = labels.split([KNOWN, ASKED])
    found = attribute_rates(place, released(known), learned, released(asked), wanted, draws(1))
    return {rate.probe: rate for rate in found}


def test_a_label_that_is_the_sign_of_one_number_is_read_by_both_probes(place: AdversaryView) -> None:
    values = rows()
    values[:, 0] *= 5
    found = probed(place, values, (values[:, 0] > 0).long())
    assert set(found) == {"linear", "mlp"}
    for rate in found.values():
        assert rate.accuracy.value > 0.85
        assert rate.accuracy.low > rate.majority
        assert (rate.class_count, rate.target_count) == (2, ASKED)


def test_coins_are_guessed_no_better_than_chance(place: AdversaryView) -> None:
    coins = torch.randint(0, 2, (KNOWN + ASKED,), generator=draws(2))
    for rate in probed(place, rows(), coins).values():
        assert 0.35 < rate.accuracy.value < 0.65
        assert rate.accuracy.low < 0.5 < rate.accuracy.high + 0.1


def test_the_majority_is_the_class_that_was_commonest_where_the_attacker_learned(place: AdversaryView) -> None:
    labels = torch.cat([torch.arange(KNOWN) % 4 == 0, torch.arange(ASKED) % 10 != 0]).long()
    for rate in probed(place, rows(), labels).values():
        assert rate.majority == pytest.approx(0.1)


def test_a_wide_release_is_projected_and_still_read(place: AdversaryView) -> None:
    labels = torch.randint(0, 2, (KNOWN + ASKED,), generator=draws(2))
    values = rows(MOST_FEATURES + 100) + (2 * labels[:, None] - 1)
    for rate in probed(place, values, labels).values():
        assert rate.accuracy.value > 0.95


def test_one_class_alone_is_no_attribute(place: AdversaryView) -> None:
    assert probed(place, rows(), torch.ones(KNOWN + ASKED, dtype=torch.long)) == {}


def test_the_same_draws_give_the_same_rates(place: AdversaryView) -> None:
    values = rows()
    labels = (values[:, 0] > 0).long()
    assert probed(place, values, labels) == probed(place, values, labels)


def test_an_attacker_who_may_not_query_has_no_labelled_releases() -> None:
    device = audit_target(first_layer(), 6)
    targets, intercepted, _ = digits()
    assert targets.labels is not None
    assert intercepted.labels is not None
    shown = device.release(targets, draws())
    with pytest.raises(AttackFailed, match="may not learn from labelled releases"):
        attribute_rates(view_of(device, "query-free"), shown, targets.labels, shown, targets.labels, draws())


def test_balanced_accuracy_gives_no_credit_for_the_commonest_class() -> None:
    labels = torch.tensor([0] * 9 + [1])
    assert balanced(torch.zeros(10, dtype=torch.long), labels) == 0.5
    assert balanced(labels, labels) == 1.0


def test_the_area_counts_pairs_that_are_ordered_right() -> None:
    labels, classes = torch.tensor([0, 0, 1, 1]), torch.tensor([0, 1])
    sure = torch.tensor([0.1, 0.6, 0.4, 0.9])
    found = area(torch.stack([1 - sure, sure], dim=1), classes, labels)
    assert found == pytest.approx(3 / 4), "three of the four pairs"
    assert area(torch.eye(3), torch.arange(3), torch.arange(3)) == 1.0
    assert area(torch.eye(3), torch.arange(3), torch.tensor([0, 1, 1])) is None


def test_probes_report_both_beside_the_accuracy(place: AdversaryView) -> None:
    values = rows()
    values[:, 0] *= 5
    for rate in probed(place, values, (values[:, 0] > 1).long()).values():
        assert rate.balanced_accuracy is not None
        assert rate.auc is not None
        assert rate.balanced_accuracy > 0.6
        assert rate.auc > 0.7
